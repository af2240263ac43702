"""Random small ONNX graphs: what importers meet between the layers that everybody tests.

Maps of one channel and of one pixel, whose transposition is a view, beside such as really
move; branches that meet again; several outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_nets import Net

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]
_ELEMENTS = 3000
"""No tensor has more: a graph takes milliseconds."""

Shape = tuple[int, ...]


class RandomGraph:
    """A graph that grows at random; deterministic by its seed.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        Of every tensor so far.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = int(self.rng.choice([11, 13, 14, 17, 18, 20]))
        channels, side, batch = (
            self.pick([1, 1, 2, 3]),
            self.pick([1, 2, 4, 5]),
            self.pick([1, 1, 2]),
        )
        other = self.pick([1, side, 3])
        nhwc = self.rng.random() < 0.6
        shape = (batch, side, other, channels) if nhwc else (batch, channels, side, other)
        self.net = Net(shape, self.opset, seed)
        self.shapes: dict[str, Shape] = {"image": shape}
        self.read: set[str] = set()
        if nhwc:
            self.transpose("image", TO_NCHW)
        for _ in range(self.rng.integers(3, 13)):
            self.grow()
        # Transpositions alone may leave nothing.
        last = list(self.shapes)[-1]
        self.add("Tanh", self.shapes[last], last)

    def pick(self, some: list[int]) -> int:
        return int(self.rng.choice(some))

    def model(self) -> onnx.ModelProto:
        """Return it; its outputs are what nobody reads, and now and then something inside."""
        made = [name for name in self.shapes if name != "image"]
        outputs = [name for name in made if name not in self.read]
        if self.rng.random() < 0.25:
            outputs.append(str(self.rng.choice(made)))
        graph = helper.make_graph(
            self.net.nodes,
            "random",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, self.shapes["image"])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[name])
                for name in dict.fromkeys(outputs)
            ],
            self.net.constants,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )

    def grow(self) -> None:
        """Append one of the operators that the tensor drawn can take."""
        names = list(self.shapes)
        late = names[-3:] if self.rng.random() < 0.7 else names
        x = str(self.rng.choice(late))
        while not getattr(self, str(self.rng.choice(OPERATORS)))(x):
            pass

    def add(self, kind: str, shape: Shape, *inputs: str, **attrs: object) -> bool:
        if math.prod(shape) > _ELEMENTS or 0 in shape:
            return False
        name = self.net.op(kind, *inputs, **attrs)
        self.shapes[name] = shape
        self.read.update(inputs)
        return True

    def numbers(self, *shape: int) -> str:
        return self.net.const(self.rng.standard_normal(shape))

    def whole(self, values: object) -> str:
        return self.net.const(values, np.int64)

    def transpose(self, x: str, perm: list[int] | None = None) -> bool:
        shape = self.shapes[x]
        if perm is None:
            perm = [int(axis) for axis in self.rng.permutation(len(shape))]
            if len(shape) == 4 and self.rng.random() < 0.7:
                perm = TO_NHWC if self.rng.random() < 0.5 else TO_NCHW
        return self.add("Transpose", tuple(shape[axis] for axis in perm), x, perm=perm)

    def unary(self, x: str) -> bool:
        kind = str(
            self.rng.choice(["Relu", "Sigmoid", "Neg", "Tanh", "LeakyRelu", "Identity", "Abs"])
        )
        return self.add(kind, self.shapes[x], x)

    def clip(self, x: str) -> bool:
        low, high = self.net.const(0.0), self.net.const(self.pick([1, 6]))
        return self.add("Clip", self.shapes[x], x, low, high)

    def activation(self, x: str) -> bool:
        before = set(self.net.channels)
        kind = str(self.rng.choice(["relu6", "hardsigmoid", "hardswish"]))
        spelling = {"relu6": "minmax", "hardsigmoid": "times", "hardswish": "late"}[kind]
        self.net.act(x, kind, spelling)
        new = [name for name in self.net.channels if name not in before and name.startswith("t")]
        self.shapes |= dict.fromkeys(new, self.shapes[x])
        self.read.update([x, *new[:-1]])
        return True

    def binary(self, x: str) -> bool:
        shape = self.shapes[x]
        fitting = [name for name, other in self.shapes.items() if _broadcasts(shape, other)]
        y = str(self.rng.choice(fitting))
        kind = str(self.rng.choice(["Add", "Add", "Mul", "Sub", "Max", "Min"]))
        pair = (x, y) if self.rng.random() < 0.5 else (y, x)
        return self.add(kind, np.broadcast_shapes(shape, self.shapes[y]), *pair)

    def constant(self, x: str) -> bool:
        shape = self.shapes[x]
        other = tuple(size if self.rng.random() < 0.5 else 1 for size in shape)
        other = other[self.rng.integers(0, len(other) + 1) :]
        kind = str(self.rng.choice(["Add", "Mul", "Sub", "Max", "PRelu"]))
        c = self.numbers(*other)
        pair = (x, c) if kind == "PRelu" or self.rng.random() < 0.7 else (c, x)
        return self.add(kind, shape, *pair)

    def conv(self, x: str) -> bool:
        shape = self.shapes[x]
        if len(shape) != 4:
            return False
        batch, channels, rows, columns = shape
        kernel, stride = self.pick([1, 1, 3]), self.pick([1, 1, 2])
        groups = int(self.rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
        filters = groups * self.pick([1, 1, 2, 3])
        weight = self.net.const(self.net.weight(filters, channels // groups, kernel, kernel))
        bias = [self.numbers(filters)] if self.rng.random() < 0.5 else []
        out = (batch, filters, -(-rows // stride), -(-columns // stride))
        where: dict[str, object] = {"pads": [kernel // 2] * 4}
        if self.rng.random() < 0.3:
            where = {"auto_pad": "SAME_UPPER"}
        return self.add("Conv", out, x, weight, *bias, group=groups, kernel_shape=[kernel] * 2,
                        strides=[stride] * 2, **where)  # fmt: skip

    def norm(self, x: str) -> bool:
        if len(self.shapes[x]) != 4:
            return False
        count = self.shapes[x][1]
        some = [self.numbers(count) for _ in range(3)]
        variance = self.net.const(self.rng.uniform(0.5, 1.5, count))
        return self.add("BatchNormalization", self.shapes[x], x, *some, variance)

    def pad(self, x: str) -> bool:
        shape = self.shapes[x]
        widths = self.rng.integers(0, 2, (2, len(shape))) * (self.rng.random(len(shape)) < 0.5)
        value = [self.net.const(float(self.pick([0, 1])))] if self.rng.random() < 0.5 else []
        out = tuple(int(size) for size in np.asarray(shape) + widths.sum(0))
        return self.add("Pad", out, x, self.whole(widths.ravel()), *value)

    def concat(self, x: str) -> bool:
        shape = self.shapes[x]
        axis = int(self.rng.integers(len(shape)))
        beside = [n for n, other in self.shapes.items() if _but(other, axis) == _but(shape, axis)]
        some = [x, *(str(n) for n in self.rng.choice(beside, self.pick([1, 2])))]
        long = sum(self.shapes[name][axis] for name in some)
        signed = axis if self.rng.random() < 0.5 else axis - len(shape)
        return self.add("Concat", (*shape[:axis], long, *shape[axis + 1 :]), *some, axis=signed)

    def reduce(self, x: str) -> bool:
        shape = self.shapes[x]
        axes = [axis for axis in range(len(shape)) if self.rng.random() < 0.5] or [len(shape) - 1]
        keep = len(shape) - len(axes) < 2 or self.rng.random() < 0.5
        kind = str(self.rng.choice(["ReduceMean", "ReduceMean", "ReduceMax", "ReduceSum"]))
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        out = kept if keep else tuple(s for axis, s in enumerate(shape) if axis not in axes)
        if self.opset >= 18 or (kind == "ReduceSum" and self.opset >= 13):
            return self.add(kind, out, x, self.whole(axes), keepdims=int(keep))
        return self.add(kind, out, x, axes=axes, keepdims=int(keep))

    def softmax(self, x: str) -> bool:
        if self.opset < 13:  # it flattens there, which onnx's evaluator does not
            return False
        return self.add("Softmax", self.shapes[x], x, axis=int(self.rng.integers(-2, 2)))

    def view(self, x: str) -> bool:
        shape = self.shapes[x]
        how = self.pick([0, 1, 2, 3])
        if how == 0:
            flat = (shape[0], math.prod(shape[1:]))
            return self.add("Flatten", flat, x, axis=1)
        if how == 1 and 1 in shape[1:] and len(shape) > 2:
            axis = shape.index(1, 1)
            return self.on_axis("Squeeze", (*shape[:axis], *shape[axis + 1 :]), x, axis)
        if how == 2 and len(shape) < 4:
            axis = int(self.rng.integers(1, len(shape) + 1))
            return self.on_axis("Unsqueeze", (*shape[:axis], 1, *shape[axis:]), x, axis)
        other = tuple(int(size) for size in self.rng.permutation(shape))
        return self.add("Reshape", other, x, self.whole(other))

    def on_axis(self, kind: str, out: Shape, x: str, axis: int) -> bool:
        if self.opset >= 13:
            return self.add(kind, out, x, self.whole([axis]))
        return self.add(kind, out, x, axes=[axis])

    def asked(self, x: str) -> bool:
        """Flatten by asking for the shape, as PyTorch's ``view(x.size(0), -1)`` is exported."""
        shape = self.shapes[x]
        size = self.net.op("Gather", self.net.op("Shape", x), self.whole([0]), axis=0)
        both = self.net.op("Concat", size, self.whole([-1]), axis=0)
        return self.add("Reshape", (shape[0], math.prod(shape[1:])), x, both)

    def repeat(self, x: str) -> bool:
        """Repeat what has one element on an axis, by a shape that is known or a computed one."""
        shape = self.shapes[x]
        if 1 not in shape:
            return False
        axis = shape.index(1)
        times = [self.pick([2, 3]) if at == axis else 1 for at in range(len(shape))]
        out = tuple(size * count for size, count in zip(shape, times, strict=True))
        other = self.whole(out)
        if self.rng.random() < 0.5:
            other = self.net.op("Mul", self.net.op("Shape", x), self.whole(times))
        return self.add("Expand", out, x, other)

    def split(self, x: str) -> bool:
        shape = self.shapes[x]
        axis = int(self.rng.integers(len(shape)))
        if shape[axis] % 2:
            return False
        half = (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :])
        more = {"num_outputs": 2} if self.opset >= 18 else {}
        one, other = self.net.op("Split", x, outputs=2, axis=axis, **more)
        self.shapes |= {one: half, other: half}
        self.net.channels[other] = 0
        self.read.add(x)
        return True

    def cut(self, x: str) -> bool:
        shape = self.shapes[x]
        axis = int(self.rng.integers(len(shape)))
        start = int(self.rng.integers(shape[axis]))
        out = (*shape[:axis], shape[axis] - start, *shape[axis + 1 :])
        ends = self.whole([2**31])
        return self.add("Slice", out, x, self.whole([start]), ends, self.whole([axis]))

    def pool(self, x: str) -> bool:
        shape = self.shapes[x]
        if len(shape) != 4:
            return False
        kind = str(self.rng.choice(["GlobalAveragePool", "AveragePool", "MaxPool"]))
        if kind == "GlobalAveragePool":
            return self.add(kind, (*shape[:2], 1, 1), x)
        rows, columns = (min(size, self.pick([2, 5])) for size in shape[2:])
        out = (*shape[:2], shape[2] - rows + 1, shape[3] - columns + 1)
        return self.add(kind, out, x, kernel_shape=[rows, columns])

    def product(self, x: str) -> bool:
        shape, features = self.shapes[x], self.pick([1, 3])
        weight = self.numbers(shape[-1], features)
        if len(shape) != 2 or self.rng.random() < 0.5:
            return self.add("MatMul", (*shape[:-1], features), x, weight)
        return self.add("Gemm", (shape[0], features), x, weight, self.numbers(features))


OPERATORS = [
    *["transpose"] * 5, "unary", "clip", "activation", *["binary"] * 4, *["constant"] * 2,
    *["conv"] * 3, "norm", "pad", "concat", *["reduce"] * 2, "softmax", "view", "cut", "pool",
    "product", "asked", "repeat", "split",
]  # fmt: skip
"""By the names of the methods, the likelier ones several times."""


def _but(shape: Shape, axis: int) -> Shape:
    return (len(shape), *shape[:axis], *shape[axis + 1 :])


def _broadcasts(shape: Shape, other: Shape) -> bool:
    pairs = zip(reversed(shape), reversed(other), strict=False)
    return all(a == b or 1 in (a, b) for a, b in pairs)


Build = Callable[[int], onnx.ModelProto]

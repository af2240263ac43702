"""Kernels on their own: made from a workload, fed, run, and compared with the reference.

Layouts are packed here by NumPy from their definition, not by the package's own
packing, so that an error in one does not hide in the other.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet import reference
from tvm_mobilenet.models.activations import STEEPEST, activate
from tvm_mobilenet.models.spec import INPUT, Conv2d, Dense, GlobalAvgPool, Layer, Scale, Softmax
from tvm_mobilenet.operators.workload import Activation, Operator, Workload
from tvm_mobilenet.target import TargetSpec

Array = NDArray[Any]
UNIT_ROUNDOFF = 2.0**-24
DENSE_VECTORS = 8


def blocked_channels(channels: int, lanes: int) -> int:
    """The block that a graph chooses: the lanes, or the next power of two below them."""
    return min(lanes, 1 << (channels - 1).bit_length())


def workload(
    operator: Operator,
    channels: tuple[int, int],
    size: tuple[int, int],
    lanes: int,
    *,
    batch: int = 1,
    kernel: int = 1,
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    activation: Activation = "none",
    residual: bool = False,
) -> Workload:
    """A workload from its sizes, blocked for a target of so many lanes."""
    top, left, bottom, right = padding
    height, width = size
    out = (
        (height + top + bottom - kernel) // stride + 1,
        (width + left + right - kernel) // stride + 1,
    )
    in_block, out_block = (blocked_channels(c, lanes) for c in channels)
    if operator == "conv":
        in_block = 1
    elif operator == "pool":
        out, out_block = (1, 1), in_block
    elif operator == "dense":
        out_block = min(DENSE_VECTORS, -(-channels[1] // lanes)) * lanes
    return Workload(
        operator, batch, *channels, size, out, in_block, out_block, (kernel, kernel),
        (stride, stride), padding, activation, residual=residual,
    )  # fmt: skip


def of_model(model: Any, lanes: int) -> dict[str, Workload]:
    """The workloads of a model by their keys."""
    found = {}
    for layer in model.layers:
        operator: Operator
        options: dict[str, Any] = {}
        if isinstance(layer, Conv2d):
            operator = "conv" if layer.kind == "full" else layer.kind
            options = {"kernel": layer.kernel[0], "stride": layer.strides[0]}
            options |= {"padding": layer.padding, "activation": layer.activation}
            out_channels = layer.out_channels
        elif isinstance(layer, GlobalAvgPool):
            operator, out_channels = "pool", layer.in_shape[1]
        elif isinstance(layer, Dense):
            operator, out_channels = "dense", layer.out_features
        else:
            assert isinstance(layer, Softmax)
            operator, out_channels = "softmax", layer.in_shape[1]
        batch, channels, *size = layer.in_shape
        height, width = size or (1, 1)
        work = workload(
            operator, (channels, out_channels), (height, width), lanes, batch=batch, **options
        )
        found[work.key] = work
    return found


def fused_of_model(model: Any, lanes: int) -> dict[str, Workload]:
    """The workloads of a model's separable blocks and of its end, each as one kernel."""
    found = {}
    layers = list(model.layers)
    for first, second in itertools.pairwise(layers):
        if isinstance(first, Conv2d) and first.kind == "depthwise" and first.kernel == (3, 3):
            assert isinstance(second, Conv2d)
            pair = (first.in_shape[1], second.out_channels)
            depthwise = workload(
                "depthwise", pair[:1] * 2, first.in_shape[2:], lanes, batch=first.in_shape[0],
                kernel=3, stride=first.strides[0], padding=first.padding,
            )  # fmt: skip
            work = dataclasses.replace(
                depthwise,
                operator="separable",
                out_channels=pair[1],
                out_block=blocked_channels(pair[1], lanes),
                activation=second.activation,
                mid_activation=first.activation,
            )
            found[work.key] = work
    last, _, classifier = layers[-4:-1]
    n, channels, *size = last.in_shape
    work = dataclasses.replace(
        workload("pointwise", (channels, last.out_channels), tuple(size), lanes, batch=n),
        operator="tail",
        activation=last.activation,
        classes=classifier.out_features,
        class_block=min(DENSE_VECTORS, -(-classifier.out_features // lanes)) * lanes,
    )
    return found | {work.key: work}


def layer_of(work: Workload, bias: bool = True) -> Layer:
    """The layer that a workload computes."""
    shape = (work.batch, work.in_channels, *work.in_size)
    if work.operator == "pool":
        return GlobalAvgPool("x", (INPUT,), shape)
    if work.operator == "scale":
        return Scale("x", (INPUT, "factor"), shape)
    if work.operator == "dense":
        return Dense("x", (INPUT,), shape[:2], work.out_channels, bias)
    groups = work.in_channels if work.operator == "depthwise" else 1
    return Conv2d(
        "x", (INPUT,), shape, work.out_channels, work.kernel, work.strides, work.padding, groups,
        bias, None, work.activation,
    )  # fmt: skip


def padded(array: Array, shape: Sequence[int]) -> Array:
    """`array` with zeros at the end of each axis."""
    return np.pad(array, [(0, want - have) for have, want in zip(array.shape, shape, strict=True)])


def blocked(x: Array, block: int) -> Array:
    """(N, C, ...) to (N, ceil(C / block), pixels, block)."""
    n, channels = x.shape[:2]
    blocks = -(-channels // block)
    flat = padded(x.reshape(n, channels, -1), (n, blocks * block, math.prod(x.shape[2:])))
    return np.ascontiguousarray(flat.reshape(n, blocks, block, -1).transpose(0, 1, 3, 2))


def plain(y: Array, shape: Sequence[int]) -> tuple[Array, Array]:
    """Undo :func:`blocked`; the second array holds the lanes of no channel."""
    n, blocks, pixels, block = y.shape
    flat = y.transpose(0, 1, 3, 2).reshape(n, blocks * block, pixels)
    return flat[:, : shape[1]].reshape(shape), flat[:, shape[1] :]


class Case:
    """One workload with weights and an input, packed for its kernel.

    Attributes
    ----------
    arrays : list of ndarray
        What the kernel is called with; the output, last, is all NaN.
    want : ndarray
        float64 reference, NCHW or NC.
    bound : ndarray
        What an element may be off by: gamma_K sum |w||x| (Higham, "Accuracy and
        Stability of Numerical Algorithms", section 3.1), K terms and the epilogue.
    """

    def __init__(self, work: Workload, seed: int = 0, bias: bool = True) -> None:
        self.work = work
        layer = layer_of(work, bias)
        rng = np.random.default_rng(seed)
        # Sums of a deviation of 3, so that ReLU6 meets both of its ends.
        weights = {
            name: (3 * rng.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))).astype("f4")
            for name, shape in layer.parameters.items()
        }
        inputs = [rng.standard_normal(shape).astype(np.float32) for shape in layer.in_shapes]
        x = inputs[0]
        self.want = reference.run_layer(layer, weights, *inputs)
        magnitudes = {name: np.abs(value) for name, value in weights.items()}
        linear = layer
        if isinstance(layer, Conv2d):
            linear = dataclasses.replace(layer, activation="none")
        terms = (layer.macs // math.prod(layer.out_shape) or math.prod(work.in_size)) + 4
        gamma = terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)
        self.bound = gamma * reference.run_layer(linear, magnitudes, *map(np.abs, inputs))
        if work.residual:
            inputs.append(rng.standard_normal(self.want.shape).astype(np.float32))
            total = reference.run_layer(linear, weights, x) + inputs[1]
            self.want = activate(total, work.activation)
            self.bound += gamma * np.abs(inputs[1])
        # Behind a slope, and, where the function is not only a clip, roundings of its own.
        self.bound *= max(STEEPEST[work.activation], 1.0)
        if work.activation == "hardsigmoid":
            self.bound += 4 * UNIT_ROUNDOFF
        others = [blocked(other, work.out_block) for other in inputs[1:]]
        self.arrays = [*self._packed(x, weights), *others, self._empty()]

    def _packed(self, x: Array, weights: Mapping[str, Array]) -> list[Array]:
        work = self.work
        data = x if work.operator == "conv" else blocked(x, work.in_block)
        if work.operator in ("pool", "scale"):
            return [data]
        weight = weights["x.weight"].reshape(work.out_channels, -1)
        depth = work.depth if work.operator in ("pointwise", "dense") else weight.shape[1]
        o, c = work.out_blocks, work.out_block
        weight = padded(weight, (o * c, depth)).reshape(o, c, depth).transpose(0, 2, 1)
        bias = weights.get("x.bias", np.zeros(work.out_channels, np.float32))
        return [data, np.ascontiguousarray(weight), padded(bias, (o * c,)).reshape(o, c)]

    def _empty(self) -> Array:
        work = self.work
        shape: tuple[int, ...] = (work.batch, work.out_blocks, work.out_pixels, work.out_block)
        if work.operator == "dense":
            shape = (work.batch, work.out_channels)
        return np.full(shape, np.nan, np.float32)

    def check(self, run: Callable[..., object], note: object = "") -> None:
        """Run a kernel; assert that elements are right, and lanes of no channel those of 0."""
        import tvm

        # TVM 0.19, which the classic stack runs on, has another name for it.
        tensor = getattr(tvm.runtime, "tensor", None) or tvm.nd.array
        tensors = [tensor(array) for array in self.arrays]
        run(*tensors)
        y = tensors[-1].numpy()
        message = f"{self.work.key} {note}"
        if self.work.operator != "dense":
            y, lanes = plain(y, self.want.shape)
            idle = 0.5 if self.work.activation == "hardsigmoid" else 0.0
            strange = lanes[lanes != idle]
            assert not strange.size, f"{message}: lanes of no channel hold {strange[:4]}"
        error = np.abs(y - self.want)
        worst = np.unravel_index(np.argmax(error - self.bound), error.shape)
        assert (error <= self.bound).all(), (
            f"{message}: {np.count_nonzero(~(error <= self.bound))} of {error.size} elements are "
            f"wrong; at {tuple(map(int, worst))} {y[worst]} instead of {self.want[worst]}"
        )


def compiled(
    works: Sequence[Workload],
    target: TargetSpec,
    knobs_for: Callable[[Workload], Knobs] = lambda _: Knobs(),
) -> Any:
    """Compile the kernels of some workloads together.

    Returns
    -------
    tvm.runtime.Executable
        ``.jit()[work.key]`` is a kernel, ``.mod.inspect_source("asm")`` all of them.
    """
    import tvm
    from tvm_mobilenet.schedules.rules import schedule

    from tvm_mobilenet.compute.primfunc import prim_func

    functions = {}
    for work in works:
        done = schedule(prim_func(work), target, knobs_for(work))
        assert done is not None
        functions[work.key] = done.func.with_attr("global_symbol", work.key)
    return tvm.compile(tvm.IRModule(functions), target=tvm.target.Target(target.tvm_dict()))


def use_threads(count: int) -> None:
    """Let kernels use `count` threads."""
    from tvm_mobilenet.runtime.library import load_runtime
    from tvm_mobilenet.runtime.threads import use_threads as use

    use(load_runtime(), count)

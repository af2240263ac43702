"""ONNX files as frameworks write them, small: a network grows node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SPELLINGS = {
    "relu": ("op", "max"),
    "relu6": ("clip", "minmax", "maxmin"),
    "hardsigmoid": ("op", "spelled", "times"),
    "hardswish": ("op", "gate", "spelled", "late", "times"),
    "none": ("op",),
}
"""Ways to write each activation."""


class Net:
    """A graph that grows; every method returns the name of the tensor it made."""

    def __init__(
        self,
        shape: tuple[int | str, ...] = (1, 3, 16, 16),
        opset: int = 17,
        seed: int = 0,
        dtype: int = TensorProto.FLOAT,
    ) -> None:
        self.opset = opset
        self.shape, self.dtype = shape, dtype
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.as_nodes = False
        self.channels = {"image": int(shape[1]) if isinstance(shape[1], int) else 3}

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        array = np.asarray(value, dtype)
        name = f"c{len(self.constants) + len(self.nodes)}"
        tensor = numpy_helper.from_array(array, name)
        if self.as_nodes:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.constants.append(tensor)
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attrs: Any) -> Any:
        names = [f"t{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(outputs)]
        node = helper.make_node(kind, inputs, names, f"{kind}_{len(self.nodes)}", **attrs)
        self.nodes.append(node)
        self.channels[names[0]] = self.channels.get(inputs[0] if inputs else "", 0)
        return names if outputs > 1 else names[0]

    def weight(self, *shape: int) -> NDArray[np.float32]:
        fan_in = int(np.prod(shape[1:])) or 1
        return (self.rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    def conv(
        self, x: str, channels: int, kernel: int = 1, groups: int = 1, *, bias: bool = False,
        **attrs: Any,
    ) -> str:  # fmt: skip
        inputs = [x, self.const(self.weight(channels, self.channels[x] // groups, kernel, kernel))]
        if bias:
            inputs.append(self.const(self.rng.standard_normal(channels)))
        if "auto_pad" not in attrs:
            attrs.setdefault("pads", [kernel // 2] * 4)
        y: str = self.op("Conv", *inputs, group=groups, kernel_shape=[kernel, kernel], **attrs)
        self.channels[y] = channels
        return y

    def depthwise(self, x: str, kernel: int = 3, **attrs: Any) -> str:
        return self.conv(x, self.channels[x], kernel, self.channels[x], **attrs)

    def norm(self, x: str, spelling: str = "op") -> str:
        count = self.channels[x]
        gamma, variance = self.rng.uniform(0.5, 1.5, (2, count))
        beta, mean = self.rng.standard_normal((2, count)) * 0.3
        if spelling == "op":
            parts = [self.const(part) for part in (gamma, beta, mean, variance)]
            y: str = self.op("BatchNormalization", x, *parts, epsilon=1e-3)
            return y
        shape = (1, count, 1, 1) if spelling == "affine" else (count, 1, 1)
        scaled = self.op("Mul", x, self.const(gamma.reshape(shape)))
        y = self.op("Add", self.const(beta.reshape(shape)), scaled)
        self.channels[y] = count
        return y

    def act(self, x: str, kind: str, spelling: str = "op") -> str:
        if kind == "none":
            return x
        y = getattr(self, f"_{kind}")(x, spelling)
        self.channels[y] = self.channels[x]
        return str(y)

    def _clip(self, x: str, low: float, high: float) -> Any:
        if self.opset < 11:
            return self.op("Clip", x, min=low, max=high)
        return self.op("Clip", x, self.const(low), self.const(high))

    def _relu(self, x: str, spelling: str) -> Any:
        return self.op("Relu", x) if spelling == "op" else self.op("Max", x, self.const(0.0))

    def _relu6(self, x: str, spelling: str) -> Any:
        if spelling == "clip":
            return self._clip(x, 0.0, 6.0)
        if spelling == "minmax":
            return self.op("Min", self.op("Relu", x), self.const(6.0))
        return self.op("Max", self.const(0.0), self.op("Min", x, self.const([6.0])))

    def _hardsigmoid(self, x: str, spelling: str) -> Any:
        if spelling == "op":
            return self.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)
        clipped = self._clip(self.op("Add", self.const(3.0), x), 0.0, 6.0)
        if spelling == "spelled":
            return self.op("Div", clipped, self.const(6.0))
        return self.op("Mul", clipped, self.const(1 / 6))

    def _hardswish(self, x: str, spelling: str) -> Any:
        if spelling == "op":
            return self.op("HardSwish", x)
        if spelling == "gate":
            return self.op("Mul", x, self._hardsigmoid(x, "op"))
        if spelling == "spelled":
            return self.op("Mul", self._hardsigmoid(x, "spelled"), x)
        clipped = self._clip(self.op("Add", x, self.const(3.0)), 0.0, 6.0)
        product = self.op("Mul", x, clipped)
        if spelling == "late":
            return self.op("Div", product, self.const(6.0))
        return self.op("Mul", product, self.const(1 / 6))

    def excite(self, x: str, squeezed: int, spelling: str = "op") -> str:
        """Squeeze-and-excite."""
        pooled = self.op("GlobalAveragePool", x)
        hidden = self.act(self.conv(pooled, squeezed, bias=True), "relu")
        gate = self.act(self.conv(hidden, self.channels[x], bias=True), "hardsigmoid", spelling)
        y: str = self.op("Mul", x, gate)
        return y

    def add(self, x: str, y: str) -> str:
        total: str = self.op("Add", x, y)
        return total

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("image", self.dtype, self.shape)],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            self.constants,
        )
        domains = {"": self.opset} | {node.domain: 1 for node in self.nodes if node.domain}
        opsets = [helper.make_opsetid(*domain) for domain in domains.items()]
        made: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(made)
        return inferred

    def save(self, path: Path, *outputs: str) -> Path:
        onnx.save(self.model(*outputs), str(path))
        return path

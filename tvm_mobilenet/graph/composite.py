"""What a composite function holds: its layers, the workload they are, their packed parameters."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from tvm_mobilenet.graph.epilogue import Epilogue, operator_name, read_epilogue
from tvm_mobilenet.graph.fuse_epilogue import COMPOSITE, PREFIX
from tvm_mobilenet.graph.layouts import (
    pack_bias,
    pack_classifier,
    pack_weight,
    shape_of,
)
from tvm_mobilenet.operators.sizes import convolution, dense, over_channels
from tvm_mobilenet.operators.workload import Workload, channel_block, class_block
from tvm_mobilenet.target import Dtype, TargetSpec

_ANCHORS = {"relax.nn.conv2d", "relax.mean", "relax.matmul", "relax.nn.softmax"}


@dataclass(frozen=True, slots=True)
class Part:
    """One layer of a composite function."""

    anchor: Any
    epilogue: Epilogue

    def packed(
        self, out_channels: int, steps: int, depth: int, block: int, dtype: Dtype
    ) -> list[Any]:
        """Return its packed weight and bias."""
        weight = self.anchor.args[1]
        if operator_name(self.anchor) == "relax.matmul":
            weight = relax.op.permute_dims(weight, (1, 0))
        packed = pack_weight(weight, out_channels, steps, depth, block, dtype)
        return [packed, self.bias(out_channels, block)]

    def bias(self, channels: int, block: int) -> Any:
        """Return its packed bias, zeros where it has none."""
        bias = self.epilogue.bias
        if bias is None:
            bias = relax.const(np.zeros(channels, np.float32))
        return pack_bias(bias, channels, block)


@dataclass(frozen=True, slots=True)
class Composite:
    """What a composite function holds: one layer, or those that one kernel computes."""

    operator: str
    parts: list[Part]

    @classmethod
    def read(cls, func: Any) -> Composite:
        """Read a composite function."""
        layers: list[list[Any]] = []
        for call in (b.value for block in func.body.blocks for b in block.bindings):
            if not layers or operator_name(call) in _ANCHORS:
                layers.append([])
            layers[-1].append(call)
        operator = str(func.attrs[COMPOSITE]).removeprefix(PREFIX)
        return cls(operator, [Part(calls[0], read_epilogue(calls)) for calls in layers])

    def workload(
        self, in_shape: tuple[int, ...], out_shape: tuple[int, ...], target: TargetSpec
    ) -> Workload:
        """Return the workload that it will be a kernel of.

        Parameters
        ----------
        in_shape, out_shape : tuple of int
            NCHW, or NC.
        target : TargetSpec
        """
        operator, first, last = self.operator, self.parts[0], self.parts[-1]
        if operator in ("pool", "scale", "softmax"):
            return over_channels(operator, in_shape, target)  # type: ignore[arg-type]
        if operator == "dense":
            return dense(in_shape, out_shape[1], target, first.epilogue.activation)
        if operator == "tail":
            tail = self._tail(in_shape, out_shape[1], target)
            return dataclasses.replace(tail, dtype=target.dtype)
        attrs = first.anchor.attrs
        work = convolution(
            in_shape,
            out_shape,
            target,
            kernel=shape_of(first.anchor.args[1])[2:],
            strides=[int(s) for s in attrs.strides],
            padding=[int(p) for p in attrs.padding],
            groups=int(attrs.groups),
            activation=last.epilogue.activation,
            residual=last.epilogue.residual,
        )
        if operator != "separable":
            return work
        return dataclasses.replace(
            work, operator="separable", mid_activation=first.epilogue.activation
        )

    def _tail(self, in_shape: tuple[int, ...], classes: int, target: TargetSpec) -> Workload:
        n, channels, height, width = in_shape
        out_channels = shape_of(self.parts[0].anchor.args[1])[0]
        return Workload(
            "tail",
            n,
            channels,
            out_channels,
            (height, width),
            (height, width),
            channel_block(channels, target),
            channel_block(out_channels, target),
            activation=self.parts[0].epilogue.activation,
            classes=classes,
            class_block=class_block(classes, target),
        )

    def parameters(self, work: Workload) -> list[Any]:
        """Return the packed weights and biases, as the operator's definition lists them."""
        taps = math.prod(work.kernel)
        if work.operator in ("pool", "scale", "softmax"):
            return []
        if work.operator in ("conv", "depthwise"):
            steps = taps * (1 if work.operator == "depthwise" else work.in_channels)
            return self.parts[0].packed(work.out_channels, steps, steps, work.out_block, work.dtype)
        pointwise = (work.out_channels, work.in_channels, work.depth, work.out_block, work.dtype)
        if work.operator == "separable":
            first = self.parts[0].packed(work.in_channels, taps, taps, work.in_block, work.dtype)
            return [*first, *self.parts[1].packed(*pointwise)]
        if work.operator == "tail":
            classifier = self.parts[2]
            shape = (work.out_channels, work.classes)
            rows = pack_classifier(
                classifier.anchor.args[1], shape, work.out_block, work.class_block
            )
            bias = classifier.bias(work.classes, work.class_block)
            return [*self.parts[0].packed(*pointwise), rows, bias]
        return self.parts[0].packed(*pointwise)

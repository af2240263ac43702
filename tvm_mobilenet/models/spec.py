"""What a network is, as data: layers, shapes, multiply-adds, parameter names.

A :class:`Model` is a small directed acyclic graph of :class:`Layer` in
topological order. It computes nothing, holds no weights and knows no TVM; the
reference, the compiler, the ONNX export and the tables all read it.
Layouts and units are those of :mod:`tvm_mobilenet.models.layers`,
whose names this module exports too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tvm_mobilenet.common.functions import Activation
from tvm_mobilenet.common.limits import LARGEST_TENSOR, LARGEST_WEIGHTS
from tvm_mobilenet.common.tables import Column, Table, Tabular, by_size
from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.layers import (
    Activate,
    Add,
    Conv2d,
    ConvKind,
    Dense,
    GlobalAvgPool,
    Scale,
    Softmax,
    same_padding,
)
from tvm_mobilenet.models.operator import Operator

__all__ = [
    "INPUT",
    "Activate",
    "Activation",
    "Add",
    "Conv2d",
    "ConvKind",
    "Dense",
    "GlobalAvgPool",
    "Layer",
    "Model",
    "Operator",
    "Scale",
    "SeparableSaving",
    "Shape",
    "Softmax",
    "same_padding",
    "symbol",
]

INPUT = "input"
"""Name by which layers refer to the input of the model."""

_CHANNELS = (1, 3, 4)
"""Numbers of channels that an image can have."""

_FLOAT32_BYTES = 4


def symbol(layer: str) -> str:
    """Return a layer's name as compilers spell it: a letter, then letters, digits and ``_``."""
    spelled = re.sub(r"\W", "_", layer, flags=re.ASCII)
    return spelled if spelled[:1].isalpha() else f"t{spelled}"


@dataclass(frozen=True, slots=True)
class SeparableSaving:
    """What one depthwise separable block costs against the convolution it replaces.

    Parameters
    ----------
    name : str
        The block, such as ``"block1"``.
    separable_macs, full_macs : int
        MACs of depthwise plus pointwise, and of one full convolution with the
        same kernel, channels and output map.
    """

    name: str
    separable_macs: int
    full_macs: int

    @property
    def ratio(self) -> float:
        """1/N + 1/D_K**2 for N output channels (arXiv 1704.04861, section 3.1)."""
        return float(Fraction(self.separable_macs, self.full_macs))


_COLUMNS = (
    Column("name", "layer", kind="name"),
    Column("kind", kind="word", priority=1),
    Column("in_shape", "input", by_size, priority=3),
    Column("out_shape", "output", by_size, priority=2),
    Column("macs", "million MACs", lambda macs: f"{macs / 1e6:.2f}"),
    Column("share", "share", ".1%", priority=1),
    Column("params", "parameters", ",d"),
)


@dataclass(frozen=True, slots=True, repr=False)
class Model(Tabular):
    """A network: its layers in topological order.

    Parameters
    ----------
    name : str
        Key of :data:`tvm_mobilenet.models.MODELS`, such as ``"mobilenet_v1"``.
    title : str
        For people, such as ``"MobileNet V1 1.0/224"``.
    options : dict
        JSON-able keyword arguments that build this model again.
    input_shape : tuple of int
        (N, C, H, W) of the one input.
    layers : tuple of Layer
        Every layer after its producers.
    outputs : tuple of str
        Layers whose output is the network's; the last one by default.
    input_dtype : str
        NumPy's name of the input's type: float32; in imported networks also float16 or uint8.

    Raises
    ------
    InvalidModelError
        If two layers have one name, a producer is missing or comes later, shapes differ, or
        a tensor or the weights are too large to be indexed or linked.
    """

    name: str
    title: str
    options: dict[str, Any] = field(hash=False)
    input_shape: Shape
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...] = ()
    input_dtype: str = "float32"

    def __post_init__(self) -> None:
        if not self.layers:
            raise InvalidModelError(f"model {self.name!r} has no layer")
        if not self.outputs:
            object.__setattr__(self, "outputs", (self.layers[-1].name,))
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        for layer in self.layers:
            if layer.name in shapes:
                raise InvalidModelError(f"two layers of {self.name!r} are called {layer.name!r}")
            missing = [name for name in layer.inputs if name not in shapes]
            if missing:
                raise InvalidModelError(f"layer {layer.name!r} reads {missing}, not computed yet")
            for name, shape in zip(layer.inputs, layer.in_shapes, strict=True):
                if shapes[name] != shape:
                    raise InvalidModelError(
                        f"layer {layer.name!r} takes {shape}, but {name!r} gives {shapes[name]}"
                    )
            shapes[layer.name] = layer.out_shape
        self._check_sizes(shapes)
        if unknown := [name for name in self.outputs if name not in shapes]:
            raise InvalidModelError(f"the outputs {unknown} of {self.name!r} are not its layers")

    def _check_sizes(self, values: Mapping[str, Shape]) -> None:
        """Refuse what no kernel could index, before anything is allocated."""
        parameters = self.parameters
        for name, shape in (*values.items(), *parameters.items()):
            if (count := math.prod(shape)) > LARGEST_TENSOR:
                raise InvalidModelError(
                    f"{name!r} of {self.title} has {count} numbers ({by_size(shape)}), and TVM's "
                    f"kernels can index {LARGEST_TENSOR}",
                    "lower alpha, resolution, classes or batch",
                )
        weights = _FLOAT32_BYTES * sum(map(math.prod, parameters.values()))
        if weights > LARGEST_WEIGHTS:
            raise InvalidModelError(
                f"the weights of {self.title} take {weights} bytes, and a shared object can hold "
                f"{LARGEST_WEIGHTS}",
                "lower alpha or classes",
            )

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the layers."""
        return (
            f"<{type(self).__name__} {self.title}: {by_size(self.input_shape)}, {len(self.layers)} "
            f"layers, {self._sizes}>"
        )

    def table(self) -> Table:
        """Return the layers, a row each."""
        whole = self.macs or 1
        rows = tuple(
            (
                layer.name,
                str(getattr(layer, "kind", type(layer).__name__)),
                layer.in_shape,
                layer.out_shape,
                layer.macs,
                layer.macs / whole,
                layer.params,
            )
            for layer in self.layers
        )
        return Table("layers", self.title, _COLUMNS, rows, (self._sizes,))

    @property
    def _sizes(self) -> str:
        return f"{self.macs / 1e6:.1f} million MACs, {self.params / 1e6:.1f} million parameters"

    @property
    def input_layout(self) -> str:
        """``"NCHW"``, or ``"NHWC"`` where the last axis alone can be the channels of an image."""
        last = self.input_shape[-1] in _CHANNELS and self.input_shape[1] not in _CHANNELS
        return "NHWC" if last else "NCHW"

    @property
    def resolution(self) -> int:
        """Height of the input, pixels."""
        return self.input_shape[self.input_layout.index("H")]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input, pixels."""
        height = self.input_layout.index("H")
        return self.input_shape[height], self.input_shape[height + 1]

    @property
    def output_shape(self) -> Shape:
        """Shape of the first output."""
        return self.layer(self.outputs[0]).out_shape

    @property
    def macs(self) -> int:
        """Multiply-adds of one run, all images of the batch together."""
        return sum(layer.macs for layer in self.layers)

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return sum(layer.params for layer in self.layers)

    @property
    def parameters(self) -> dict[str, Shape]:
        """Full parameter name to shape, in the order of the layers."""
        return {name: shape for layer in self.layers for name, shape in layer.parameters.items()}

    def layer(self, name: str) -> Layer:
        """Return the layer called `name`, or raise InvalidModelError."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise InvalidModelError(
            f"{self.title} has no layer {name!r}",
            "its layers are " + ", ".join(layer.name for layer in self.layers),
        )

    def describe(self) -> dict[str, Any]:
        """Return ``{"name", "options"}``, JSON-able, for the manifest."""
        return {"name": self.name, "options": dict(self.options)}

    def separable_savings(self) -> tuple[SeparableSaving, ...]:
        """Return the saving of every depthwise layer that a pointwise layer follows."""
        convolutions = {layer.name: layer for layer in self.layers if isinstance(layer, Conv2d)}
        savings = []
        for pointwise in convolutions.values():
            depthwise = convolutions.get(pointwise.inputs[0])
            if pointwise.kind != "pointwise" or depthwise is None or depthwise.kind != "depthwise":
                continue
            full = math.prod(pointwise.out_shape) * pointwise.in_channels
            savings.append(
                SeparableSaving(
                    name=pointwise.name.rpartition(".")[0] or pointwise.name,
                    separable_macs=depthwise.macs + pointwise.macs,
                    full_macs=full * math.prod(depthwise.kernel),
                )
            )
        return tuple(savings)

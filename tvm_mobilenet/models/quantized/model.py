"""What a quantised network is, as data: float layers, and which of them compute in integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tvm_mobilenet.common.functions import clips, tabled
from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.maps import Concat, Pool2d
from tvm_mobilenet.models.pixels import Pixels
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Activation,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
    Softmax,
)
from tvm_mobilenet.models.tensors import TensorType

FLOAT = TensorType()

BYTES = TensorType("uint8", (1.0,), 0)
"""Pixels, which are what they are stored as."""


_MIDDLE = 128


@dataclass(frozen=True, slots=True)
class Quantize(Layer):
    """Float32 numbers become elements; the layer's record says of which type."""


@dataclass(frozen=True, slots=True)
class Dequantize(Layer):
    """Elements become the float32 numbers that they stand for."""


_MOST_GROUPS = 8
"""Groups of a convolution, but depthwise ones, whose kernel multiplies by the zeros between
them: being four times as fast as float32 does not pay for more."""

INTEGER_LAYERS = (
    *(Conv2d, Dense, GlobalAvgPool, Add, Scale, Activate, Softmax, Quantize),
    *(Pixels, Concat, Pool2d),
)
"""Every kind of layer that can compute in integers."""


def has_kernel(layer: Conv2d) -> bool:
    """Whether a kernel computes a convolution in integers: taps side by side, few groups."""
    few = layer.kind == "depthwise" or layer.groups <= _MOST_GROUPS
    return few and layer.dilations == (1, 1)


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a layer computes in integers.

    Attributes
    ----------
    output : TensorType
        The layer's value: int8 or uint8 with one scale. Sums of a convolution or a dense layer
        may also leave as float32.
    weight : TensorType or None
        A convolution's or dense layer's weight: int8, zero point 0, one scale, or one for each
        output channel; or as older TensorFlow Lite files have it, uint8 with one scale and a
        zero point that is not 0: less that, numbers of nine bits.
    before : TensorType or None
        What an activation that is no clipping reads: a table turns it into `output`.

    Raises
    ------
    QuantizationError
        If a type is not of these.
    """

    output: TensorType
    weight: TensorType | None = None
    before: TensorType | None = None

    def __post_init__(self) -> None:
        for what, of in (("an output", self.output), ("a sum", self.before)):
            if of is None or of == FLOAT:
                continue
            if not of.quantized or len(of.scale) != 1:
                raise QuantizationError(
                    f"{what} has type {of.dtype} and {len(of.scale)} scales",
                    "give int8 or uint8 with one scale",
                )
        if self.before == FLOAT:
            raise QuantizationError(
                "a table reads float32", "give int8 or uint8 with one scale before the activation"
            )
        weight = self.weight
        signed = weight is None or (weight.dtype, weight.zero_point) == ("int8", 0)
        if weight is not None and not signed and not _older(weight):
            raise QuantizationError(
                f"a weight has type {weight.dtype} and zero point {weight.zero_point}, with "
                f"{len(weight.scale)} scales",
                "give int8 with zero point 0, or uint8 with one scale and another zero point",
            )


@dataclass(frozen=True)
class QuantizedModel:
    """A network of which some layers compute in integers.

    Values between integer layers are int8 or uint8, all others float32: where one meets the
    other stands a :class:`Quantize` or a :class:`Dequantize`. Only :class:`Add` takes both.

    Attributes
    ----------
    model : Model
        Layers with those steps among them; integer convolutions have a bias and no batch norm.
    records : mapping of str to Quantization
        By name, the layers that compute in integers; also :data:`~.spec.INPUT`, if the input of
        the network is int8 or uint8. Layers without a record compute in float32.

    Raises
    ------
    QuantizationError
        If a record does not fit its layer, or a layer reads what it cannot.
    """

    model: Model
    records: Mapping[str, Quantization] = field(repr=False)

    def __post_init__(self) -> None:
        names = {INPUT, *(layer.name for layer in self.model.layers)}
        for name in self.records:
            _require(name in names, name, "is no layer of the network", "name one of its layers")
        self._check_input()
        for layer in self.model.layers:
            if layer.name in self.records:
                self._check_integer(layer, self.records[layer.name])
            else:
                self._check_float(layer)

    def type_of(self, name: str) -> TensorType:
        """Return what the elements of a layer's value, or of the input, are."""
        record = self.records.get(name)
        return FLOAT if record is None else record.output

    def _check_input(self) -> None:
        found, declared = self.type_of(INPUT), self.model.input_dtype
        _require(
            not found.quantized or found.dtype == declared,
            INPUT,
            f"is {declared} in the network and {found.dtype} in its record",
            "quantise a float32 input by a Quantize layer",
        )

    def _check_float(self, layer: Layer) -> None:
        _require(
            not isinstance(layer, Quantize),
            layer.name,
            "quantises, and has no record",
            "say in its record which type it makes",
        )
        for name in layer.inputs:
            _require(
                self.type_of(name).quantized == isinstance(layer, Dequantize),
                layer.name,
                f"computes in float32 and reads {name!r}, which is {self.type_of(name).dtype}",
                "put a Dequantize between elements and what computes in float32, nowhere else",
            )

    def _check_integer(self, layer: Layer, record: Quantization) -> None:
        _require(
            isinstance(layer, INTEGER_LAYERS),
            layer.name,
            f"is a {type(layer).__name__}, which has no integer form",
            "leave its record out: it computes in float32",
        )
        for name in layer.inputs:
            wanted = not isinstance(layer, Quantize)
            _require(
                isinstance(layer, Add) or self.type_of(name).quantized == wanted,
                layer.name,
                f"reads {name!r}, which is {self.type_of(name).dtype}",
                "put a Quantize between float32 and what computes in integers, nowhere else",
            )
        if isinstance(layer, Pixels):
            self._check_pixels(layer, record.output)
        activation = getattr(layer, "activation", "none")
        clipped = not tabled(activation)
        if record.output == FLOAT:
            _require(
                isinstance(layer, Weighted) and clipped,
                layer.name,
                "has an output of float32",
                "give it int8 or uint8; only sums that are at most clipped may leave as float32",
            )
        _require(
            (record.before is not None) == (isinstance(layer, Weighted) and not clipped),
            layer.name,
            f"has activation {activation!r} and a type before it: {record.before is not None}",
            "a convolution or dense layer whose activation clips nothing has one, no other layer",
        )
        _require(
            (record.weight is not None) == isinstance(layer, Weighted),
            layer.name,
            f"is a {type(layer).__name__} and has a type of weight: {record.weight is not None}",
            "convolutions and dense layers have one, no other layer",
        )
        if isinstance(layer, Weighted) and record.weight is not None:
            _check_weighted(layer, record.weight)

    def _check_pixels(self, layer: Pixels, to: TensorType) -> None:
        found = self.type_of(layer.inputs[0])
        _require(
            found == BYTES and to.scale == (1.0,) and to.zero_point == to.limits[0],
            layer.name,
            f"makes {to.dtype} by {to.scale} and {to.zero_point} of {found.dtype}",
            "pixels are uint8, and stay what they are",
        )
        _require(
            layer.border == layer.whole.border,
            layer.name,
            f"has a border of {layer.border}",
            "give whole numbers from 0 to 255",
        )


def passes_of(record: Quantization) -> int:
    """Return how often a kernel multiplies by int8: twice where a weight has nine bits.

    Such numbers are sums of two of int8; from a zero point of 128 they are of int8 themselves.
    """
    weight = record.weight
    return 1 if weight is None or weight.dtype == "int8" or weight.zero_point == _MIDDLE else 2


def _older(weight: TensorType) -> bool:
    return weight.dtype == "uint8" and len(weight.scale) == 1 and weight.zero_point != 0


def limits_of(activation: Activation, to: TensorType) -> tuple[int, int]:
    """Return the least and greatest element that an activation which clips lets through."""
    low, high = to.limits
    zero, scale = to.zero_point or 0, to.scale[0]
    least, most = clips(activation) or (-math.inf, math.inf)
    ends = [zero + round(min(max(end / scale, low - zero), high - zero)) for end in (least, most)]
    return ends[0], ends[1]


def _check_weighted(layer: Weighted, weight: TensorType) -> None:
    channels = layer.out_shape[1]
    _require(
        len(weight.scale) in (1, channels),
        layer.name,
        f"has {len(weight.scale)} scales for {channels} output channels",
        "give one, or one for each output channel",
    )
    _require(
        layer.bias and layer.batch_norm is None,
        layer.name,
        "has a batch norm or no bias",
        "fold the batch norm first (models/quantized/lowering.py)",
    )


def _require(condition: bool, name: str, problem: str, remedy: str) -> None:
    if not condition:
        raise QuantizationError(f"{name!r} {problem}", remedy)

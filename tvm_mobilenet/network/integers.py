"""From a layer that computes in integers to its kernel.

What elements stand for is in the workload's limits and zero points, and in scales, shifts and
tables among the parameters (:mod:`tvm_mobilenet.network.integer_parameters`). A kernel knows no
types.
"""

from __future__ import annotations

import dataclasses
from functools import singledispatch
from typing import Any, cast

from tvm_mobilenet.common.functions import tabled
from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.maps import Concat, Pool2d
from tvm_mobilenet.models.pixels import Pixels
from tvm_mobilenet.models.quantized.model import (
    FLOAT,
    Dequantize,
    Quantize,
    QuantizedModel,
    has_kernel,
    limits_of,
    passes_of,
)
from tvm_mobilenet.models.quantized.storing import Stored
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Activation,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Scale,
    Shape,
    Softmax,
)
from tvm_mobilenet.operators.integers import BLOCK, IMAGE_BLOCK
from tvm_mobilenet.operators.workload import Workload

_SIGNED = ("neon", "neon32")
"""Instruction sets that multiply int8 by int8; x86 multiplies uint8 by int8."""


def elements_for(target: TargetSpec) -> Stored:
    """Return what a target's kernels store maps as."""
    return "int8" if target.isa in _SIGNED else "uint8"


def integer_workload(network: QuantizedModel, layer: Layer) -> Workload | None:
    """Return the kernel of a layer by itself, None where it is one of float32.

    Parameters
    ----------
    network : QuantizedModel
        Its maps are stored as the target's kernels store them.

    Raises
    ------
    QuantizationError
        There is no kernel for it in integers.
    """
    if layer.name not in network.records and not isinstance(layer, Dequantize):
        return None
    return _workload(layer, network)


@singledispatch
def _workload(layer: Layer, network: QuantizedModel) -> Workload:
    raise QuantizationError(
        f"{layer.name!r} is a {type(layer).__name__}, for which there is no kernel in integers",
        f"leave it in float32: --keep {layer.name}",
    )


@_workload.register(Conv2d)
def _conv2d(layer: Conv2d, network: QuantizedModel) -> Workload:
    operator = {"depthwise": "qdepthwise", "pointwise": "qpointwise"}.get(layer.kind, "qconv")
    block = _block_of(network, layer.inputs[0])
    flat = layer.kernel == layer.strides == (1, 1) and not any(layer.padding)
    if operator == "qconv" and flat:  # in groups
        operator = "qpointwise"
    if operator == "qpointwise" and block != BLOCK:
        operator = "qconv"
    if not has_kernel(layer):
        apart = "" if layer.dilations == (1, 1) else ", its taps set apart"
        raise QuantizationError(
            f"{layer.name!r} is a convolution of {layer.groups} groups{apart}, for which there is "
            "no kernel in integers",
            f"leave it in float32: --keep {layer.name}",
        )
    (n, channels, *in_size), (_, out_channels, *out_size) = layer.in_shape, layer.out_shape
    return Workload(
        operator,
        n,
        channels,
        out_channels,
        cast("tuple[int, int]", tuple(in_size)),
        cast("tuple[int, int]", tuple(out_size)),
        block,
        BLOCK,
        layer.kernel,
        layer.strides,
        layer.padding,
        **_leaving(network, layer, layer.activation),
        zero_point=_zero(network, layer.inputs[0]) if any(layer.padding) else 0,
        passes=passes_of(network.records[layer.name]),
    )


@_workload.register(Pixels)
def _pixels(layer: Pixels, network: QuantizedModel) -> Workload:
    """Return the convolution that reads them: of an image that lies plain, its border made here."""
    (conv,) = (other for other in network.model.layers if layer.name in other.inputs)
    zero = _zero(network, layer.name)
    _, channels, *in_size = layer.in_shape
    return dataclasses.replace(
        _workload(conv, network),
        operator="qpixels",
        in_channels=channels,
        in_size=(in_size[0], in_size[1]),
        in_block=IMAGE_BLOCK,
        padding=layer.padding,
        border=tuple(int(value) + zero for value in layer.border),
    )


@_workload.register(Dense)
def _dense(layer: Dense, network: QuantizedModel) -> Workload:
    leaving = _leaving(network, layer, layer.activation)
    passes = passes_of(network.records[layer.name])
    work = _flat(layer, network, "qpointwise", **leaving, passes=passes)
    if not work.out_dtype:
        return work
    return dataclasses.replace(work, operator="qdense", out_dtype="")


@_workload.register(GlobalAvgPool)
def _pool(layer: GlobalAvgPool, network: QuantizedModel) -> Workload:
    return _flat(layer, network, "qpool", **_leaving(network, layer), out_size=(1, 1))


@_workload.register(Scale)
def _scale(layer: Scale, network: QuantizedModel) -> Workload:
    zeros = [_zero(network, name) for name in layer.inputs]
    return _flat(
        layer,
        network,
        "qscale",
        **_leaving(network, layer),
        zero_point=zeros[0],
        other_zero_point=zeros[1],
    )


@_workload.register(Softmax)
def _softmax(layer: Softmax, network: QuantizedModel) -> Workload:
    return _flat(layer, network, "qsoftmax", **_leaving(network, layer))


@_workload.register(Activate)
def _activate(layer: Activate, network: QuantizedModel) -> Workload:
    return _flat(layer, network, "qtable", **_leaving(network, layer))


@_workload.register(Add)
def _add(layer: Add, network: QuantizedModel) -> Workload:
    kinds = tuple(network.type_of(name).dtype for name in layer.inputs)
    same = all(kind == network.type_of(layer.name).dtype for kind in kinds)
    return _flat(
        layer, network, "qadd", **_leaving(network, layer), in_dtypes=() if same else kinds
    )


@_workload.register(Concat)
def _concat(layer: Concat, network: QuantizedModel) -> Workload:
    to = network.type_of(layer.name)
    parts = tuple(shape[1] for shape in layer.in_shapes)
    moved = tuple(at for at, name in enumerate(layer.inputs) if network.type_of(name) != to)
    work = _flat(layer, network, "qconcat", dtype=to.dtype, parts=parts, moved=moved)
    return dataclasses.replace(work, in_channels=work.out_channels)


@_workload.register(Pool2d)
def _pool2d(layer: Pool2d, network: QuantizedModel) -> Workload:
    (source,) = layer.inputs
    largest = layer.kind == "max"
    moved = (0,) if largest and network.type_of(source) != network.type_of(layer.name) else ()
    work = _flat(
        layer,
        network,
        "qlargest" if largest else "qmean",
        **_leaving(network, layer),
        out_size=layer.size,
        zero_point=0 if largest else _zero(network, source),
        moved=moved,
    )
    return dataclasses.replace(
        work, kernel=layer.kernel, strides=layer.strides, padding=layer.padding
    )


@_workload.register(Quantize)
def _quantize(layer: Quantize, network: QuantizedModel) -> Workload:
    block = _block_of(network, layer.name)
    rank = len(layer.in_shape)
    leaving = _leaving(network, layer)
    return _flat(layer, network, "quantize", **leaving, block=block, in_plain=rank)


@_workload.register(Dequantize)
def _dequantize(layer: Dequantize, network: QuantizedModel) -> Workload:
    source = network.type_of(layer.inputs[0])
    block = _block_of(network, layer.inputs[0])
    rank = len(layer.in_shape)
    return _flat(layer, network, "dequantize", dtype=source.dtype, block=block, in_plain=rank)


def _flat(
    layer: Layer,
    network: QuantizedModel,
    operator: str,
    *,
    block: int = BLOCK,
    out_size: tuple[int, int] | None = None,
    **fields: Any,
) -> Workload:
    """Return a workload whose sizes are those of NCHW or NC, without a window."""
    n, channels, *rest = layer.in_shape
    size = (rest[0], rest[1]) if rest else (1, 1)
    out_channels = layer.out_shape[1]
    return Workload(
        operator, n, channels, out_channels, size, out_size or size, block, block, **fields
    )


def _leaving(
    network: QuantizedModel, layer: Layer, activation: Activation = "none"
) -> dict[str, Any]:
    """Return what a workload says of the elements, or sums, that leave."""
    record = network.records[layer.name]
    if record.output == FLOAT:
        stored = network.type_of(layer.inputs[0]).dtype
        return {"dtype": stored, "out_dtype": "float32", "activation": activation}
    if tabled(activation):
        assert record.before is not None  # QuantizedModel holds every such layer to it
        return {
            "dtype": record.output.dtype,
            "activation": activation,
            "limits": record.before.limits,
        }
    return {"dtype": record.output.dtype, "limits": limits_of(activation, record.output)}


def _zero(network: QuantizedModel, name: str) -> int:
    return network.type_of(name).zero_point or 0


def _block_of(network: QuantizedModel, name: str) -> int:
    """Return the channels in a block of a value: an image has few, and full convolutions read it.

    What quantises it is asked, and who reads that; each gets the same answer.
    """
    if name == INPUT:
        shape: Shape = network.model.input_shape
    else:
        layer = network.model.layer(name)
        shape = layer.out_shape
        if not isinstance(layer, Quantize):
            return BLOCK
    readers = [layer for layer in network.model.layers if name in layer.inputs]
    full = all(isinstance(layer, Conv2d) and layer.kind != "depthwise" for layer in readers)
    return IMAGE_BLOCK if shape[1] <= IMAGE_BLOCK and full else BLOCK


def with_residual(network: QuantizedModel, work: Workload, sums: Layer, added: Add) -> Workload:
    """Return the workload of a pointwise layer whose sums go on to a residual connection."""
    kept = _leaving(network, added)
    first = added.inputs[0] != sums.name
    return dataclasses.replace(work, out_dtype="", residual=True, residual_first=first, **kept)


def adds_sums(network: QuantizedModel, layer: Layer, added: Layer | None) -> bool:
    """Whether a layer's sums are added to a map before they are rounded to elements."""
    if not isinstance(added, Add) or added.name not in network.records:
        return False
    record = network.records.get(layer.name)
    unrounded = record is not None and record.output == FLOAT
    others = [name for name in added.inputs if name != layer.name]
    plain = getattr(layer, "activation", "none") == "none"
    elements = len(others) == 1 and network.type_of(others[0]).quantized
    return unrounded and plain and elements

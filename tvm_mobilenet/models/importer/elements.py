"""What QuantizeLinear and DequantizeLinear say: types of values, and the integers of constants."""

from __future__ import annotations

from typing import cast

import numpy as np

from tvm_mobilenet.errors import OnnxFileError, QuantizationError, UnsupportedOperatorError
from tvm_mobilenet.machine import RANGES, Dtype
from tvm_mobilenet.models.importer.graph import Array, Elements, Graph, Node
from tvm_mobilenet.models.tensors import TensorType

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"

_VIEWS = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}


def note_elements(graph: Graph, node: Node) -> None:
    """Keep the integers of a constant that a node has just computed, if it is made of such.

    Raises
    ------
    OnnxFileError
        A scale is 0, negative or not finite, or there are too few or too many.
    """
    source, out = node.inputs[0] if node.inputs else "", graph.constants.get(node.out)
    if out is None or source not in graph.constants:
        return
    known = graph.elements.get(source)
    if node.op == DEQUANTIZE:
        if (found := _dequantized(graph, node, graph.constants[source])) is not None:
            graph.elements[node.out] = found
    elif known is not None and node.op == "Transpose":
        perm = node.attrs.get("perm")
        graph.elements[node.out] = Elements(
            known.numbers.transpose(perm), known.scale.transpose(perm)
        )
    elif known is not None and node.op in _VIEWS:
        graph.elements[node.out] = Elements(
            known.numbers.reshape(out.shape), known.scale.reshape(out.shape)
        )


def _dequantized(graph: Graph, node: Node, value: Array) -> Elements | None:
    scale = checked_scale(node, graph.constants[node.inputs[1]])
    if str(value.dtype) not in RANGES or node.attrs.get("block_size", 0):
        return None
    zero = graph.constants.get(node.input(2), np.zeros(1, value.dtype))
    along, axis = [1] * value.ndim, int(node.attrs.get("axis", 1))
    several = value.shape[axis] if -value.ndim <= axis < value.ndim else 1
    if not {scale.size, zero.size} <= {1, several}:
        raise OnnxFileError(
            f"the node {node.name!r}, {node.op}, has {scale.size} scales and {zero.size} zero "
            f"points for a constant of {' x '.join(map(str, value.shape))}",
            "quantise the model again",
        )
    if several > 1:
        along[axis] = several
    scale, zero = (
        part.reshape(along) if part.size > 1 else part.reshape(()) for part in (scale, zero)
    )
    numbers = value.astype(np.int16) - zero.astype(np.int16)
    return Elements(numbers, np.broadcast_to(scale, numbers.shape))


def checked_scale(node: Node, scale: Array) -> Array:
    """Return scales as float32, or say which node has one that nothing can be measured in."""
    scale = np.asarray(scale, np.float32)
    if not scale.size or not (np.isfinite(scale) & (scale > 0)).all():
        bad = scale[~(np.isfinite(scale) & (scale > 0))].ravel()[:1]
        raise OnnxFileError(
            f"the node {node.name!r}, {node.op}, has the scale {', '.join(map(str, bad)) or '()'}",
            "quantise the model again: scales are positive numbers",
        )
    return scale


def type_of(graph: Graph, node: Node, dtype: str) -> TensorType:
    """Return the type by which a node quantises or dequantises a value.

    Parameters
    ----------
    dtype : str
        NumPy's name of the elements' type.

    Raises
    ------
    OnnxFileError
        A scale is 0, negative or not finite.
    UnsupportedOperatorError
        It depends on the image, or is none of 8 bits with one scale.
    """
    told = f"the node {node.name!r}, {node.op},"
    names = [name for name in node.inputs[1:3] if name]
    parts = [graph.constants[name] for name in names if name in graph.constants]
    if len(parts) < len(names):
        raise UnsupportedOperatorError(
            f"{told} takes its scale or zero point from the image",
            "quantise the model statically, with images to calibrate by",
        )
    scale, zero = checked_scale(node, parts[0]), parts[1] if len(parts) > 1 else np.zeros(1, int)
    if scale.size != 1 or zero.size != 1 or dtype not in RANGES:
        raise UnsupportedOperatorError(
            f"{told} makes a value of {dtype} with {scale.size} scales and {zero.size} zero points",
            "quantise activations as int8 or uint8 with one scale, weights alone by channel",
        )
    try:
        return TensorType(cast("Dtype", dtype), (float(scale.ravel()[0]),), int(zero.ravel()[0]))
    except QuantizationError as error:
        raise OnnxFileError(f"{told} cannot be: {error.what}", error.remedy) from None

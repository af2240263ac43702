"""Operators of a file for which there are kernels in integers, as layers of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.maps import Concat, Pool2d
from tvm_mobilenet.models.operator import Operator

_KINDS = {"MaxPool": "max", "GlobalMaxPool": "max", "AveragePool": "mean"}
_RANKS = (2, 4)


def integer_form(layer: Layer) -> Layer:
    """Return a layer as it computes in integers: itself, or what its operator is to us."""
    if not isinstance(layer, Operator) or set(layer.dtypes) != {"float32"}:
        return layer
    if layer.operator not in ("Concat", *_KINDS):
        return layer
    import onnx

    (node,) = onnx.load_model_from_string(layer.node).graph.node
    if len(node.input) != len(layer.inputs):  # constants, or one input twice
        return layer
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return (_joined if layer.operator == "Concat" else _pooled)(layer, attributes) or layer


def _joined(layer: Operator, attributes: Mapping[str, Any]) -> Layer | None:
    rank = len(layer.in_shape)
    if rank not in _RANKS or attributes["axis"] % rank != 1:
        return None
    return Concat(layer.name, layer.inputs, layer.in_shape, layer.other_shapes)


def _pooled(layer: Operator, attributes: Mapping[str, Any]) -> Layer | None:
    """Return a pool whose padding is stated and does not count."""
    height, width = layer.in_shape[-2:]
    kernel = tuple(attributes.get("kernel_shape", (height, width)))
    around = tuple(attributes.get("pads", (0, 0, 0, 0)))
    plain = (
        len(layer.in_shape) == 4
        and set(attributes.get("dilations", (1,))) == {1}
        and attributes.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    )
    mean = layer.operator == "AveragePool"
    if not plain or (mean and attributes.get("count_include_pad", 0) and any(around)):
        return None
    try:
        return Pool2d(
            layer.name,
            layer.inputs,
            layer.in_shape,
            (kernel[0], kernel[1]),
            tuple(attributes.get("strides", (1, 1))),
            (around[0], around[1], around[2], around[3]),
            (layer.shape[2], layer.shape[3]),
            _KINDS[layer.operator],  # type: ignore[arg-type]
        )
    except InvalidModelError:  # a window of nothing but padding
        return None

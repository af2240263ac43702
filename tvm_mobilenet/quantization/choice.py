"""Which layers compute in integers, and what the elements of their values stand for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.common.functions import tabled
from tvm_mobilenet.models.folding import without_batch_norm
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.quantized.model import FLOAT, INTEGER_LAYERS, Quantization
from tvm_mobilenet.models.spec import Add, Conv2d, Layer, Model, Softmax
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.quantization.weights import weight_type

_RANKS = (2, 4)
"""Axes of what kernels in integers read: NC and NCHW."""


def records_for(
    model: Model,
    weights: Mapping[str, NDArray[Any]],
    types: Mapping[str, TensorType],
    sums: Mapping[str, TensorType],
    keep: Collection[str],
) -> dict[str, Quantization]:
    """Return a record for each layer that shall compute in integers.

    All do that have a kernel, but those to `keep` and softmaxes, which end networks and whose
    numbers people read. Sums that only float32 reads leave as float32, without a rounding between;
    so do those of a pointwise layer that is added to another map and read by nobody else, since its
    kernel adds that map too.

    Parameters
    ----------
    types : mapping of str to TensorType
        By layer, what its value is where it is quantised.
    sums : mapping of str to TensorType
        By layer, what an activation that is no clipping reads.
    """
    integer = {
        layer.name
        for layer in model.layers
        if isinstance(layer, INTEGER_LAYERS)
        and not isinstance(layer, Softmax)
        and layer.name not in keep
        and _has_kernel(layer)
    }
    float_sums = _float_sums(model, integer)
    records = {}
    for layer in model.layers:
        if layer.name not in integer:
            continue
        output = FLOAT if layer.name in float_sums else types[layer.name]
        if isinstance(layer, Weighted):
            weight = weight_type(without_batch_norm(layer, weights)[0])
            records[layer.name] = Quantization(output, weight, sums.get(layer.name))
        else:
            records[layer.name] = Quantization(output)
    return records


def _has_kernel(layer: Layer) -> bool:
    """Whether a layer is none of the few that no kernel computes in integers."""
    in_groups = isinstance(layer, Conv2d) and layer.groups > 1 and layer.kind != "depthwise"
    return not in_groups and len(layer.in_shape) in _RANKS


def _float_sums(model: Model, integer: Collection[str]) -> set[str]:
    """Return the layers whose sums leave as float32."""
    readers: dict[str, list[Layer]] = {layer.name: [] for layer in model.layers}
    for layer in model.layers:
        for name in dict.fromkeys(layer.inputs):
            readers.get(name, []).append(layer)
    found: set[str] = set()
    joined: set[str] = set()
    for layer in model.layers:
        if not isinstance(layer, Weighted) or tabled(layer.activation):
            continue
        behind = [reader for reader in readers[layer.name] if reader.name in integer]
        if not behind:
            found.add(layer.name)
        elif _added_at_once(layer, readers[layer.name], model) and behind[0].name not in joined:
            found.add(layer.name)
            joined.add(behind[0].name)
    return found & set(integer)


def _added_at_once(layer: Layer, readers: list[Layer], model: Model) -> bool:
    """Return whether a layer's kernel also adds what a residual connection brings."""
    return (
        isinstance(layer, Conv2d)
        and layer.kind == "pointwise"
        and layer.activation == "none"
        and layer.name not in model.outputs
        and len(readers) == 1
        and isinstance(readers[0], Add)
        and readers[0].inputs.count(layer.name) == 1
    )

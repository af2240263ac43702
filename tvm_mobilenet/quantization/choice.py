"""Which layers compute in integers, and what the elements of their values stand for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.common.functions import tabled
from tvm_mobilenet.models.folding import without_batch_norm
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.maps import Concat, Pool2d
from tvm_mobilenet.models.pixels import Pixels
from tvm_mobilenet.models.quantized.forms import integer_form
from tvm_mobilenet.models.quantized.model import (
    BYTES,
    FLOAT,
    INTEGER_LAYERS,
    Quantization,
    has_kernel,
)
from tvm_mobilenet.models.quantized.weights import weight_type
from tvm_mobilenet.models.spec import INPUT, Add, Conv2d, Layer, Model, Softmax
from tvm_mobilenet.models.tensors import TensorType

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
    integer = _integer_layers(model, keep)
    float_sums = _float_sums(model, integer)
    records = {}
    for layer in model.layers:
        if layer.name not in integer:
            continue
        output = FLOAT if layer.name in float_sums else types[layer.name]
        if isinstance(layer, Pixels):
            records[INPUT] = records[layer.name] = Quantization(BYTES)
        elif isinstance(layer, Weighted):
            weight = weight_type(without_batch_norm(layer, weights)[0])
            records[layer.name] = Quantization(output, weight, sums.get(layer.name))
        else:
            records[layer.name] = Quantization(output)
    return records


def shared_types(
    model: Model, types: Mapping[str, TensorType], keep: Collection[str]
) -> dict[str, TensorType]:
    """Return the types with which layers that only move elements need not change them.

    A largest element is one of its map. What only a concatenation reads has the concatenation's
    type; what others read too keeps its own.

    Parameters
    ----------
    types, keep
        As of :func:`records_for`.
    """
    found, integer = dict(types), _integer_layers(model, keep)
    forms = [integer_form(layer) for layer in model.layers if layer.name in integer]
    readers = _readers(model)
    for form in reversed(forms):
        if isinstance(form, Concat):
            for name in form.inputs:
                if name in readers and len(readers[name]) == 1 and name not in model.outputs:
                    found[name] = found[form.name]
    for form in forms:
        if _largest(form):
            found[form.name] = found[form.inputs[0]]
    return found


def _largest(layer: Layer) -> bool:
    return isinstance(layer, Pool2d) and layer.kind == "max"


def _integer_layers(model: Model, keep: Collection[str]) -> set[str]:
    """Return the layers that compute in integers: what moves elements where elements come."""
    found: set[str] = set()
    for layer in model.layers:
        form = integer_form(layer)
        moves = isinstance(form, Concat) or _largest(form)
        if (
            isinstance(form, INTEGER_LAYERS)
            and not isinstance(layer, Softmax)
            and layer.name not in keep
            and (not isinstance(layer, Conv2d) or has_kernel(layer))
            and len(layer.in_shape) in _RANKS
            and (not moves or found.issuperset(layer.inputs))
        ):
            found.add(layer.name)
    return found


def _readers(model: Model) -> dict[str, list[Layer]]:
    """Return the layers that read each value, each once."""
    readers: dict[str, list[Layer]] = {layer.name: [] for layer in model.layers}
    for layer in model.layers:
        for name in dict.fromkeys(layer.inputs):
            readers.get(name, []).append(layer)
    return readers


def _float_sums(model: Model, integer: Collection[str]) -> set[str]:
    """Return the layers whose sums leave as float32."""
    readers = _readers(model)
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

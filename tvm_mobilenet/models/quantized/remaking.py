"""What calibration decided, as a manifest says it, and the network that it makes of float weights.

Weights and their scales follow from the float ones. What does not are the types of values and the
corrected biases: some 2% of what int8 weights take.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import ManifestError, QuantizationError, last_line
from tvm_mobilenet.models.folding import without_batch_norm
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.quantized.lowering import lowered
from tvm_mobilenet.models.quantized.model import FLOAT, Quantization, Quantize, QuantizedModel
from tvm_mobilenet.models.quantized.pixels import of_pixels
from tvm_mobilenet.models.quantized.weights import in_elements, weight_type
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.models.weights import not_these, validate

Weights = Mapping[str, NDArray[Any]]

_BIAS = np.dtype("<f4")


def decided(network: QuantizedModel, weights: Weights) -> dict[str, Any]:
    """Return what :func:`made_again` takes besides the float network, for JSON.

    Parameters
    ----------
    network : QuantizedModel
        As :func:`tvm_mobilenet.models.quantized.lowering.lowered` makes it.
    weights : mapping of str to ndarray
        By full name: int8 weights, float32 biases.

    Returns
    -------
    dict
        As :class:`tvm_mobilenet.runtime.schema.Quantized` describes it.
    """
    steps = {layer.name: layer for layer in network.model.layers if isinstance(layer, Quantize)}
    biases = [weights[f"{layer.name}.bias"].astype(_BIAS) for layer in _weighted(network)]
    return {
        "values": {step.inputs[0]: _told(network.type_of(name)) for name, step in steps.items()},
        "layers": {
            name: {"output": _told(record.output), "before": _told(record.before)}
            for name, record in network.records.items()
            if name not in steps
        },
        "scales": _scales_of(network),
        "biases": base64.b64encode(b"".join(bias.tobytes() for bias in biases)).decode(),
    }


def made_again(
    model: Model, weights: Weights, said: Mapping[str, Any], title: str
) -> tuple[QuantizedModel, dict[str, NDArray[Any]]]:
    """Return the network that calibration made, and its parameters.

    Parameters
    ----------
    model : Model
        The float network.
    weights : mapping of str to ndarray
        Its weights, float32, by full name.
    said : mapping
        From :func:`decided`; where the network takes pixels, ``"pixels"`` besides: what
        :func:`tvm_mobilenet.models.quantized.pixels.of_pixels` made it of.
    title : str
        What messages call the network.

    Raises
    ------
    ManifestError
        What is said makes no network of this model.
    WeightsError
        The weights do not fit the model, or are others than those that were calibrated.
    """
    validate(model, weights)
    try:
        if "pixels" in said:
            model, weights = of_pixels(model, weights, said["pixels"])
        records = dict(_records(model, weights, said["layers"]))
        values = {name: _type(of) for name, of in said["values"].items()}
        network = lowered(model, records, values)
        arrays = in_elements(model, weights, records)
        arrays |= _biases(network, said["biases"])
    except (QuantizationError, binascii.Error) as error:
        raise ManifestError(
            f"what this artifact says of {title} in integers makes no network: {last_line(error)}",
            "compile the model again",
        ) from error
    if _scales_of(network) != said["scales"]:
        raise not_these("their scales are others")
    return network, arrays


def _records(
    model: Model, weights: Weights, said: Mapping[str, Any]
) -> Iterator[tuple[str, Quantization]]:
    """Yield what layers compute in integers, the types of their weights found anew."""
    weighted = {layer.name: layer for layer in model.layers if isinstance(layer, Weighted)}
    for name, record in said.items():
        layer, weight = weighted.get(name), None
        if layer is not None:
            weight = weight_type(without_batch_norm(layer, weights)[0])
        before = None if record["before"] is None else _type(record["before"])
        yield name, Quantization(_type(record["output"]), weight, before)


def _biases(network: QuantizedModel, said: str) -> dict[str, NDArray[Any]]:
    """Return the biases of layers in integers."""
    layers = _weighted(network)
    numbers = np.frombuffer(base64.b64decode(said, validate=True), "<u1")
    sizes = [layer.out_shape[1] for layer in layers]
    if len(numbers) != _BIAS.itemsize * sum(sizes):
        raise QuantizationError(f"it has {len(numbers)} bytes of biases for {sum(sizes)} channels")
    pieces = np.split(numbers.view(_BIAS).astype(np.float32), np.cumsum(sizes)[:-1])
    return {f"{layer.name}.bias": piece for layer, piece in zip(layers, pieces, strict=True)}


def _weighted(network: QuantizedModel) -> list[Weighted]:
    """Return the layers with weights that compute in integers."""
    layers = network.model.layers
    return [one for one in layers if isinstance(one, Weighted) and one.name in network.records]


def _scales_of(network: QuantizedModel) -> str:
    """Return a hash of the scales of all weights."""
    sha = hashlib.sha256()
    for layer in _weighted(network):
        weight = network.records[layer.name].weight
        assert weight is not None  # QuantizedModel holds every layer with weights to it
        sha.update(np.asarray(weight.scale, "<f8").tobytes())
    return sha.hexdigest()


def _told(of: TensorType | None) -> list[Any] | None:
    return None if of is None or of == FLOAT else [of.dtype, of.scale[0], of.zero_point]


def _type(said: list[Any] | None) -> TensorType:
    if said is None:
        return FLOAT
    dtype, scale, zero_point = said
    return TensorType(dtype, (scale,), zero_point)

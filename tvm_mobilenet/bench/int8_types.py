"""What other runtimes need to know of a quantised network beyond its records."""

from __future__ import annotations

import dataclasses
from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.model import FLOAT, QuantizedModel
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.quantization.ranges import type_of


def signed(of: TensorType) -> TensorType:
    """Return the int8 type whose elements, each 128 less, stand for the same numbers."""
    if of.dtype == "int8":
        return of
    return dataclasses.replace(of, dtype="int8", zero_point=(of.zero_point or 0) - 128)


def types_of_sums(network: Network, x: NDArray[Any]) -> dict[str, TensorType]:
    """Return a type for each layer whose sums leave as float32, by their range for one input.

    Ours adds such sums to another map without rounding them; a runtime that finds no type there
    computes the whole layer in float32.

    Parameters
    ----------
    x : ndarray
        Input of the network.
    """
    layers = [name for name, record in network.records.items() if record.output == FLOAT]
    if not layers:
        return {}
    model = QuantizedModel(network.model, network.records)
    values = reference.run(model, network.weights, x)
    kinds = {record.output.dtype for name, record in network.records.items() if name != INPUT}
    types = {n: type_of((float(values[n].min()), float(values[n].max()))) for n in layers}
    return {n: signed(of) if "int8" in kinds else of for n, of in types.items()}

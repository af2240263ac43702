"""A network in integers without images: for what depends on no range, as which kernels it has."""

from __future__ import annotations

import numpy as np

from tvm_mobilenet.common.functions import tabled
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.quantized.lowering import lowered
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.spec import INPUT, Model
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.quantization.choice import records_for

_ANY = TensorType("uint8", (6 / 255,), 0)
"""Whose elements end where those of a ReLU6 do."""


def made_up(model: Model) -> QuantizedModel:
    """Return the network that calibration makes of a float one, but with ranges of no images.

    Raises
    ------
    QuantizationError
        There is a layer that no network in integers can have.
    """
    weights = {name: np.zeros(shape, np.float32) for name, shape in model.parameters.items()}
    types = dict.fromkeys((INPUT, *(layer.name for layer in model.layers)), _ANY)
    sums = {
        layer.name: _ANY
        for layer in model.layers
        if isinstance(layer, Weighted) and tabled(layer.activation)
    }
    return lowered(model, records_for(model, weights, types, sums, ()), types)

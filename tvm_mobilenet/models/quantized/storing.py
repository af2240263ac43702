"""The same network with its maps stored as the other of int8 and uint8."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tvm_mobilenet.models.quantized.model import Quantization, QuantizedModel
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.tensors import TensorType

Stored = Literal["int8", "uint8"]

_APART = 128


def stored_as(network: QuantizedModel, dtype: Stored) -> QuantizedModel:
    """Return a network whose maps are of one type, which a processor multiplies best.

    Every element and its zero point are 128 higher or lower, so that it stands for the same number.
    Results may be an element apart where a sum is next to a tie: it is rounded to float32 first. An
    input that is of elements stays what it is.
    """
    records = {
        name: record if name == INPUT else _stored(record, dtype)
        for name, record in network.records.items()
    }
    return QuantizedModel(network.model, records)


def _stored(record: Quantization, dtype: Stored) -> Quantization:
    return dataclasses.replace(
        record,
        output=_type(record.output, dtype),
        before=None if record.before is None else _type(record.before, dtype),
    )


def _type(of: TensorType, dtype: Stored) -> TensorType:
    if not of.quantized or of.dtype == dtype:
        return of
    moved = _APART if dtype == "uint8" else -_APART
    return dataclasses.replace(of, dtype=dtype, zero_point=(of.zero_point or 0) + moved)

"""The type of a tensor is whole, or refused."""

from __future__ import annotations

import math

import pytest

from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.machine import ITEM_BYTES
from tvm_mobilenet.models.tensors import TensorType


def test_of_every_type() -> None:
    for dtype, size in ITEM_BYTES.items():
        whole = {"scale": (0.1,), "zero_point": 0} if dtype in ("int8", "uint8") else {}
        assert TensorType(dtype, **whole).item_bytes == size
    assert TensorType().dtype == "float32"


def test_weights_have_a_scale_for_each_channel() -> None:
    weights = TensorType("int8", (0.5, 0.25, 2.0), 0)
    assert hash(weights) == hash(TensorType("int8", (0.5, 0.25, 2.0), 0))


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "says"),
    [
        ("float32", (1.0,), None, "float32 has a scale or a zero point"),
        ("int32", (), 0, "int32 has a scale or a zero point"),
        ("bfloat16", (1.0,), 0, "bfloat16"),
        ("uint8", (), 128, r"scale \(\)"),
        ("uint8", (0.0,), 128, "scale"),
        ("int8", (0.1, -0.1), 0, "one positive number, or one for each"),
        ("int8", (math.nan,), 0, "scale"),
        ("int8", (math.inf,), 0, "scale"),
        ("uint8", (0.1,), None, "zero point None"),
        ("uint8", (0.1,), -1, "from 0 to 255"),
        ("int8", (0.1,), 128, "from -128 to 127"),
    ],
)
def test_what_cannot_be_is_refused(dtype, scale, zero_point, says) -> None:
    with pytest.raises(QuantizationError, match=says):
        TensorType(dtype, scale, zero_point)

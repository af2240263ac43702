"""Functions of one element as tables, entry i for the i-th element of the type, from its least."""

from __future__ import annotations

from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.functions import Activation
from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.quantized.arithmetic import Array
from tvm_mobilenet.models.tensors import TensorType

_SUM_BITS = 30
_FLOAT32_BITS = 23

_EXACT = Context(prec=40)


def activation_table(activation: Activation, source: TensorType, to: TensorType) -> Array:
    """Return the element for each of 256: computed in float64, rounded once, ties to even."""
    low, high = source.limits
    numbers = source.scale[0] * (np.arange(low, high + 1.0) - (source.zero_point or 0))
    elements = np.rint(activate(numbers, activation) / to.scale[0] + (to.zero_point or 0))
    return np.asarray(np.clip(elements, *to.limits).astype(to.dtype))


def exponentials(source: TensorType, features: int) -> NDArray[np.int32]:
    """Return ``exp(-scale * i)`` for i from 0 to 255, in units that let `features` be summed up.

    The largest, 1, is a power of two: at most 2**23, which float32 holds exactly, and so small
    that the sum stays within 2**30. Exponentials are taken in decimal, to 40 digits, so that the
    table is the same on every machine.
    """
    bits = min(_FLOAT32_BITS, _SUM_BITS - (features - 1).bit_length())
    scale = Decimal(source.scale[0])
    powers = (_EXACT.exp(_EXACT.multiply(-scale, Decimal(i))) for i in range(256))
    return np.array([round(power * 2**bits) for power in powers], np.int32)

"""Constants of a Relax function as NumPy arrays, and arithmetic on them at compile time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm.ir import GenericConst


def array_of(constant: Any) -> NDArray[np.float32]:
    """Return the value of a ``ir.GenericConst``."""
    return np.asarray(constant.value.numpy())


def is_constant(expr: Any) -> bool:
    """Whether an expression is a ``ir.GenericConst``."""
    return isinstance(expr, GenericConst)

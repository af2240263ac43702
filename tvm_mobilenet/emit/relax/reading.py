"""Questions that every phase asks of a Relax function: its calls, constants and variables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax, tirx
from tvm.ir import GenericConst


def array_of(constant: Any) -> NDArray[np.float32]:
    """Return the value of a ``ir.GenericConst``."""
    return np.asarray(constant.value.numpy())


def is_constant(expr: Any) -> bool:
    """Whether an expression is a ``ir.GenericConst``."""
    return isinstance(expr, GenericConst)


def operator_name(call: Any) -> str:
    """Return the operator of a call, such as ``"relax.add"``; "" if it is none."""
    return str(getattr(getattr(call, "op", None), "name", ""))


def calls_kernel(value: Any) -> bool:
    """Whether a value is a ``call_tir``."""
    return isinstance(value, relax.Call) and value.op.same_as(tvm.ir.Op.get("relax.call_tir"))


def bindings(func: Any) -> Iterator[Any]:
    """Yield the bindings of a function in their order."""
    return (binding for block in func.body.blocks for binding in block.bindings)


def variables(expr: Any) -> set[Any]:
    """Return the variables that an expression reads, in tuples as well."""
    found: set[Any] = set()
    relax.analysis.post_order_visit(
        expr, lambda node: found.add(node) if isinstance(node, relax.Var) else None
    )
    return found


def sizes_of(var: Any) -> tuple[int, ...] | None:
    """Return the shape of a tensor of any type, None of anything else or of unknown size."""
    sizes = getattr(getattr(var.ty, "shape", None), "values", None)
    if sizes is None or not all(isinstance(size, tirx.IntImm) for size in sizes):
        return None
    return tuple(int(size) for size in sizes)


def bytes_of(var: Any) -> int:
    """Return the bytes of a tensor of known size."""
    count = int(np.prod([int(size) for size in var.ty.shape.values], dtype=np.int64))
    return count * np.dtype(str(var.ty.dtype)).itemsize

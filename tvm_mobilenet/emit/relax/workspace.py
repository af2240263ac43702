"""What a kernel allocates for itself while it runs, and how many units threads share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm
from tvm import s_tir, tirx

from tvm_mobilenet.machine import LINE_BYTES

_ON_STACK = {"global": 1023}
"""By scope, bytes up to which TVM puts a buffer on the stack (below kMaxStackAlloca)."""
_NEVER = -1


def workspaces(mod: Any, threads: int) -> dict[str, int]:
    """Count the bytes that each kernel takes from TVM's workspace pool.

    Parameters
    ----------
    mod : IRModule
        Scheduled kernels among its functions.
    threads : int
        That run a parallel loop; each has buffers of its own.
    """
    return {name: _allocated(func.body, threads) for name, func in _compacted(mod).items()}


def scratch_bytes(mod: Any) -> int:
    """Return the most that one thread's part of a kernel takes from a workspace of its own.

    Each buffer begins on a cache line. The thread that calls holds what stands outside of the
    parallel loop, too. What is registers on a GPU, a processor takes from the workspace, however
    small it is.
    """
    kernels = _compacted(mod).values()
    on_stack = {**_ON_STACK, "local": _NEVER}
    return max((_allocated(func.body, 1, LINE_BYTES, on_stack) for func in kernels), default=0)


def _compacted(mod: Any) -> dict[str, Any]:
    """Return a module's kernels with their buffers as small as TVM makes them."""
    kernels = {
        gv.name_hint: func for gv, func in mod.functions.items() if isinstance(func, tirx.PrimFunc)
    }
    compact = tvm.transform.Sequential(
        [
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.CompactBufferAllocation(),
        ]
    )(tvm.IRModule(kernels))
    return {name: compact[name] for name in kernels}


def parallel_units(func: Any) -> list[int]:
    """List the units of each parallel region of a scheduled kernel.

    Returns
    -------
    list of int
        Empty where one thread does everything.
    """
    return _regions(func.body)


def _regions(statement: Any) -> list[int]:
    if _is_parallel(statement):
        return [int(statement.extent)]
    return [units for child in _children(statement) for units in _regions(child)]


def _allocated(
    statement: Any, threads: int, unit: int = 1, on_stack: Mapping[str, int] = _ON_STACK
) -> int:
    """Add up the buffers of a statement and of those within it, each in whole units of bytes."""
    within = sum(_allocated(child, threads, unit, on_stack) for child in _children(statement))
    own = 0
    for buffer in getattr(statement, "alloc_buffers", ()):
        count = math.prod(int(size) for size in buffer.shape)
        size = int(count) * np.dtype(str(buffer.dtype)).itemsize
        if size > on_stack.get(str(buffer.scope()), size):  # others: registers, shared memory
            own += -(-size // unit) * unit
    return own + within * (threads if _is_parallel(statement) else 1)


def _is_parallel(statement: Any) -> bool:
    return isinstance(statement, tirx.For) and statement.kind == tirx.ForKind.PARALLEL


def _children(statement: Any) -> list[Any]:
    names = ("body", "block", "then_case", "else_case")
    found = [getattr(statement, name, None) for name in names]
    return [*(child for child in found if child is not None), *getattr(statement, "seq", ())]

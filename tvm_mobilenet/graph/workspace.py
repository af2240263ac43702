"""What a kernel allocates for itself while it runs: the buffers between fused layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
from tvm import s_tir, tirx

_ON_STACK = 1024
"""Bytes up to which TVM puts a buffer on the stack (kMaxStackAlloca)."""


def workspaces(mod: Any, threads: int) -> dict[str, int]:
    """Count the bytes that each kernel takes from TVM's workspace pool.

    Parameters
    ----------
    mod : IRModule
        Scheduled kernels among its functions.
    threads : int
        That run a parallel loop; each has buffers of its own.

    Returns
    -------
    dict of str to int
    """
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
    return {name: _allocated(compact[name].body, threads) for name in kernels}


def _allocated(statement: Any, threads: int) -> int:
    """Add up the buffers of a statement and of those within it."""
    parallel = isinstance(statement, tirx.For) and statement.kind == tirx.ForKind.PARALLEL
    children = [
        getattr(statement, name)
        for name in ("body", "block", "then_case", "else_case")
        if getattr(statement, name, None) is not None
    ]
    within = sum(_allocated(s, threads) for s in [*children, *getattr(statement, "seq", ())])
    own = 0
    for buffer in getattr(statement, "alloc_buffers", ()):
        count = math.prod(int(size) for size in buffer.shape)
        size = int(count) * np.dtype(str(buffer.dtype)).itemsize
        own += size if size > _ON_STACK else 0
    return own + within * (threads if parallel else 1)

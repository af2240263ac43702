"""Kernels that are not ours, on a GPU: TVM's own rules bind them to threads."""

from __future__ import annotations

from typing import Any

import tvm
from tvm.s_tir import dlight

from tvm_mobilenet.machine import TargetSpec

_THREADS = 256
"""Threads of a block: TVM's rules take as many as they may, whatever the size of the map."""


def bind_to_threads(func: Any, target: TargetSpec) -> Any:
    """Schedule a function that is not one of ours.

    before: ``for i, j: y[i, j] = f(x[i, j])``
    after: ``for b in blocks: for t in threads: …``; a reduction runs over threads where a rule
    of TVM's does that, and otherwise in one thread a sum

    Such functions are TVM's: changes of layout, operators of imported networks. One that no rule
    applies to is returned as it is, and generating its code raises an error.
    """
    gpu = target.the_gpu
    threads = min(gpu.block_threads, _THREADS)
    limits = {"max_num_threads": threads, "max_threads_per_block": threads}
    rules = dlight.ApplyDefaultSchedule(
        dlight.gpu.Reduction(), dlight.gpu.GeneralReduction(), dlight.gpu.Fallback()
    )
    with tvm.target.Target({**target.tvm_dict(), **limits}):
        return rules(tvm.IRModule({"main": func}))["main"]

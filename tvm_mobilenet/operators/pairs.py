"""Which products ARM's matrix instructions multiply: two pixels by two channels at a time."""

from __future__ import annotations

import dataclasses

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import STEP_BLOCK, Workload

ROWS = 2
"""Pixels that the sums of a register belong to."""

_PRODUCTS = frozenset({"conv", "pointwise", "qconv", "qpointwise"})
"""Operators whose kernels can."""


def paired(work: Workload, target: TargetSpec) -> Workload:
    """Return a workload whose pixels are multiplied two at a time, where that pays.

    A target's I8MM (int8) or BF16 (bfloat16) has to have it, and a row of the output two pixels:
    one alone would fill half of each instruction. An image of int8 has four bytes a pixel, half
    of a step, so that it stays as it is; of bfloat16 a step is as long as a pixel.
    """
    if target.gpu is not None or not work.written or work.operator not in _PRODUCTS:
        return work
    deep = not work.integer or work.in_block == STEP_BLOCK
    if target.arithmetic(work.dtype).rows < ROWS or work.out_size[1] < ROWS or not deep:
        return work
    return dataclasses.replace(work, rows=ROWS)

"""First convolution on a GPU: the loops of :mod:`tvm_mobilenet.schedules.tensorir.gpu.conv`.

Pattern
    Stages ``padded``, ``accumulate(n, o, p, c; i, r, q)`` and ``out(n, o, p, c)``,
    operator "conv"; its input is plain (N, I, H, W), a few channels.

Loop nest, outer to inner
    Groups of output blocks over the grid's second axis; (n, strip, column) over its first and
    over threads → rows of the strip, virtual threads → input channel → that channel's window
    into registers → taps → output blocks → channels of a block. All weights of the group
    wait in shared memory where the target has it.

Registers
    rows x blocks x channels of a block sums; K by K inputs of a channel for each row, of which
    the driver's compiler may find the same ones; a vector of weights of each output block.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.gpu.conv import GpuConvPlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.gpu.threads import bind, copied, copies, staged

from tvm_mobilenet.machine import TargetSpec


def schedule_conv(s: Any, made: Definition, plan: GpuConvPlan, _target: TargetSpec) -> None:
    """Schedule a full convolution."""
    padded, accumulate = made.stage("padded"), made.stage("accumulate")
    weight = accumulate.op.input_tensors[1]
    shared = s.cache_read(weight, "shared", [accumulate]) if plan.staged else weight
    vectors = s.cache_read(shared, "local", [accumulate])
    out, acc = s[made.out], s[accumulate]
    n, o, p, c = out.op.axis
    group, block = out.split(o, plan.blocks)
    row, column = out.split(p, made.work.out_size[1])
    strip, row = out.split(row, plan.rows)
    out.reorder(group, n, strip, column, row, block, c)
    place, thread = out.split(out.fuse(n, strip, column), plan.threads)
    out.reorder(group, place, row, thread, block, c)
    bind(out, blockIdx_y=group, blockIdx_x=place, threadIdx_x=thread)
    copies(out, row)
    out.unroll(block)
    out.vectorize(c)
    acc.compute_at(out, thread)
    acc.set_scope("local")
    image, own, pixel, lanes = acc.op.axis
    i, r, q = acc.op.reduce_axis
    acc.reorder(image, pixel, i, r, q, own, lanes)
    acc.vectorize(lanes)
    for axis in (r, q, own) if not plan.unrolled else (i, r, q, own):
        acc.unroll(axis)
    s[padded].set_scope("local")
    s[padded].compute_at(acc, i)
    for axis in s[padded].op.axis:
        s[padded].unroll(axis)
    s[vectors].compute_at(acc, q)
    copied(s[vectors])
    if plan.staged:
        s[shared].compute_at(out, place)
        staged(s[shared], [("threadIdx.x", plan.threads)])

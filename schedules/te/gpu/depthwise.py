"""Depthwise convolution on a GPU: the loops of ``tensorir/gpu/depthwise``.

Pattern
    Stages ``padded``, ``accumulate(n, o, p, c; r, q)`` and ``out(n, o, p, c)``, operator
    "depthwise"; pools over windows, which have no filters.

Loop nest, outer to inner
    (n, channel block, strip, column) over blocks and threads → rows of the strip, virtual
    threads → the window's vectors, loaded once for each row → taps → channels of a vector.

Registers
    A window, the taps and a sum for each row of the strip, until the driver's compiler finds
    which of their loads are the same: TE has no region of a strip's rows but all that lies
    between them.

What lost
    Staging through shared memory, and several columns a thread: the rule of the main stack
    takes neither, and TE infers no rectangle from flat pixels to stage.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.gpu.depthwise import GpuDepthwisePlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.gpu.threads import bind, copied, copies

from tvm_mobilenet.machine import TargetSpec


def schedule_depthwise(
    s: Any, made: Definition, plan: GpuDepthwisePlan, _target: TargetSpec
) -> None:
    """Schedule a depthwise convolution."""
    padded, accumulate = made.stage("padded"), made.stage("accumulate")
    filters = accumulate.op.input_tensors[1:]
    taps = [s.cache_read(tensor, "local", [accumulate]) for tensor in filters]
    out, acc = s[made.out], s[accumulate]
    n, o, p, c = out.op.axis
    row, column = out.split(p, made.work.out_size[1])
    strip, row = out.split(row, plan.rows)
    out.reorder(n, o, strip, column, row, c)
    place, thread = out.split(out.fuse(n, o, strip, column), plan.threads)
    out.reorder(place, row, thread, c)
    bind(out, blockIdx_x=place, threadIdx_x=thread)
    copies(out, row)
    out.vectorize(c)
    acc.compute_at(out, thread)
    acc.set_scope("local")
    r, q = acc.op.reduce_axis
    acc.reorder(*acc.op.axis[:3], r, q, acc.op.axis[3])
    acc.vectorize(acc.op.axis[3])
    acc.unroll(r)
    acc.unroll(q)
    s[padded].set_scope("local")
    held = [(s[padded], plan.whole_window, q if plan.window.apart else r)]
    held += [(s[tensor], plan.whole_taps, r) for tensor in taps]
    for copy, whole, near in held:
        if whole:
            copy.compute_at(out, thread)
        else:
            copy.compute_at(acc, near)
        copied(copy)

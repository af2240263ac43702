"""Depthwise convolution on a GPU: the loops of :mod:`tvm_mobilenet.schedules.gpu.depthwise`.

Pattern
    Stages ``padded``, ``accumulate(n, o, p, c; r, q)`` and ``out(n, o, p, c)``,
    operator "depthwise".

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

from tvm_mobilenet.schedules.gpu.threads import block_threads, up_to
from tvm_mobilenet.schedules.gpu.window import STRIPS, Window, strip_rows
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.gpu.threads import bind, copied, copies

from tvm_mobilenet.target import TargetSpec


def schedule_depthwise(s: Any, work: Definition, knobs: Knobs, target: TargetSpec) -> None:
    """Schedule a depthwise convolution.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        ``rows`` of a strip; ``threads`` of a block; ``window`` and ``taps``: whether all of
        them are held in registers, or what a row of taps needs at a time.
    target : TargetSpec
        With a GPU.
    """
    padded, accumulate = work.stage("padded"), work.stage("accumulate")
    window = _window(work)
    best, *held = strip_rows(window, target)
    rows = knobs.choice("rows", up_to(STRIPS, window.size[0]), best)
    place_of = {
        name: knobs.choice(name, ["whole", "row"], "whole" if whole else "row")
        for name, whole in zip(("window", "taps"), held, strict=True)
    }
    threads = block_threads(knobs, window.threads(rows, 1), target)

    taps = s.cache_read(accumulate.op.input_tensors[1], "local", [accumulate])
    out, acc = s[work.out], s[accumulate]
    n, o, p, c = out.op.axis
    row, column = out.split(p, window.size[1])
    strip, row = out.split(row, rows)
    out.reorder(n, o, strip, column, row, c)
    place, thread = out.split(out.fuse(n, o, strip, column), threads)
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
    for copy, where in ((s[padded], place_of["window"]), (s[taps], place_of["taps"])):
        if where == "whole":
            copy.compute_at(out, thread)
        else:
            copy.compute_at(acc, r)
        copied(copy)


def _window(work: Definition) -> Window:
    """Read a layer's sizes off its stages."""
    accumulate = work.stage("accumulate")
    n, o, p, c = extents(accumulate.op.axis)
    taps = extents(accumulate.op.reduce_axis)
    high, wide = extents(work.stage("padded").op.axis)[2:4]
    size = (p // work.work.out_size[1], work.work.out_size[1])
    strides = [
        (have - tap) // (out - 1) if out > 1 else 1
        for have, tap, out in zip((high, wide), taps, size, strict=True)
    ]
    return Window(n * o, size, (taps[0], taps[1]), (strides[0], strides[1]), c)

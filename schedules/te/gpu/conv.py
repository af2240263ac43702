"""First convolution on a GPU: the loops of :mod:`tvm_mobilenet.schedules.gpu.conv`.

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

from tvm_mobilenet.schedules.gpu.conv_tile import (
    FEW_CHANNELS,
    ROWS,
    Sizes,
    block_options,
    conv_tile,
)
from tvm_mobilenet.schedules.gpu.threads import block_threads, up_to
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.gpu.threads import bind, copied, copies, staged

from tvm_mobilenet.target import TargetSpec


def schedule_conv(s: Any, work: Definition, knobs: Knobs, target: TargetSpec) -> None:
    """Schedule a full convolution.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        ``rows``: of a strip; ``blocks``: output blocks of a thread; ``weights``: through
        shared memory or read by every thread; ``channels``: their loop unrolled or not;
        ``threads`` of a block.
    target : TargetSpec
        With a GPU.
    """
    gpu = target.the_gpu
    padded, accumulate = work.stage("padded"), work.stage("accumulate")
    sizes = _sizes(work, target)
    best = conv_tile(sizes, target)
    rows = knobs.choice("rows", up_to(ROWS, sizes.size[0]), best[0])
    blocks = knobs.choice("blocks", block_options(sizes), best[1])
    taps = sizes.taps[0] * sizes.taps[1] * sizes.taps[2]
    fits = taps * blocks * sizes.lanes * target.item_bytes <= gpu.block_shared
    ways = ["shared", "read"] if fits else ["read"]
    weights = knobs.choice("weights", ways, ways[0])
    few = sizes.taps[0] <= FEW_CHANNELS
    channels = knobs.choice("channels", ["unrolled", "loop"], "unrolled" if few else "loop")
    groups = sizes.blocks // blocks
    threads = block_threads(knobs, sizes.threads(rows, sizes.blocks), target, groups)

    weight = accumulate.op.input_tensors[1]
    shared = s.cache_read(weight, "shared", [accumulate]) if weights == "shared" else weight
    vectors = s.cache_read(shared, "local", [accumulate])
    out, acc = s[work.out], s[accumulate]
    n, o, p, c = out.op.axis
    group, block = out.split(o, blocks)
    row, column = out.split(p, sizes.size[1])
    strip, row = out.split(row, rows)
    out.reorder(group, n, strip, column, row, block, c)
    place, thread = out.split(out.fuse(n, strip, column), threads)
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
    for axis in (r, q, own) if channels == "loop" else (i, r, q, own):
        acc.unroll(axis)
    s[padded].set_scope("local")
    s[padded].compute_at(acc, i)
    for axis in s[padded].op.axis:
        s[padded].unroll(axis)
    s[vectors].compute_at(acc, q)
    copied(s[vectors])
    if weights == "shared":
        s[shared].compute_at(out, place)
        staged(s[shared], [("threadIdx.x", threads)])


def _sizes(work: Definition, target: TargetSpec) -> Sizes:
    """Read a layer's sizes off its stages."""
    accumulate = work.stage("accumulate")
    n, o, p, c = extents(accumulate.op.axis)
    i, r, q = extents(accumulate.op.reduce_axis)
    width = work.work.out_size[1]
    rows = p // width
    high = extents(work.stage("padded").op.axis)[2]
    stride = (high - r) // (rows - 1) if rows > 1 else 1
    return Sizes(n, o, c, (rows, width), (i, r, q), stride, target.dtype != "float32")

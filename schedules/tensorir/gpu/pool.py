"""Global average pool: the threads of a channel block share its pixels.

Pattern
    ``accumulate(n, o, z, c; p)`` into ``out(n, o, z, c)``, operator "pool".

Loop nest, outer to inner
    (n, channel block) over blocks and the second axis of threads → pixels, dealt out to
    the first axis, a vector of 16 bytes each → partial sums into shared memory → a
    thread for each channel adds them up. Neighbouring threads read neighbouring pixels.

Registers
    A vector and its sums: 12, and addresses.

Traffic
    The map, once. Shared memory: a sum for each thread and channel.

Bound
    The latency of P / threads loads and of ``threads`` additions, one after the other. The
    plan therefore takes about twice the root of P threads, a divisor of P so that no thread
    asks whether its pixel exists. In large batches memory. No time has been measured on a GPU.

What lost
    Shuffles within a warp: four or eight channels take as many shuffles, and OpenCL 1.2
    has none. A warp for every map: 784 pixels are 25 loads for each thread.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.gpu.maps import GpuPoolPlan
from tvm_mobilenet.schedules.tensorir.gpu.pixels import copy_vectors, unroll

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_pool(sch: Any, _work: Workload, plan: GpuPoolPlan, target: TargetSpec) -> None:
    """Schedule a global average pool."""
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    if plan.threads == 1:
        _alone(sch, accumulate, out, plan.channels)
        return

    # A vector of channels inside of the pixels, wherever the sum is put.
    sch.transform_block_layout(accumulate, lambda n, o, z, c, p: (n, o, z, p, c))
    _, own = sch.split(sch.get_loops(accumulate)[3], [None, plan.threads])
    sums = sch.rfactor(own, 1)
    sch.set_scope(sums, 0, "shared")
    share = sch.cache_write(sums, 0, "local")
    n, o, _, c = sch.get_loops(out)
    group, map_ = sch.split(o, [None, plan.maps])
    _, lane = sch.split(c, [None, plan.threads])
    block = sch.fuse(n, group)
    sch.bind(block, "blockIdx.x")
    sch.bind(map_, "threadIdx.y")
    sch.bind(lane, "threadIdx.x")
    sch.compute_at(accumulate, lane, preserve_unit_loops=True)
    sch.set_scope(accumulate, 0, "local")
    unroll(sch, accumulate, within=5)
    sch.compute_at(share, block, preserve_unit_loops=True)
    _, _, own, own_map, *_ = sch.get_loops(share)
    sch.bind(own, "threadIdx.x")
    sch.bind(own_map, "threadIdx.y")
    copy_vectors(sch, share, target, within=4)
    sch.compute_at(sums, own_map, preserve_unit_loops=True)
    pixel = sch.get_loops(sums)[-2]
    _, pixel = sch.split(pixel, [None, plan.at_once])
    around = len(sch.get_loops(sums)) - 2
    vectors = sch.cache_read(sums, 0, "local")
    sch.compute_at(vectors, pixel, preserve_unit_loops=True)
    copy_vectors(sch, vectors, target, within=around + 1)
    unroll(sch, sums, within=around)


def _alone(sch: Any, accumulate: Any, out: Any, threads: int) -> None:
    """Give a map to a thread: one pixel, or a number of them that nothing divides."""
    channels = sch.fuse(*sch.get_loops(out))
    block, thread = sch.split(channels, [None, threads])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.compute_at(accumulate, thread, preserve_unit_loops=True)
    sch.set_scope(accumulate, 0, "local")

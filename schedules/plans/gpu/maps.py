"""The plans of pool, scale and maps on a GPU; loops are said in ``schedules/tensorir/gpu``."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.gpu.threads import (
    VECTOR_REGISTERS,
    block_threads,
    loads_at_once,
    map_threads,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

_POOL_ADDRESSES, _SCALE_ADDRESSES = 40, 24


@dataclass(frozen=True, slots=True)
class GpuPoolPlan:
    """How a global pool is cut.

    Attributes
    ----------
    threads : int
        Threads of a map.
    maps : int
        Maps of a block.
    channels : int
        Channels of a block, where one thread has a map; else 0.
    at_once : int
        Loads of a thread that are under way together.
    registers : int
        Registers of a thread, as they are reckoned with.
    """

    threads: int
    maps: int
    channels: int
    at_once: int
    registers: int


def plan_gpu_pool(work: Workload, knobs: Knobs, target: TargetSpec) -> GpuPoolPlan:
    """Plan a global pool.

    Parameters
    ----------
    knobs : Knobs
        ``threads``: of a map; ``maps`` of a block; where one thread has a map,
        ``channels`` of a block.
    """
    batch, blocks, pixels = work.batch, work.out_blocks, work.in_pixels
    threads, maps = map_threads(knobs, batch, blocks, pixels, target)
    if threads == 1:
        total = batch * blocks * work.out_block
        channels = block_threads(knobs, total, target, name="channels")
        return GpuPoolPlan(threads, maps, channels, 1, _POOL_ADDRESSES)
    at_once = loads_at_once(pixels // threads)
    registers = (at_once + 1) * VECTOR_REGISTERS + target.lanes + _POOL_ADDRESSES
    return GpuPoolPlan(threads, maps, 0, at_once, registers)


@dataclass(frozen=True, slots=True)
class GpuScalePlan:
    """How a scale is cut.

    Attributes
    ----------
    vectors, threads : int
        Vectors of a thread, and threads of a block.
    registers : int
        Registers of a thread, as they are reckoned with.
    """

    vectors: int
    threads: int
    registers: int


def plan_gpu_scale(work: Workload, knobs: Knobs, target: TargetSpec) -> GpuScalePlan:
    """Plan a scale.

    Parameters
    ----------
    knobs : Knobs
        ``vectors`` of a thread; ``threads`` of a block.
    """
    total = work.batch * work.out_blocks * work.out_pixels
    vectors = knobs.choice("vectors", [1, 2, 4], 1)
    threads = block_threads(knobs, -(-total // vectors), target)
    registers = vectors * (2 * VECTOR_REGISTERS + target.lanes) + _SCALE_ADDRESSES
    return GpuScalePlan(vectors, threads, registers)


@dataclass(frozen=True, slots=True)
class GpuVectorsPlan:
    """How a map is cut of which every vector is by itself.

    Attributes
    ----------
    threads : int
        Threads of a block, a vector each.
    registers : int
        Registers of a thread, as they are reckoned with.
    """

    threads: int
    registers: int


def plan_gpu_vectors(work: Workload, knobs: Knobs, target: TargetSpec) -> GpuVectorsPlan:
    """Plan what moves elements or takes them from two maps.

    Parameters
    ----------
    knobs : Knobs
        ``threads`` of a block.
    """
    total = work.batch * work.out_blocks * work.out_pixels
    registers = 3 * VECTOR_REGISTERS + _SCALE_ADDRESSES
    return GpuVectorsPlan(block_threads(knobs, total, target), registers)

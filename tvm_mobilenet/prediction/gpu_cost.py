"""What a GPU kernel takes, predicted from its grid, its arithmetic and its bytes.

A grid fills the units of a GPU with blocks, as many at a time as registers, shared memory
and threads allow. The busiest unit's arithmetic, all bytes at the speed of L2 and those of
memory at its, overlap: the longest counts. Two more limits follow from latency: a unit
computes, and has bytes under way, only as far as its threads have something to do at a time
(Little's law). What nothing hides is added: a launch, and the first load and last store.

Nothing here was measured on a GPU by us. Where a constant comes from is said at it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.machine.gpu import UNIT_BYTES, GpuSpec
from tvm_mobilenet.prediction.cost import Cost

GPU_LEVELS = ("L2", "memory")
"""Where a unit's bytes come from."""

LAUNCH_US = {"cuda": 1.3, "opencl": 5.0, "metal": 5.0}
"""From the last block of a kernel to the first of the next. On CUDA inside a captured graph:
kernels of 2.9 µs came every 3.4 µs (A. Gray, "Getting Started with CUDA Graphs", NVIDIA
2019, V100), the rest for the last block to end and the first to start. Of queues of the
others an assumption."""

L2_LATENCY, MEMORY_LATENCY = 270, 600
"""Clocks of a load. L2: 236 on an RTX 2070 (gpu-arch-microbenchmark), 222 to 339 on an L40
(arXiv 2606.22588)."""

L2_BYTES = 24
"""Bytes a clock of each unit that L2 gives all of them: T4 20 (Jia et al., arXiv 1903.07486:
1.27 TB/s), A100 47 (NVIDIA's white paper: 5120 in all)."""

MEMORY_SHARE = 0.9
"""Share of a data sheet's bandwidth: an H200 copied at 4.3 of 4.8 TB/s."""

_FMA_LATENCY = 4
"""Clocks (Jia et al., the same)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What is launched.

    Attributes
    ----------
    blocks, threads : int
        Blocks, and threads of each.
    registers : int
        Registers of a thread.
    shared : int
        Shared memory of a block, bytes.
    """

    blocks: int
    threads: int
    registers: int = 32
    shared: int = 0

    def resident(self, gpu: GpuSpec) -> int:
        """Return how many blocks a unit holds at a time, 0 if it cannot hold one."""
        return gpu.resident_blocks(self.threads, self.registers, self.shared)

    def occupancy(self, gpu: GpuSpec) -> float:
        """Return the share of a unit's threads that it holds, where there are blocks enough."""
        return self.resident(gpu) * self.threads / gpu.unit_threads

    def waves(self, gpu: GpuSpec) -> float:
        """Return how often all units are filled with blocks."""
        return self.blocks / (gpu.units * max(self.resident(gpu), 1))


@dataclass(frozen=True, slots=True)
class Load:
    """What a grid has to do, all blocks together.

    Attributes
    ----------
    macs : float
        Multiply-adds that are executed, those of padding among them.
    share : float
        Share of a unit's peak that its innermost loop reaches with threads enough.
    l2, memory : float
        Bytes between L2 and the units, and between memory and L2.
    chains : int
        Multiply-adds of a thread that depend on no other.
    flight : int
        Bytes that a thread has under way at a time.
    cold : bool
        Whether the first load comes from memory.
    busy : float
        Clocks of the busiest unit, waiting among them, as the schedule's rule reckons them;
        0 where arithmetic, share and chains say it.
    """

    macs: float
    share: float
    l2: float
    memory: float
    chains: int = 4
    flight: int = 32
    cold: bool = False
    busy: float = 0.0


def peak_macs(gpu: GpuSpec, *, half: bool) -> int:
    """Return multiply-adds a clock of the whole GPU: of tensor cores, where those may be used."""
    return gpu.units * (gpu.tensor_macs if half and gpu.tensor_macs else gpu.fp32_macs)


def gpu_cost(macs: int, grid: Grid, load: Load, gpu: GpuSpec, *, half: bool) -> Cost:
    """Predict one launch.

    Parameters
    ----------
    macs : int
        On real channels and pixels.
    grid : Grid
        What is launched.
    load : Load
        What all of its blocks have to do.
    half : bool
        Whether maps are float16: the bound is that of tensor cores then, where there are any.

    Returns
    -------
    Cost
        Clocks of the GPU; bytes of :data:`GPU_LEVELS`.
    """
    most = -(-grid.blocks // gpu.units)  # blocks of the busiest unit
    at_once = max(min(grid.resident(gpu), most), 1)
    threads = at_once * grid.threads
    used = min(grid.blocks, gpu.units)
    part = most / grid.blocks  # of the whole, on the busiest unit
    rate = load.share * min(float(gpu.fp32_macs), threads * load.chains / _FMA_LATENCY)
    under_way = threads * load.flight
    clock = gpu.clock_mhz * 1e6
    memory = gpu.memory_gbs * 1e9 * MEMORY_SHARE / clock
    took = {
        "compute": load.busy or load.macs * part / rate,
        "L2": max(
            load.l2 / (L2_BYTES * gpu.units),
            load.l2 * part / min(UNIT_BYTES, under_way / L2_LATENCY),
        ),
        "memory": load.memory / min(memory, used * under_way / MEMORY_LATENCY),
    }
    parts = dict.fromkeys(("launch", "latency", "compute", *GPU_LEVELS), 0.0)
    longest = max(took, key=lambda part: took[part])
    parts[longest] = took[longest]
    parts["launch"] = LAUNCH_US[gpu.kind] * 1e-6 * clock
    parts["latency"] = L2_LATENCY + (MEMORY_LATENCY if load.cold else L2_LATENCY)
    ideal = macs / peak_macs(gpu, half=half)
    return Cost(macs, {"L2": load.l2, "memory": load.memory}, parts, ideal)

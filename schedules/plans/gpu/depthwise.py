"""The plan of a depthwise layer on a GPU; see ``tensorir/gpu/depthwise`` for its loops."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.gpu.threads import (
    VECTOR_REGISTERS,
    WARPS_OF_A_UNIT,
    block_threads,
    hanging,
    up_to,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.gpu import LANE_BYTES, WAVEFRONT_BYTES
from tvm_mobilenet.operators.workload import Workload

_STRIPS = (1, 2, 3, 4, 7, 8)
"""Rows of a strip that the schedule offers: V1's and V2's maps have multiples of 7."""

_ADDRESSES = 24
"""Registers beside the tile."""

_SHARE = 0.75
"""Share of a thread's registers that a tile may take by this count."""

_ENOUGH = 36
"""Wavefronts of L1 for a warp's vector of output below which memory is what is waited for."""

_NEAR = 1.25
"""How much more of them a shorter strip may take: it leaves registers to other warps."""

_WAVEFRONTS = 32 * LANE_BYTES // WAVEFRONT_BYTES
"""Wavefronts of L1 in which each thread of a warp loads a vector."""


@dataclass(frozen=True, slots=True)
class Window:
    """Sizes of a depthwise layer that decide how it is cut.

    Attributes
    ----------
    maps : int
        N x channel blocks.
    size : tuple of int
        (rows, columns) of the output.
    kernel, strides : tuple of int
        (rows, columns).
    lanes : int
        Channels of a block.
    dilations : tuple of int
        (rows, columns) from one tap to the next.
    """

    maps: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    lanes: int
    dilations: tuple[int, int] = (1, 1)

    @property
    def apart(self) -> bool:
        """Whether pixels lie between the taps, which a window of registers would hold too."""
        return self.dilations != (1, 1)

    def inputs(self, rows: int, columns: int) -> tuple[int, int]:
        """Return rows and columns of the padded map that a tile of the output reads."""
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.strides, self.dilations
        return (rows - 1) * sh + (kh - 1) * dh + 1, (columns - 1) * sw + (kw - 1) * dw + 1

    def registers(self, rows: int, columns: int, taps: int) -> int:
        """Return the registers of a thread that holds so many taps."""
        high, wide = (1, 1) if self.apart else self.inputs(rows, columns)
        return (high * wide + taps) * VECTOR_REGISTERS + rows * columns * self.lanes + _ADDRESSES

    def wavefronts(self, rows: int) -> float:
        """Return wavefronts of L1 for a warp's vector of output, strips of so many rows."""
        high, wide = self.inputs(rows, 1)
        strip = high * wide * _WAVEFRONTS + self.kernel[0] * self.kernel[1]
        return strip / rows * hanging(self.size[0], rows)

    def threads(self, rows: int, columns: int) -> int:
        """Return the threads of the whole layer."""
        return self.maps * -(-self.size[0] // rows) * (self.size[1] // columns)


def strip_rows(window: Window, target: TargetSpec) -> tuple[int, bool, bool]:
    """Choose the rows of a strip, and what is held in registers.

    Returns
    -------
    rows : int
        As few as keep L1 out of the way, of those that fit and leave every unit enough
        warps.
    window, taps : bool
        Whether a thread holds all of them.
    """
    if window.apart:
        return 1, False, False
    gpu = target.the_gpu
    wanted = gpu.units * min(WARPS_OF_A_UNIT * gpu.warp, gpu.unit_threads)
    budget = _SHARE * gpu.thread_registers
    row, taps = window.kernel[1], window.kernel[0] * window.kernel[1]
    fitting = [
        rows
        for rows in up_to(_STRIPS, window.size[0])
        if window.registers(rows, 1, row) <= budget
        and (rows == 1 or window.threads(rows, 1) >= wanted)
    ]
    if not fitting:
        return 1, False, False
    costs = {rows: max(window.wavefronts(rows), _ENOUGH) for rows in fitting}
    rows = min(rows for rows, cost in costs.items() if cost <= _NEAR * min(costs.values()))
    return rows, True, window.registers(rows, 1, taps) <= budget


def staged_strips(window: Window, rows: int, columns: int, target: TargetSpec) -> list[int]:
    """Return how many strips a block may stage: none where nothing fits."""
    gpu = target.the_gpu
    height, width = window.size
    strips = -(-height // rows)

    def fits(count: int) -> bool:
        high, wide = window.inputs(count * rows, width)
        size = high * wide * window.lanes * target.item_bytes
        threads = count * width // columns
        return size <= gpu.block_shared and threads <= min(256, gpu.block_threads)

    return [count for count in (1, 2, 4, 8, 16) if count <= strips and fits(count)]


@dataclass(frozen=True, slots=True)
class GpuDepthwisePlan:
    """How a depthwise layer is cut.

    Attributes
    ----------
    window : Window
        Sizes of the layer.
    rows, columns : int
        Pixels of a thread.
    whole_window, whole_taps : bool
        Whether all of them are held in registers, or what a row of taps needs at a time; of a
        window whose taps lie apart, what one tap needs.
    strips : int
        Strips of a band that goes through shared memory; 0 where nothing does.
    threads : int
        Threads of a block, where nothing is staged.
    """

    window: Window
    rows: int
    columns: int
    whole_window: bool
    whole_taps: bool
    strips: int
    threads: int

    @property
    def registers(self) -> int:
        """Registers of a thread, as they are reckoned with."""
        rows, columns = self.window.kernel
        taps = rows * columns if self.whole_taps else columns
        return self.window.registers(self.rows, self.columns, taps)


def plan_gpu_depthwise(
    work: Workload, knobs: Knobs, target: TargetSpec, *, rectangles: bool = True
) -> GpuDepthwisePlan:
    """Plan a depthwise layer.

    Parameters
    ----------
    knobs : Knobs
        ``rows``, ``columns``: pixels of a thread; ``window`` and ``taps``: whether all of
        them are held in registers, or what a row of taps needs at a time; ``stage``: whether
        a block's inputs go through shared memory; ``threads`` of a block, or, staged,
        ``strips`` of a band.
    rectangles : bool
        Whether ``columns`` and ``stage`` are asked: TE infers no rectangle from flat pixels.
    """
    window = Window(
        work.batch * work.out_blocks,
        work.out_size,
        work.kernel,
        work.strides,
        work.out_block,
        work.dilations,
    )
    height, width = window.size
    best, *held = strip_rows(window, target)
    rows, columns = knobs.choice("rows", [1] if window.apart else up_to(_STRIPS, height), best), 1
    if rectangles and not window.apart:
        columns = knobs.choice("columns", [c for c in (1, 2, 4) if width % c == 0], 1)
    whole_window, whole_taps = (
        knobs.choice(name, ways, "whole" if whole else "row") == "whole"
        for name, ways, whole in zip(
            ("window", "taps"),
            (["row"] if window.apart else ["whole", "row"], ["whole", "row"]),
            held,
            strict=True,
        )
    )
    strips = threads = 0
    bands = staged_strips(window, rows, columns, target) if rectangles else []
    if rectangles and knobs.choice("stage", ["none", "shared"] if bands else ["none"], "none") == (
        "shared"
    ):
        strips = knobs.choice("strips", bands, bands[-1])
    else:
        threads = block_threads(knobs, window.threads(rows, columns), target)
    return GpuDepthwisePlan(window, rows, columns, whole_window, whole_taps, strips, threads)

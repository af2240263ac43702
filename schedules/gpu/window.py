"""How a depthwise layer is cut up for a GPU: the strip of a thread, what it holds in registers."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.gpu.threads import VECTOR_REGISTERS, WARPS_OF_A_UNIT, hanging, up_to

from tvm_mobilenet.target import TargetSpec

STRIPS = (1, 2, 3, 4, 7, 8)
"""Rows of a strip that the schedule offers: V1's and V2's maps have multiples of 7."""

_ADDRESSES = 24
"""Registers beside the tile."""

_SHARE = 0.75
"""Of a thread's registers, what a tile may take by this count."""

_ENOUGH = 36
"""Wavefronts of L1 for a warp's vector of output below which memory is what is waited for."""

_NEAR = 1.25
"""How much more of them a shorter strip may take: it leaves registers to other warps."""

_WAVEFRONTS = 4
"""Of a warp's load of a vector each: 512 bytes, 128 at a time."""


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
    """

    maps: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    lanes: int

    def inputs(self, rows: int, columns: int) -> tuple[int, int]:
        """Return rows and columns of the padded map that a tile of the output reads."""
        (kh, kw), (sh, sw) = self.kernel, self.strides
        return (rows - 1) * sh + kh, (columns - 1) * sw + kw

    def registers(self, rows: int, columns: int, taps: int) -> int:
        """Return the registers of a thread that holds so many taps."""
        high, wide = self.inputs(rows, columns)
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

    Parameters
    ----------
    window : Window
    target : TargetSpec
        With a GPU.

    Returns
    -------
    rows : int
        As few as keep L1 out of the way, of those that fit and leave every unit enough
        warps.
    window, taps : bool
        Whether a thread holds all of them.
    """
    gpu = target.the_gpu
    wanted = gpu.units * min(WARPS_OF_A_UNIT * gpu.warp, gpu.unit_threads)
    budget = _SHARE * gpu.thread_registers
    row, taps = window.kernel[1], window.kernel[0] * window.kernel[1]
    fitting = [
        rows
        for rows in up_to(STRIPS, window.size[0])
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

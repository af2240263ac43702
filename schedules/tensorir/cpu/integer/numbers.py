"""What products have to know of a type: how it is multiplied, what becomes of the sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.tensorir.cpu.integer.borders import copy_rows
from tvm_mobilenet.schedules.tensorir.cpu.integer.epilogue import Epilogue
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import (
    Instructions,
    instructions_of,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.pixels import copy_pixels
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import Shape, weight_parameters

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

Parameters = dict[str, tuple[Shape, str]]


class Ending(Protocol):
    """What sums begin with, and what becomes of them."""

    @property
    def machine(self) -> Instructions:
        """What they were added up by."""

    @property
    def most(self) -> int:
        """Products that a sum may have before it is carried to a total; 0: any number."""

    def start(self, block: Any, v: int) -> Any:
        """Return what the sums of a register of an output block begin with, or their totals."""

    def carried(self, total: Any, sums: Any) -> Any:
        """Return a total with sums added to it."""

    def write(
        self,
        out: Any,
        block: Any,
        pixels: int,
        sums: Callable[[int, int], Any],
        place: Callable[[int], Sequence[Any]],
        *,
        vectors: Sequence[int] | None = None,
    ) -> None:
        """Write the pixels of a tile, whose 16 channels are a block of the layer's output.

        Parameters
        ----------
        sums : callable
            From a pixel of the tile and one of its registers to sums.
        place : callable
            From a pixel to the indices of its first channel; what is written together must be
            neighbours.
        vectors : sequence of int, optional
            The registers of each pixel that there are; all by default.
        """


class Numbers(ABC):
    """A type that maps and weights are stored as."""

    @abstractmethod
    def instructions(self, target: TargetSpec, rows: int = 1) -> Instructions:
        """Return how a target multiplies them; `rows` as of a workload."""

    @abstractmethod
    def epilogue(
        self, work: Workload, machine: Instructions, buffers: dict[str, Any], products: int
    ) -> Ending:
        """Return what becomes of sums.

        Parameters
        ----------
        buffers : dict
            The layer's parameters but its weight.
        products : int
            How many each sum has, which may be more than are added up at once.
        """

    @abstractmethod
    def weights(self, work: Workload, shape: Shape, name: str = "") -> Parameters:
        """Return a layer's parameters, its packed weight of that shape first."""

    @abstractmethod
    def residual(self, work: Workload, shape: Shape) -> Parameters:
        """Return the parameters of a residual connection, if there is one."""

    @abstractmethod
    def image(self, work: Workload) -> tuple[Shape, str]:
        """Return shape and type of what a full convolution reads."""

    @abstractmethod
    def copy(  # noqa: PLR0917  from where, to where
        self, work: Workload, machine: Instructions, data: Any, image: Any, above: Any, window: Any
    ) -> None:
        """Copy rows of that with their borders.

        Parameters
        ----------
        above : PrimExpr
            The first row; -1 is the one above the map.
        window : Buffer
            Blocks of channels, rows, columns, the channels of a block.
        """


class Integers(Numbers):
    """Elements of 8 bits."""

    def instructions(self, target: TargetSpec, rows: int = 1) -> Instructions:
        return instructions_of(target, rows)

    def epilogue(
        self, work: Workload, machine: Instructions, buffers: dict[str, Any], products: int
    ) -> Ending:
        return Epilogue(work, machine, buffers, work.limits, floats=bool(work.out_dtype))

    def weights(self, work: Workload, shape: Shape, name: str = "") -> Parameters:
        return weight_parameters(work, shape, name)

    def residual(self, work: Workload, shape: Shape) -> Parameters:
        if not work.residual:
            return {}
        return {"addend": ((3,), "float32"), "residual": (shape, work.dtype)}

    def image(self, work: Workload) -> tuple[Shape, str]:
        if work.border:
            return (work.batch, work.in_channels, *work.in_size), "uint8"
        return (work.batch, work.in_blocks, work.in_pixels, work.in_block), work.dtype

    def copy(  # noqa: PLR0917  from where, to where
        self, work: Workload, machine: Instructions, data: Any, image: Any, above: Any, window: Any
    ) -> None:
        if work.border:
            copy_pixels(work, machine, data, image, above, int(window.shape[1]), window)
            return
        with ir.serial(0, work.in_blocks) as kb:
            copy_rows(work, data, (image, kb), above, int(window.shape[1]), window, (kb,))


INTEGERS = Integers()
"""The one such object."""

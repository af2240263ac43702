"""Layers that move or compare what maps hold, in networks that are not quite MobileNets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tvm_mobilenet.models.layer import Layer, Shape


@dataclass(frozen=True, slots=True)
class Concat(Layer):
    """Maps one behind another, along channels.

    Parameters
    ----------
    other_shapes : tuple of tuple of int
        Shapes of the inputs behind the first: they differ in channels at most.
    """

    other_shapes: tuple[Shape, ...]

    def __post_init__(self) -> None:
        Layer.__post_init__(self)
        batch, _, *size = self.in_shape
        same = all((shape[0], *shape[2:]) == (batch, *size) for shape in self.other_shapes)
        self._require(same, f"joins maps of {self.in_shape} and {self.other_shapes}")

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        """Shapes of all inputs."""
        return (self.in_shape, *self.other_shapes)

    @property
    def out_shape(self) -> Shape:
        """That of an input, with the channels of all."""
        batch, _, *size = self.in_shape
        return (batch, sum(shape[1] for shape in self.in_shapes), *size)


@dataclass(frozen=True, slots=True)
class Pool2d(Layer):
    """Largest number, or mean, of each window.

    Parameters
    ----------
    kernel, strides : tuple of int
        (height, width) in pixels.
    padding : tuple of int
        (top, left, bottom, right) in pixels; the last windows may reach beyond it.
    size : tuple of int
        (height, width) of the output. Every window sees some of the map.
    kind : {"max", "mean"}
        A mean is of what lies within the map.
    """

    rank: ClassVar[int | None] = 4

    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    size: tuple[int, int]
    kind: Literal["max", "mean"]

    def __post_init__(self) -> None:
        Layer.__post_init__(self)
        for axis in (0, 1):
            seen = self.seen(axis)
            self._require(min(len(pixels) for pixels in seen) > 0, "has a window without a pixel")

    @property
    def out_shape(self) -> Shape:
        """(N, C, OH, OW)."""
        return (*self.in_shape[:2], *self.size)

    def seen(self, axis: int) -> list[range]:
        """Return the rows, or columns, of the map that each row or column of windows sees.

        Parameters
        ----------
        axis : int
            0 for rows, 1 for columns.
        """
        length, taps = self.in_shape[2 + axis], self.kernel[axis]
        begins = (at * self.strides[axis] - self.padding[axis] for at in range(self.size[axis]))
        return [range(max(begin, 0), min(begin + taps, length)) for begin in begins]

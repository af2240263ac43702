"""Zero padding as a stage of its own, which a schedule inlines or stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import te

from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def padded(
    work: Workload,
    leading: tuple[int, int],
    read: Callable[..., Any],
    lanes: int = 0,
    fill: float = 0.0,
) -> Any:
    """Return the map with its border, of zeros if nothing else is said.

    Parameters
    ----------
    leading : tuple of int
        The two axes before the pixels: (N, channels) or (N, channel blocks).
    read : callable
        ``read(n, c, y, x, *rest)`` gives the input at an unpadded pixel.
    lanes : int
        Channels in a block of what is returned, where those are not the input's.
    fill : float
        What the border holds.

    Returns
    -------
    te.Tensor
        (*leading, rows, columns) or, for a blocked map, (*leading, rows,
        columns, lanes); rows and columns are those that windows touch.
    """
    rows, columns = (
        (out - 1) * stride + (taps - 1) * apart + 1
        for out, stride, taps, apart in zip(
            work.out_size, work.strides, work.kernel, work.dilations, strict=True
        )
    )
    top, left, *_ = work.padding
    return bordered(work, leading, (-top, -left), (rows, columns), read, lanes, fill)


def bordered(  # noqa: PLR0917  which map, from where, how much, and what of it
    work: Workload,
    leading: tuple[int, int],
    first: tuple[int, int],
    count: tuple[int, int],
    read: Callable[..., Any],
    lanes: int = 0,
    fill: float = 0.0,
) -> Any:
    """Return some rows and columns of a map, its border where they lie outside of it.

    Parameters
    ----------
    leading, read, lanes, fill
        As for :func:`padded`.
    first, count : tuple of int
        (row, column) of the map where they begin, negative in a border, and how many.

    Returns
    -------
    te.Tensor
        As :func:`padded` returns it.
    """
    (height, width), (rows, columns) = work.in_size, count
    top, left = -first[0], -first[1]
    block = () if OPERATORS[work.operator].reads_plain else (lanes or work.in_block,)

    def element(n: Any, c: Any, y: Any, x: Any, *rest: Any) -> Any:
        inside = []
        if top > 0:
            inside.append(y >= top)
        if rows - top > height:
            inside.append(y - top < height)
        if left > 0:
            inside.append(x >= left)
        if columns - left > width:
            inside.append(x - left < width)
        value = read(n, c, y - top, x - left, *rest)
        if not inside:
            return value
        return te.if_then_else(te.all(*inside), value, te.const(fill, value.dtype))

    return te.compute((*leading, rows, columns, *block), element, name="padded")

"""Zero padding as a stage of its own, which a schedule inlines or stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import te

from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def padded(
    work: Workload, leading: tuple[int, int], read: Callable[..., Any], fill: float = 0.0
) -> Any:
    """Return the map with its border, of zeros if nothing else is said.

    Parameters
    ----------
    leading : tuple of int
        The two axes before the pixels: (N, channels) or (N, channel blocks).
    read : callable
        ``read(n, c, y, x, *rest)`` gives the input at an unpadded pixel.

    Returns
    -------
    te.Tensor
        (*leading, rows, columns) or, for a blocked map, (*leading, rows,
        columns, in_block); rows and columns are those that windows touch.
    """
    (height, width), (top, left) = work.in_size, work.padding[:2]
    rows, columns = (
        (out - 1) * stride + taps
        for out, stride, taps in zip(work.out_size, work.strides, work.kernel, strict=True)
    )
    block = () if OPERATORS[work.operator].reads_plain else (work.in_block,)

    def element(n: Any, c: Any, y: Any, x: Any, *rest: Any) -> Any:
        inside = []
        if top:
            inside.append(y >= top)
        if rows - top > height:
            inside.append(y - top < height)
        if left:
            inside.append(x >= left)
        if columns - left > width:
            inside.append(x - left < width)
        value = read(n, c, y - top, x - left, *rest)
        if not inside:
            return value
        return te.if_then_else(te.all(*inside), value, te.const(fill, value.dtype))

    return te.compute((*leading, rows, columns, *block), element, name="padded")

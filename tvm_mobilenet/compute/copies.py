"""Views that are made tensors."""

from __future__ import annotations

import math
from typing import Any

from tvm import te

from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.compute.product import place_of, taken, unravelled
from tvm_mobilenet.operators.copies import COPIES, view_of
from tvm_mobilenet.operators.workload import Workload


def copies(work: Workload) -> list[Any]:
    """Define ``out[...] = data[offset + sum of indices times strides]``.

    Returns
    -------
    list of te.Tensor
        data and out, each of its own shape or in blocks, as the operator says.
    """
    view, facts = view_of(work), COPIES[work.operator]
    inside = view.source if facts.reads_plain else _blocked(view.source, work.in_block)
    outside = view.shape if facts.writes_plain else _blocked(view.shape, work.out_block)
    data = placeholder(inside, name="data")

    def element(*at: Any) -> Any:
        if not facts.writes_plain:
            n, o, p, c = at
            at = (n, o * work.out_block + c, p // view.shape[3], p % view.shape[3])
        if facts.reads_plain:
            return taken(data, view, at)
        n, c, y, x = unravelled(place_of(view, at), view.source)
        return data[n, c // work.in_block, y * view.source[3] + x, c % work.in_block]

    return [data, te.compute(outside, element, name="out")]


def _blocked(shape: tuple[int, ...], block: int) -> tuple[int, ...]:
    return (shape[0], shape[1] // block, math.prod(shape[2:]), block)

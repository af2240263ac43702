"""What is made of all pixels of a channel: the largest, and instance normalisation."""

from __future__ import annotations

import json
from typing import Any

from tvm import te

from tvm_mobilenet.compute.elementary import constant
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.compute.windows import LARGEST
from tvm_mobilenet.operators.workload import Workload

_SIDE_BY_SIDE = 4
"""Sums of which none waits for another: an addition takes as many cycles."""


def over_pixels(work: Workload) -> list[Any]:
    """Define the largest of each channel, or ``out[p] = (data[p] - mean) * scale + shift``.

    Returns
    -------
    list of te.Tensor
        data (N, Cb, P, block); of what normalises, weights and biases (Cb, block); out
        (N, Cb, 1 or P, block).
    """
    whole = (work.batch, work.in_blocks, work.in_pixels, work.in_block)
    data = placeholder(whole, name="data")
    if work.operator == "global_max":
        out = _over(work, "most", lambda n, o, p, c: data[n, o, p, c], LARGEST)
        return [data, te.compute(out.shape, lambda *at: out[at], name="out")]
    weight, bias = (
        placeholder((work.in_blocks, work.in_block), name=name) for name in ("weight", "bias")
    )
    total = _over(work, "total", lambda n, o, p, c: data[n, o, p, c], te.sum)
    part = constant(1.0 / work.in_pixels)
    mean = te.compute(total.shape, lambda *at: total[at] * part, name="mean")

    def square(n: Any, o: Any, p: Any, c: Any) -> Any:
        rest = data[n, o, p, c] - mean[n, o, 0, c]
        return rest * rest

    squares = _over(work, "squares", square, te.sum)
    epsilon = constant(json.loads(work.detail)["epsilon"])
    scale = te.compute(
        total.shape,
        lambda n, o, z, c: weight[o, c] / te.sqrt(squares[n, o, z, c] * part + epsilon),
        name="scale",
    )
    out = te.compute(
        whole,
        lambda n, o, p, c: (data[n, o, p, c] - mean[n, o, 0, c]) * scale[n, o, 0, c] + bias[o, c],
        name="out",
    )
    return [data, weight, bias, out]


def _over(work: Workload, name: str, element: Any, reducer: Any) -> Any:
    """Return what a reducer makes of all pixels, (N, Cb, 1, block), some of them side by side."""
    pixels = work.in_pixels
    count = next(n for n in range(_SIDE_BY_SIDE, 0, -1) if pixels % n == 0)
    q, j = te.reduce_axis((0, pixels // count), name="q"), te.reduce_axis((0, count), name="j")
    leading = (work.batch, work.in_blocks)
    parts = te.compute(
        (*leading, count, work.in_block),
        lambda n, o, i, c: reducer(element(n, o, q * count + i, c), axis=q),
        name=f"{name}_parts",
    )
    return te.compute(
        (*leading, 1, work.in_block),
        lambda n, o, _, c: reducer(parts[n, o, j, c], axis=j),
        name=name,
    )

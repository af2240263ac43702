"""Pools over windows: the largest element, or the mean."""

from __future__ import annotations

import math
from typing import Any

from tvm import te

try:
    from tvm import tirx
except ImportError:  # as TVM 0.19 calls it
    from tvm import tir as tirx

from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.compute.padding import padded
from tvm_mobilenet.operators.workload import Workload


def larger(a: Any, b: Any) -> Any:
    """Return the larger number, or the one that is none: of such the sum is none either.

    To ask ``isnan`` would be a call for each element.
    """
    return tirx.Select(a > b, a, tirx.Select(b >= a, b, a + b))


LARGEST = te.comm_reducer(larger, lambda dtype: te.const(-math.inf, dtype), name="largest")
"""A reduction that is NaN where an element is."""


def windows(work: Workload) -> list[Any]:
    """Define ``out[c, y, x]`` as the largest of ``data[c, y*s + r, x*s + q]``, or their mean.

    Returns
    -------
    list of te.Tensor
        data (N, Cb, H*W, block), for means the part (OH*OW,) that an element of each counts,
        out (N, Cb, OH*OW, block).
    """
    block, blocks, largest = work.out_block, work.out_blocks, work.operator == "max_pool"
    (kh, kw), (sh, sw) = work.kernel, work.strides
    width, out_width = work.in_size[1], work.out_size[1]
    data = placeholder((work.batch, blocks, work.in_pixels, block), name="data")
    fill = -math.inf if largest else 0.0
    window = padded(
        work,
        (work.batch, blocks),
        lambda n, o, y, x, c: data[n, o, y * width + x, c],
        fill=fill,
    )
    r, q = te.reduce_axis((0, kh), name="r"), te.reduce_axis((0, kw), name="q")
    reduced = LARGEST if largest else te.sum
    shape = (work.batch, blocks, work.out_pixels, block)
    acc = te.compute(
        shape,
        lambda n, o, p, c: reduced(
            window[n, o, p // out_width * sh + r, p % out_width * sw + q, c], axis=[r, q]
        ),
        name="accumulate",
    )
    if largest:
        return [data, te.compute(shape, lambda n, o, p, c: acc[n, o, p, c], name="out")]
    part = placeholder((work.out_pixels,), name="part")
    out = te.compute(shape, lambda n, o, p, c: acc[n, o, p, c] * part[p], name="out")
    return [data, part, out]

"""Global average pool: the mean over a map."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import exact
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.workload import Workload


def pool(work: Workload) -> list[Any]:
    """Define ``out[c] = sum_p data[c, p] / P``, the mean over a map.

    Returns
    -------
    list of te.Tensor
        data (N, Cb, P, block), out (N, Cb, 1, block); of the workload's dtype.
    """
    block = work.in_block
    data = placeholder((work.batch, work.in_blocks, work.in_pixels, block), work.dtype, name="data")
    p = te.reduce_axis((0, work.in_pixels), name="p")
    acc = te.compute(
        (work.batch, work.in_blocks, 1, block),
        lambda n, o, _, c: te.sum(exact(data[n, o, p, c]), axis=p),
        name="accumulate",
    )
    scale = te.const(1.0 / work.in_pixels, "float32")
    out = te.compute(
        acc.shape, lambda n, o, z, c: (acc[n, o, z, c] * scale).astype(work.dtype), name="out"
    )
    return [data, out]

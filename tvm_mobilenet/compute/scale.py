"""One factor a channel: the end of squeeze-and-excite (arXiv 1709.01507, equation 4)."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.workload import Workload


def scale(work: Workload) -> list[Any]:
    """Define ``out[c, p] = data[c, p] * factor[c]``.

    Parameters
    ----------
    work : Workload
        A ``"scale"`` workload; input and output blocks are the same.

    Returns
    -------
    list of te.Tensor
        data (N, Cb, P, block), factor (N, Cb, 1, block), out (N, Cb, P, block); float32.
    """
    shape = (work.batch, work.in_blocks, work.in_pixels, work.in_block)
    data = te.placeholder(shape, name="data")
    factor = te.placeholder((*shape[:2], 1, shape[3]), name="factor")
    out = te.compute(shape, lambda n, o, p, c: data[n, o, p, c] * factor[n, o, 0, c], name="out")
    return [data, factor, out]

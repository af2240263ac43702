"""Maps with more or fewer pixels: weighted sums of rows, then of columns."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.workload import Workload


def resize(work: Workload) -> list[Any]:
    """Define ``out[y, x] = sum columns[x, q] * (sum rows[y, r] * data[row(y, r), column(x, q)])``.

    Returns
    -------
    list of te.Tensor
        data (N, Cb, H*W, block); which rows and their weights (OH, R), which columns and their
        weights (OW, Q); out (N, Cb, OH*OW, block).
    """
    width, (out_height, out_width) = work.in_size[1], work.out_size
    down, right = work.kernel
    whole = (work.batch, work.in_blocks, work.in_pixels, work.in_block)
    data = placeholder(whole, name="data")
    rows = placeholder((out_height, down), "int32", name="rows")
    row_weights = placeholder((out_height, down), name="row_weights")
    columns = placeholder((out_width, right), "int32", name="columns")
    column_weights = placeholder((out_width, right), name="column_weights")
    r, q = te.reduce_axis((0, down), name="r"), te.reduce_axis((0, right), name="q")
    tall = te.compute(
        (*whole[:2], out_height, width, work.in_block),
        lambda n, o, y, x, c: te.sum(
            data[n, o, rows[y, r] * width + x, c] * row_weights[y, r], axis=r
        ),
        name="tall",
    )
    out = te.compute(
        (*whole[:2], work.out_pixels, work.in_block),
        lambda n, o, p, c: te.sum(
            tall[n, o, p // out_width, columns[p % out_width, q], c]
            * column_weights[p % out_width, q],
            axis=q,
        ),
        name="out",
    )
    return [data, rows, row_weights, columns, column_weights, out]

"""Softmax over the classes, with an exponential of our own that vectorizes everywhere."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.elementary import exponential
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.workload import Workload

_SMALLEST = float("-inf")


def softmax(work: Workload) -> list[Any]:
    """Define ``out[n, j] = e**(data[n, j] - m[n]) / sum_i e**(data[n, i] - m[n])``.

    m is the largest element of a row, so that no power exceeds 1 and their sum is at least 1.
    The workload's blocks are the lanes of a vector.

    Returns
    -------
    list of te.Tensor
        data (N, classes), out (N, classes); float32. Rows that hold NaN or +inf,
        or nothing but -inf, become NaN throughout.
    """
    classes, blocks, lanes = work.out_channels, work.out_blocks, work.out_block
    data = placeholder((work.batch, classes), name="data")

    def element(n: Any, b: Any, c: Any) -> Any:
        place = b * lanes + c
        if classes % lanes == 0:
            return data[n, place]
        # The power of -inf is 0: whole vectors from here on.
        return te.if_then_else(place < classes, data[n, place], te.const(_SMALLEST, "float32"))

    row = te.compute((work.batch, blocks, lanes), element, name="row")
    b = te.reduce_axis((0, blocks), name="b")
    most = te.compute(
        (work.batch, lanes), lambda n, c: te.max(row[n, b, c], axis=b), name="lane_max"
    )
    c = te.reduce_axis((0, lanes), name="c")
    top = te.compute((work.batch,), lambda n: te.max(most[n, c], axis=c), name="row_max")
    power = te.compute(row.shape, lambda n, b, c: exponential(row[n, b, c] - top[n]), name="power")
    b = te.reduce_axis((0, blocks), name="b")
    part = te.compute(
        (work.batch, lanes), lambda n, c: te.sum(power[n, b, c], axis=b), name="lane_sum"
    )
    c = te.reduce_axis((0, lanes), name="c")
    total = te.compute((work.batch,), lambda n: te.sum(part[n, c], axis=c), name="row_sum")
    scale = te.compute((work.batch,), lambda n: te.const(1.0, "float32") / total[n], name="scale")
    out = te.compute(
        data.shape, lambda n, j: power[n, j // lanes, j % lanes] * scale[n], name="out"
    )
    return [data, out]

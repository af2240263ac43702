"""Rows over their Euclidean norms, whatever their magnitude."""

from __future__ import annotations

from typing import Any

from tvm import te

try:
    from tvm import tirx
except ImportError:  # as TVM 0.19 calls it
    from tvm import tir as tirx

from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.lp_normalization import least_of
from tvm_mobilenet.operators.workload import Workload


def lp_normalization(work: Workload) -> list[Any]:
    """Define ``out[n, j] = data[n, j] / sqrt(sum_i data[n, i]**2)``, 0 where that is 0.

    Where the root is less than what the workload names as the least, it is divided by that.
    Squares are of elements over the row's largest, m: those of 1e20 would be infinite, those
    of 1e-23 nothing. The stages are those of :func:`tvm_mobilenet.compute.softmax.softmax`.

    Parameters
    ----------
    work : Workload
        A ``"lp_normalization"`` workload; its blocks are a vector's lanes.

    Returns
    -------
    list of te.Tensor
        data (N, C), out (N, C); float32. Of a row that holds an infinity, that becomes NaN
        and the rest 0; one that holds NaN becomes NaN throughout.
    """
    channels, blocks, lanes = work.out_channels, work.out_blocks, work.out_block
    data = placeholder((work.batch, channels), name="data")
    zero, one = te.const(0.0, "float32"), te.const(1.0, "float32")

    def element(n: Any, b: Any, c: Any) -> Any:
        place = b * lanes + c
        if channels % lanes == 0:
            return data[n, place]
        return te.if_then_else(place < channels, data[n, place], zero)

    row = te.compute((work.batch, blocks, lanes), element, name="row")
    b = te.reduce_axis((0, blocks), name="b")
    most = te.compute(
        (work.batch, lanes), lambda n, c: te.max(te.abs(row[n, b, c]), axis=b), name="lane_max"
    )
    c = te.reduce_axis((0, lanes), name="c")
    top = te.compute((work.batch,), lambda n: te.max(most[n, c], axis=c), name="row_max")

    def unit(n: Any) -> Any:
        # Nothing is divided by 0, an infinity or NaN, of which a comparison says no.
        usable = tirx.all(top[n] > zero, top[n] < te.const(float("inf"), "float32"))
        return tirx.Select(usable, top[n], one)

    power = te.compute(row.shape, lambda n, b, c: row[n, b, c] / unit(n), name="power")
    b = te.reduce_axis((0, blocks), name="b")
    part = te.compute(
        (work.batch, lanes),
        lambda n, c: te.sum(power[n, b, c] * power[n, b, c], axis=b),
        name="lane_sum",
    )
    c = te.reduce_axis((0, lanes), name="c")
    total = te.compute((work.batch,), lambda n: te.sum(part[n, c], axis=c), name="row_sum")
    least = te.const(least_of(work), "float32")

    def factor(n: Any) -> Any:
        if not least_of(work):
            return tirx.Select(total[n] == zero, zero, one / te.sqrt(total[n]))
        # The root is of quotients, and so must be what it is compared with: NaN is not less.
        root, floor = te.sqrt(total[n]), least / unit(n)
        return one / tirx.Select(root < floor, floor, root)

    scale = te.compute((work.batch,), factor, name="scale")
    out = te.compute(
        data.shape, lambda n, j: power[n, j // lanes, j % lanes] * scale[n], name="out"
    )
    return [data, out]

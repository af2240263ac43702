"""Rows less their means over their deviations, scaled and shifted by channel."""

from __future__ import annotations

from typing import Any

from tvm import te

try:
    from tvm import tirx
except ImportError:  # as TVM 0.19 calls it
    from tvm import tir as tirx

from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.layer_norm import epsilon_of
from tvm_mobilenet.operators.workload import Workload


def layer_norm(work: Workload) -> list[Any]:
    """Define ``out = (data - mean) / sqrt(mean((data - mean)**2) + epsilon) * gamma + beta``.

    The stages are those of :func:`tvm_mobilenet.compute.softmax.softmax`: sums of a row in place
    of its largest element, what is left of elements in place of their powers.

    Parameters
    ----------
    work : Workload
        A ``"layer_norm"`` workload; its blocks are a vector's lanes.

    Returns
    -------
    list of te.Tensor
        data (N, C), gamma and beta (Cb, block), out (N, C); float32. Rows that hold NaN or an
        infinity become NaN throughout.
    """
    channels, blocks, lanes = work.out_channels, work.out_blocks, work.out_block
    data = placeholder((work.batch, channels), name="data")
    gamma, beta = (placeholder((blocks, lanes), name=name) for name in ("gamma", "beta"))
    zero, count = te.const(0.0, "float32"), te.const(1.0 / channels, "float32")

    def real(b: Any, c: Any, value: Any) -> Any:
        return value if channels % lanes == 0 else te.if_then_else(
            b * lanes + c < channels, value, zero
        )  # fmt: skip

    def left(n: Any, b: Any, c: Any) -> Any:
        value = row[n, b, c] - mean[n]
        if channels % lanes == 0:
            return value
        return tirx.Select(b * lanes + c < channels, value, zero)

    row = te.compute(
        (work.batch, blocks, lanes), lambda n, b, c: real(b, c, data[n, b * lanes + c]), name="row"
    )
    b = te.reduce_axis((0, blocks), name="b")
    part = te.compute(
        (work.batch, lanes), lambda n, c: te.sum(row[n, b, c], axis=b), name="lane_max"
    )
    c = te.reduce_axis((0, lanes), name="c")
    mean = te.compute((work.batch,), lambda n: te.sum(part[n, c] * count, axis=c), name="row_max")
    power = te.compute(row.shape, left, name="power")
    b = te.reduce_axis((0, blocks), name="b")
    squares = te.compute(
        (work.batch, lanes),
        lambda n, c: te.sum(power[n, b, c] * power[n, b, c], axis=b),
        name="lane_sum",
    )
    c = te.reduce_axis((0, lanes), name="c")
    total = te.compute((work.batch,), lambda n: te.sum(squares[n, c], axis=c), name="row_sum")
    epsilon, one = te.const(epsilon_of(work), "float32"), te.const(1.0, "float32")
    scale = te.compute(
        (work.batch,), lambda n: one / te.sqrt(total[n] * count + epsilon), name="scale"
    )

    def normed(n: Any, j: Any) -> Any:
        b, c = j // lanes, j % lanes
        return power[n, b, c] * scale[n] * gamma[b, c] + beta[b, c]

    return [data, gamma, beta, te.compute(data.shape, normed, name="out")]

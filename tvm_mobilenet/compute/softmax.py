"""Softmax over the classes, with an exponential of our own that vectorizes everywhere."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.workload import Workload

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693145751953125, 1.428606765330187e-06
_SERIES = (
    0.0013926213141530752,
    0.008363203145563602,
    0.041666556149721146,
    0.16666576266288757,
    0.5,
    1.0,
    1.0,
)
_ROUND, _ROUND_BITS = 1.5 * 2.0**23, 0x4B400000
_LEAST = -88.0
_SMALLEST = float("-inf")


def exponential(x: Any) -> Any:
    """Define e**x for x <= 0, within 2 units in the last place.

    ``x = n ln 2 + r``, ``|r| <= ln 2 / 2``, and ``e**x = 2**n e**r`` (W. J. Cody and
    W. Waite, "Software Manual for the Elementary Functions", 1980, chapter 6). ``e**r``
    is ``1 + r + r**2 q(r)``, q the interpolation of degree 4 at Chebyshev's nodes,
    whose relative error is 2**-26.5. It consists of additions, multiplications and integer
    shifts, so it vectorizes on every target, with and without fused multiply-adds. The result
    is zero from -126.5 ln 2 (-87.68) down, and NaN for NaN. Both are float32.
    """
    try:
        from tvm import tirx
    except ImportError:  # as TVM 0.19 calls it
        from tvm import tir as tirx

    def const(value: float) -> Any:
        return te.const(value, "float32")

    clipped = tirx.Var("x", "float32")
    # Adding 1.5 * 2**23 rounds to an integer in the lowest bits of the sum. TVM
    # would simplify (x + c) - c for floats, so it is taken out of there as an integer.
    bits = tirx.reinterpret("int32", clipped * const(_LOG2_E) + const(_ROUND))
    n = tirx.Var("n", "int32")
    whole = n.astype("float32")
    r = tirx.Var("r", "float32")
    power = const(_SERIES[0])
    for coefficient in _SERIES[1:]:
        power = power * r + const(coefficient)
    # Shifted to the exponent's place; the exponent's bias is 127.
    exponent = tirx.shift_left(n, te.const(23, "int32")) + te.const(127 << 23, "int32")
    result = power * tirx.reinterpret("float32", exponent)
    rest = clipped - whole * const(_LN2_HIGH) - whole * const(_LN2_LOW)
    result = tirx.Let(n, bits - te.const(_ROUND_BITS, "int32"), tirx.Let(r, rest, result))
    # A comparison with NaN is false, and leaves it.
    return tirx.Let(clipped, tirx.Select(x < const(_LEAST), const(_LEAST), x), result)


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

"""Exponential and error function, logarithm of 1 + x: of what every target vectorizes.

Additions, multiplications, one division at most, integer shifts: no call of a library. Errors are
in units in the last place of float32 (ulp) where they are relative, else in units of 2**-24.
NaN stays NaN. Arguments and values are float32.
"""

from __future__ import annotations

from typing import Any

from tvm import te

try:
    from tvm import tirx
except ImportError:  # as TVM 0.19 calls it
    from tvm import tir as tirx

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
_OVERFLOWS, _LAST_NORMAL = 89.0, -87.0

# erf(x / sqrt(2)) / x as a quotient of polynomials of x**2, lowest power first, |x| <= sqrt(32).
_ERF_ABOVE = (
    0.7978845238685608,
    0.06842879205942154,
    0.00938716996461153,
    0.0003432455414440483,
    1.2576208973769099e-05,
    4.3902080193447546e-08,
)
_ERF_BELOW = (
    1.0,
    0.2524290382862091,
    0.02883758209645748,
    0.001900915172882378,
    7.409878890030086e-05,
    1.1693821306835162e-06,
)
_ERF_END = 32.0
# (artanh(s) / s - 1) / s**2 as a polynomial of s**2, 0 <= s <= 1 / 3.
_ARTANH = (0.3333320915699005, 0.2001076340675354, 0.14000898599624634, 0.1400601714849472)


def constant(value: float) -> Any:
    """Return a number of float32."""
    return te.const(value, "float32")


def named(value: Any, use: Any) -> Any:
    """Return what `use` makes of a value that is computed once."""
    var = tirx.Var("x", "float32")
    return tirx.Let(var, value, use(var))


def polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
    """Return a polynomial by Horner's rule, the lowest power first."""
    value = constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + constant(coefficient)
    return value


def exponential(x: Any) -> Any:
    """Define e**x for x <= 0, within 2 ulp.

    ``x = n ln 2 + r``, ``|r| <= ln 2 / 2``, and ``e**x = 2**n e**r`` (W. J. Cody and
    W. Waite, "Software Manual for the Elementary Functions", 1980, chapter 6). ``e**r``
    is ``1 + r + r**2 q(r)``, q the interpolation of degree 4 at Chebyshev's nodes,
    whose relative error is 2**-26.5. The result is zero from -126.5 ln 2 (-87.68) down.
    """
    # A comparison with NaN is false, and leaves it.
    clipped = tirx.Select(x < constant(_LEAST), constant(_LEAST), x)
    return _split(clipped, lambda r, power: _series(r, _SERIES) * power)


def one_plus_exponential(x: Any) -> Any:
    """Define 1 + e**x for any x, within 3 ulp: infinite from 127.5 ln 2 (88.38) up."""
    clipped = te.min(te.max(x, constant(_LAST_NORMAL)), constant(_OVERFLOWS))
    return _split(clipped, lambda r, power: _series(r, _SERIES) * power + constant(1.0))


def exponential_minus_one(x: Any) -> Any:
    """Define e**x - 1 for x <= 20, within 3 ulp: 2**n (e**r - 1) + (2**n - 1)."""

    def combined(r: Any, power: Any) -> Any:
        return _series(r, _SERIES[:-1]) * r * power + (power - constant(1.0))

    return _split(tirx.Select(x < constant(_LEAST), constant(_LEAST), x), combined)


def _series(r: Any, coefficients: tuple[float, ...]) -> Any:
    return polynomial(r, coefficients[::-1])


def _split(x: Any, combine: Any) -> Any:
    """Return what `combine` makes of r and 2**n, where x = n ln 2 + r."""
    clipped = tirx.Var("x", "float32")
    # Adding 1.5 * 2**23 rounds to an integer in the lowest bits of the sum. TVM
    # would simplify (x + c) - c for floats, so it is taken out of there as an integer.
    bits = tirx.reinterpret("int32", clipped * constant(_LOG2_E) + constant(_ROUND))
    n = tirx.Var("n", "int32")
    whole = n.astype("float32")
    r = tirx.Var("r", "float32")
    # Shifted to the exponent's place; the exponent's bias is 127.
    exponent = tirx.shift_left(n, te.const(23, "int32")) + te.const(127 << 23, "int32")
    result = combine(r, tirx.reinterpret("float32", exponent))
    rest = clipped - whole * constant(_LN2_HIGH) - whole * constant(_LN2_LOW)
    result = tirx.Let(n, bits - te.const(_ROUND_BITS, "int32"), tirx.Let(r, rest, result))
    return tirx.Let(clipped, x, result)


def normal_error_function(x: Any) -> Any:
    """Define erf(x / sqrt(2)), within 6 units of 2**-24, and exactly 1 from 5.66 on.

    A quotient of polynomials of degree 5 in x**2, whose relative error is 2**-25.3: minimal, by
    least squares that are weighted again with their errors until those are level (C. L. Lawson).
    """

    def quotient(square: Any) -> Any:
        return x * polynomial(square, _ERF_ABOVE) / polynomial(square, _ERF_BELOW)

    # Beyond the end the quotient is that at the end, and grows with x.
    value = named(te.min(x * x, constant(_ERF_END)), quotient)
    return te.min(te.max(value, constant(-1.0)), constant(1.0))


def logarithm_of_one_plus(x: Any) -> Any:
    """Define ln(1 + x) for 0 <= x <= 1, within 4 ulp.

    ``ln(1 + x) = 2 artanh(s)``, ``s = x / (2 + x)``, by a polynomial whose relative error is
    2**-27.7.
    """

    def series(s: Any) -> Any:
        return named(s * s, lambda z: (s + s) * (polynomial(z, _ARTANH) * z + constant(1.0)))

    return named(x, lambda each: named(each / (constant(2.0) + each), series))

"""When a candidate is right, and when it was timed enough, wherever it runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.bfloat16 import narrowed, widened
from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.verify.kernel_case import KernelCase

_SPREAD = 0.003
"""Standard error of the median at which repeating ends, a part of it."""

_LIMIT_S = 0.35
"""Time after which it ends in any case."""

_SAMPLE_S = 1.5e-3
_LEAST, _LEAST_OF_LOSERS = 7, 3
_LOSER = 1.5
"""So many times the best known: not worth measuring better."""
WARM_UP_S = 0.01
_DRIFT, _NOISE, _ATTEMPTS = 0.05, 0.15, 3
CONTROLS = 3
"""Calls of the control kernel, of which the least counts: it shall tell the clock, and a process
that took a core meanwhile would make a candidate beside it look fast."""
_MOST_COPIES = 64
GUARD = 1024
_CANARY, _ODD = np.float32(1.5e30), 0x5A
_BITS = np.dtype(np.uint16)
"""What NumPy knows bfloat16 as."""


class NotANumberError(VerificationError):
    """An output with NaN or infinity in it."""


def blank(case: KernelCase) -> NDArray[Any]:
    """Return what an output holds before a candidate runs, between two guards: what is wrong.

    That is NaN, and of elements of 8 bits each one's complement.
    """
    dtype = np.dtype(case.dtype)
    space = np.full(case.want.size + 2 * GUARD, _canary(dtype), dtype)
    if dtype == _BITS:
        space[GUARD:-GUARD] = narrowed(np.array(np.nan))
    else:
        wrong = np.nan if dtype.kind == "f" else ~case.want.astype(dtype).reshape(-1)
        space[GUARD:-GUARD] = wrong
    return space


def _canary(dtype: np.dtype[Any]) -> Any:
    return _CANARY if dtype.kind == "f" else _ODD


def judge(case: KernelCase, space: NDArray[Any]) -> float:
    """Return the largest relative error of what a candidate made of :func:`blank`.

    Raises
    ------
    VerificationError
        It is wrong.
    """
    canary = _canary(space.dtype)
    if not all((part == canary).all() for part in (space[:GUARD], space[-GUARD:])):
        raise VerificationError("it wrote outside its output")
    out = space[GUARD:-GUARD].reshape(case.want.shape)
    check_finite(out)
    return case.error(out)


def check_finite(out: NDArray[Any]) -> None:
    """Raise NotANumberError where there is NaN or infinity; uint16 is bfloat16."""
    out = widened(out) if out.dtype == _BITS else out
    if not np.isfinite(out).all():
        raise NotANumberError(f"{np.count_nonzero(~np.isfinite(out))} numbers are none")


def copies_of(weights: Sequence[NDArray[Any]], cold_bytes: int) -> int:
    """Return how many copies of weights take turns, so that `cold_bytes` pass between two uses."""
    size = sum(array.nbytes for array in weights)
    return min(max(math.ceil(cold_bytes / size), 1), _MOST_COPIES) if size else 1


def calls_of_a_sample(once: float) -> int:
    """Return how many calls of so many seconds make a sample."""
    return max(math.ceil(_SAMPLE_S / max(once, 1e-7)), 1)


def beside(
    control: Callable[[], float], repeat: Callable[[], tuple[float, int, float]]
) -> dict[str, Any]:
    """Time until the machine was quiet meanwhile, or often enough.

    Parameters
    ----------
    control : callable
        Returns the seconds of the control kernel.
    repeat : callable
        Returns what :func:`repeated` does.

    Returns
    -------
    dict
        ``seconds``, ``repeats``, ``spread``, ``control``.
    """
    attempts = []
    for _ in range(_ATTEMPTS):
        before = control()
        seconds, repeats, spread = repeat()
        after = control()
        drift = abs(after / before - 1)
        attempts.append((drift + spread, seconds, repeats, spread, (before + after) / 2))
        if drift <= _DRIFT and spread <= _NOISE:
            break
    _, seconds, repeats, spread, both = min(attempts)
    return {"seconds": seconds, "repeats": repeats, "spread": spread, "control": both}


def repeated(
    take: Callable[[int], list[float]], once: float, best: float | None, more: int
) -> tuple[float, int, float]:
    """Take samples until their median is settled, or time is up.

    Parameters
    ----------
    take : callable
        Returns so many samples, seconds.
    once : float
        Seconds of a call, about.
    best : float, optional
        Seconds of the best known: a candidate that is far behind is not worth many samples.
    more : int
        Samples to take at a time, after the least.

    Returns
    -------
    float, int, float
        Median, number, spread (interquartile range over median).
    """
    least = _LEAST_OF_LOSERS if best is not None and once > _LOSER * best else _LEAST
    end = time.perf_counter() + _LIMIT_S
    samples = take(least)
    while True:
        low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75])
        spread = float((high - low) / middle)
        # 1.25 sigma / sqrt(n), the median's standard error; sigma is IQR / 1.35.
        settled = 0.93 * spread / math.sqrt(len(samples)) < _SPREAD
        if settled or least < _LEAST or time.perf_counter() > end:
            return float(middle), len(samples), spread
        samples += take(more)

"""Turns: how many calls are timed, for how long, and which numbers make no sense."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm_mobilenet.errors import InputError

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what comes next."""

ROUNDS = 10
ROUND_SECONDS = 0.3
"""Long enough for tens of calls, short enough that all meet the same machine."""

WARM_SHARE = 0.2
"""Part of a round that is not timed: caches and clocks were another's before."""

_LONGEST_TURN_S = 3600


def timed_round(
    call: Callable[[], Any],
    seconds: float,
    warmup: float | None = None,
    iterations: int | None = None,
) -> list[float]:
    """Call for about `seconds`, first untimed, then timed one by one.

    Parameters
    ----------
    call : callable
        One inference.
    seconds : float
        Wall-clock time of the whole round.
    warmup : float, optional
        Seconds before the round that are not timed, at least one call; a fifth of the round,
        and part of it, without.
    iterations : int, optional
        Calls to time, however long they take, instead of `seconds`.

    Returns
    -------
    list of float
        Seconds of each timed call, at least one.
    """
    clock = time.perf_counter
    start = clock()
    warm = start + (WARM_SHARE * seconds if warmup is None else warmup)
    call()
    while clock() < warm:
        call()
    if warmup is not None:
        start = clock()
    times: list[float] = []
    while len(times) < iterations if iterations else not times or clock() - start < seconds:
        before = clock()
        call()
        times.append(clock() - before)
    return times


def check_batch(manifest: Mapping[str, Any], path: str, batch: int | None) -> None:
    """Refuse an artifact that takes another number of images a call than is asked for."""
    room = int(manifest["inputs"][0]["shape"][0])
    if batch is not None and batch != room:
        raise InputError(
            f"{path} takes {room} image{'s' * (room > 1)} a call, not {batch}",
            f"compile it with --batch {batch}; `bench MODEL --target native --batch {batch}` "
            "compiles first",
        )


def check_turns(
    threads: Sequence[int],
    rounds: int,
    seconds: float,
    *,
    warmup: float | None = None,
    iterations: int | None = None,
) -> None:
    """Refuse turns that measure nothing or do not end."""
    if not threads or rounds < 1 or not 0 < seconds <= _LONGEST_TURN_S:
        raise InputError(
            "nothing to measure: threads, rounds and seconds must be positive, and a turn be over "
            f"in {_LONGEST_TURN_S} s",
            "for example threads=(1, 2), rounds=10, seconds=0.3",
        )
    if iterations is not None and iterations < 1:
        raise InputError(f"{iterations} iterations asked for", "give their number, 1 or more")
    if warmup is not None and not 0 <= warmup < math.inf:
        raise InputError(f"a warm-up of {warmup} seconds", "give seconds, 0 or more")


def check_numbers(
    threads: Sequence[int], rounds: int, seconds: float, contexts: int = 1, **turn: Any
) -> None:
    """Refuse what :func:`check_turns` does, and more threads than this process has processors."""
    check_turns(threads, rounds, seconds, **turn)
    here = len(os.sched_getaffinity(0))
    for count in threads:
        if contexts < 1 or not 1 <= count * contexts <= here:
            asked = f"{count} threads" + f" for each of {contexts} contexts" * (contexts != 1)
            raise InputError(
                f"{asked} asked for; this process may run on {here} processors",
                f"choose between 1 and {here} in all",
            )

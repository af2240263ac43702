"""One artifact timed in this process, on several numbers of threads in turn: it needs no TVM."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tvm_mobilenet import __version__
from tvm_mobilenet.bench.comparison import OURS, BenchReport, Row
from tvm_mobilenet.bench.rounds import (
    ROUND_SECONDS,
    ROUNDS,
    Progress,
    check_numbers,
    timed_round,
)


def bench_alone(
    artifact: str | os.PathLike[str],
    *,
    threads: Sequence[int] = (1,),
    rounds: int = ROUNDS,
    seconds: float = ROUND_SECONDS,
    warmup: float | None = None,
    iterations: int | None = None,
    progress: Progress | None = None,
) -> BenchReport:
    """Time an artifact without this processor's peak, which TVM would have to compile.

    Parameters
    ----------
    artifact : path-like
        What runs here.
    threads : sequence of int
        Numbers of threads, which take turns; between turns the threads of the others sleep.
    rounds, seconds, warmup, iterations, progress
        As for :func:`tvm_mobilenet.bench.bench`.

    Returns
    -------
    BenchReport
        Without a peak and a bound.

    Raises
    ------
    ArtifactError, InputError
        As from :func:`tvm_mobilenet.bench.bench`.
    """
    from tvm_mobilenet.runtime.inputs import noise
    from tvm_mobilenet.runtime.loading import load

    check_numbers(threads, rounds, seconds, warmup=warmup, iterations=iterations)
    modules = {count: load(artifact, threads=count) for count in threads}
    manifest = modules[threads[0]].manifest
    x = noise(manifest["inputs"][0])
    times: dict[int, list[float]] = {count: [] for count in threads}
    tell, total = progress or (lambda done, total, text: None), rounds * len(threads)
    for number in range(total):
        count = threads[(number + number // len(threads)) % len(threads)]
        tell(number, total, f"round {number // len(threads)}: {count} threads")
        module = modules[count]
        times[count] += timed_round(lambda: module(x), seconds, warmup, iterations)  # noqa: B023
    rows = tuple(Row.of(OURS, count, times[count], version=__version__) for count in threads)
    return BenchReport(
        manifest["title"], manifest["macs"], {}, rows, batch=int(manifest["inputs"][0]["shape"][0])
    )

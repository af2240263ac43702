"""One comparison: the same network and input, everyone in turn, round by round."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.bench.ncnn_files import write_ncnn
from tvm_mobilenet.bench.peers import (
    NCNN_BIN,
    NCNN_PARAM,
    ONNX_FILE,
    check_peers,
    version_of,
)
from tvm_mobilenet.bench.pool import Worker, workers
from tvm_mobilenet.bench.report import OURS, PEAK, BenchReport, Row
from tvm_mobilenet.errors import InputError
from tvm_mobilenet.runtime.inputs import noise
from tvm_mobilenet.scratch import scratch

if TYPE_CHECKING:
    from tvm_mobilenet.models.network import Network

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what comes next."""

ROUNDS = 10
ROUND_SECONDS = 0.3
"""Long enough for tens of calls, short enough that all meet the same machine."""


_log = logging.getLogger(__name__)


def bench(
    artifact: str | os.PathLike[str],
    *,
    threads: Sequence[int] = (1,),
    against: Sequence[str] = (),
    weights: str | os.PathLike[str] | Mapping[str, NDArray[Any]] | None = None,
    model: str | os.PathLike[str] | None = None,
    rounds: int = ROUNDS,
    seconds: float = ROUND_SECONDS,
    progress: Progress | None = None,
) -> BenchReport:
    """Time an artifact, this processor's peak, and other runtimes.

    Every runtime has a process of its own for every number of threads. They
    take turns; whoever is not running is stopped, and each round begins with
    another, so that a slow drift of the machine meets all alike.

    Parameters
    ----------
    artifact : path-like
        Compiled by this package for this machine.
    threads : sequence of int
        Numbers of threads to give each runtime.
    against : sequence of str
        Peers, from :data:`tvm_mobilenet.bench.peers.PEERS`.
    weights : path-like or mapping, optional
        Weights for the peers; default: those that the manifest names.
    model : path-like, optional
        Likewise the ONNX file of an imported network.
    rounds : int
        Turns that each takes.
    seconds : float
        Wall-clock time of a turn.
    progress : callable, optional
        Told of every step.

    Returns
    -------
    BenchReport

    Raises
    ------
    ArtifactError
        If the artifact cannot be loaded here.
    PeerError
        If a peer is unknown, not installed, or fails.
    WeightsError
        If the weights at hand are not those of the artifact.
    InputError
        If a number of threads, of rounds or of seconds makes no sense.
    """
    from tvm_mobilenet.models.network import network_of
    from tvm_mobilenet.runtime.artifact import check_here, read_manifest

    threads, against = tuple(dict.fromkeys(threads)), tuple(dict.fromkeys(against))
    _check_numbers(threads, rounds, seconds)
    check_peers(against)
    manifest = read_manifest(artifact)
    check_here(manifest, os.fspath(artifact))
    tell = progress or (lambda done, total, text: None)
    runtimes = (PEAK, OURS, *against)
    total = len(threads) * len(runtimes) * (rounds + 1)

    with scratch() as name:
        folder = Path(name)
        np.save(folder / "input.npy", noise(manifest["inputs"][0]))
        if against:
            _write_for_peers(network_of(manifest, weights, model), against, folder)
        requests = [
            {
                "runtime": runtime,
                "threads": count,
                "artifact": os.path.abspath(artifact),
                "target": manifest["target"],
                "folder": name,
                "input": str(folder / "input.npy"),
                "output": str(folder / f"{runtime}-{count}.npy"),
            }
            for count in threads
            for runtime in runtimes
        ]
        tell(0, total, f"starting {len(requests)} processes")
        with workers(requests) as started:
            times = _take_turns(started, rounds, seconds, tell, total)
        return _report(manifest, started, times, folder)


_LONGEST_TURN_S = 3600


def _take_turns(
    started: Sequence[Worker], rounds: int, seconds: float, tell: Progress, total: int
) -> dict[tuple[str, int], list[float]]:
    times: dict[tuple[str, int], list[float]] = {(w.runtime, w.threads): [] for w in started}
    done = total - rounds * len(started)
    for number in range(rounds):
        first = number % len(started)
        for worker in (*started[first:], *started[:first]):
            tell(done, total, f"round {number + 1}: {worker.runtime}, {worker.threads} threads")
            taken = worker.round(seconds)
            _log.info(
                "round %d: %s, %d threads, %d calls, median %.3f ms",
                *(number + 1, worker.runtime, worker.threads),
                *(len(taken), 1e3 * float(np.median(taken))),
            )
            times[worker.runtime, worker.threads] += taken
            done += 1
    tell(total, total, "done")
    return times


def _report(
    manifest: Mapping[str, Any],
    started: Sequence[Worker],
    times: Mapping[tuple[str, int], list[float]],
    folder: Path,
) -> BenchReport:
    peaks: dict[int, float] = {}
    spreads: dict[int, float] = {}
    rows = []
    for worker in started:
        samples = np.array(times[worker.runtime, worker.threads])
        p10, median, p90 = np.quantile(samples, [0.1, 0.5, 0.9])
        if worker.runtime == PEAK:
            peaks[worker.threads] = worker.operations / float(median) / 1e9
            spreads[worker.threads] = float(p90 / p10)
            continue
        rows.append(
            Row(
                runtime=worker.runtime,
                threads=worker.threads,
                median_ms=float(median) * 1e3,
                p10_ms=float(p10) * 1e3,
                p90_ms=float(p90) * 1e3,
                calls=len(samples),
                relative_error=_difference(folder, worker),
                version=version_of(worker.runtime),
            )
        )
    return BenchReport(manifest["title"], manifest["macs"], peaks, tuple(rows), spreads)


def _difference(folder: Path, worker: Worker) -> float:
    from tvm_mobilenet.reference import relative_error

    ours = np.load(folder / f"{OURS}-{worker.threads}.npy")
    theirs = np.load(folder / f"{worker.runtime}-{worker.threads}.npy")
    return relative_error(theirs.reshape(ours.shape), ours)


def _write_for_peers(network: Network, against: Sequence[str], folder: Path) -> None:
    model, weights = network.model, network.weights
    if "ncnn" in against:
        write_ncnn(model, weights, folder / NCNN_PARAM, folder / NCNN_BIN)
    if network.imported is not None:
        # Theirs as the file has it, its batch fixed to ours.
        (folder / ONNX_FILE).write_bytes(network.imported.source.SerializeToString())
    elif set(against) - {"ncnn"}:
        from tvm_mobilenet.models.onnx_export import export_onnx

        export_onnx(model, weights, folder / ONNX_FILE)


def _check_numbers(threads: Sequence[int], rounds: int, seconds: float) -> None:
    here = len(os.sched_getaffinity(0))
    for count in threads:
        if not 1 <= count <= here:
            raise InputError(
                f"{count} threads asked for; this process may run on {here} processors",
                f"choose between 1 and {here}",
            )
    if not threads or rounds < 1 or not 0 < seconds <= _LONGEST_TURN_S:
        raise InputError(
            "nothing to measure: threads, rounds and seconds must be positive, and a turn be over "
            f"in {_LONGEST_TURN_S} s",
            "for example threads=(1, 2), rounds=10, seconds=0.3",
        )

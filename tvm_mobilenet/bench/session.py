"""One comparison: the same network and input, everyone in turn, round by round."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.bench.comparison import OURS, PEAK, ROUNDED, BenchReport, Row, peak_of
from tvm_mobilenet.bench.int8_files import write_in_integers
from tvm_mobilenet.bench.litert_files import write_tflite
from tvm_mobilenet.bench.ncnn_files import write_ncnn
from tvm_mobilenet.bench.peak import of_calls
from tvm_mobilenet.bench.peers import (
    NCNN_BIN,
    NCNN_PARAM,
    ONNX_FILE,
    OPENVINO_BF16,
    TFLITE_FILE,
    check_peers,
    version_of,
)
from tvm_mobilenet.bench.pool import Worker, in_turn, workers
from tvm_mobilenet.bench.rounds import (
    ROUND_SECONDS,
    ROUNDS,
    Progress,
    check_batch,
    check_numbers,
)
from tvm_mobilenet.common.lists import Names, Numbers, names, numbers
from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.runtime.inputs import noise

if TYPE_CHECKING:
    from tvm_mobilenet.models.importer import Imported
    from tvm_mobilenet.models.network import Network

INPUT_FILE = "input.npy"

_log = logging.getLogger(__name__)


def bench(
    artifact: str | os.PathLike[str],
    *,
    threads: Numbers = (1,),
    against: Names = (),
    weights: str | os.PathLike[str] | Mapping[str, NDArray[Any]] | None = None,
    model: str | os.PathLike[str] | Imported | Network | None = None,
    rounds: int = ROUNDS,
    seconds: float = ROUND_SECONDS,
    warmup: float | None = None,
    iterations: int | None = None,
    contexts: int = 1,
    batch: int | None = None,
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
    threads : int, str or sequence of int
        Numbers of threads to give each runtime, one after another: ``2``, ``"1,2"``, ``(1, 2)``.
    against : str or sequence of str
        Peers, from :data:`tvm_mobilenet.bench.peers.PEERS`; several in one text by commas.
    weights : path-like or mapping, optional
        Weights for the peers, in float32; default: those that the manifest names.
    model : path-like, Imported or Network, optional
        The ONNX file of an imported network, or what was imported or quantised; default: the file
        that the manifest names.
    rounds : int
        Turns that each takes.
    seconds : float
        Wall-clock time of a turn.
    warmup : float, optional
        Seconds before each turn that are not timed; a fifth of the turn without.
    iterations : int, optional
        Calls to time in a turn, instead of `seconds`.
    contexts : int
        Copies of a runtime that run at a time, each in a process of its own with its own
        threads: what a server gets out of this machine.
    batch : int, optional
        Images a call that the artifact has to be compiled for; whatever it has without.
    progress : callable, optional
        Told of every step.

    Returns
    -------
    BenchReport
        Latencies of each runtime on each number of threads, and the peak that bounds them.

    Raises
    ------
    ArtifactError
        If the artifact cannot be loaded here.
    PeerError
        If a peer is unknown, not installed, or fails.
    WeightsError
        If the weights at hand are not those of the artifact.
    InputError
        If a number of threads, rounds, seconds, contexts … makes no sense, or the artifact
        takes another number of images.
    """
    from tvm_mobilenet.models.network import network_of
    from tvm_mobilenet.runtime import check_here, read_manifest

    threads, against = numbers(threads, "threads"), names(against)
    turn: dict[str, Any] = {"warmup": warmup, "iterations": iterations}
    check_numbers(threads, rounds, seconds, contexts, **turn)
    check_peers(against)
    manifest = read_manifest(artifact)
    check_batch(manifest, os.fspath(artifact), batch)
    check_here(manifest, os.fspath(artifact))
    tell = progress or (lambda done, total, text: None)
    runtimes = (PEAK, OURS, *against)
    total = len(threads) * len(runtimes) * (rounds + 1)

    with scratch() as name:
        folder = Path(name)
        np.save(folder / INPUT_FILE, noise(manifest["inputs"][0]))
        rounded = OPENVINO_BF16 in against or manifest["target"].get("dtype") == "bfloat16"
        if against:
            network = network_of(manifest, weights, model)
            _write_for_peers(network, against, folder)
            rounded |= bool(network.records)
        requests = [
            {
                "runtime": runtime,
                # The bound of all contexts together is the peak of all their threads.
                "threads": count * contexts if runtime == PEAK else count,
                "artifact": os.path.abspath(artifact),
                "target": manifest["target"],
                "folder": name,
                "input": str(folder / INPUT_FILE),
                "output": str(folder / f"{runtime}-{count}.npy"),
            }
            for count in threads
            for runtime in runtimes
            for _ in range(1 if runtime == PEAK else contexts)
        ]
        tell(0, total, f"starting {len(requests)} processes")
        with workers(requests) as started:
            teams = [
                [w for w in started if (w.runtime, w.threads) == who]
                for who in dict.fromkeys((w.runtime, w.threads) for w in started)
            ]
            times = _take_turns(teams, rounds, {"seconds": seconds, **turn}, tell, total)
        made = _report(manifest, teams, times, folder, contexts)
        return dataclasses.replace(made, tolerance=ROUNDED) if rounded else made


def _take_turns(
    teams: Sequence[Sequence[Worker]],
    rounds: int,
    turn: Mapping[str, Any],
    tell: Progress,
    total: int,
) -> list[list[float]]:
    """Return the times of each team's calls; the workers of a team run together."""
    times: list[list[float]] = [[] for _ in teams]
    done = total - rounds * len(teams)
    for number, at in in_turn(rounds, len(teams)):
        team = teams[at]
        tell(done, total, f"round {number}: {team[0].runtime}, {team[0].threads} threads")
        for worker in team:
            worker.begin(**turn)
        taken = [time for worker in team for time in worker.end(**turn)["times"]]
        _log.info(
            "round %d: %s, %d threads, %d calls, median %.3f ms",
            *(number, team[0].runtime, team[0].threads),
            *(len(taken), 1e3 * float(np.median(taken))),
        )
        times[at] += taken
        done += 1
    tell(total, total, "done")
    return times


def _report(
    manifest: Mapping[str, Any],
    teams: Sequence[Sequence[Worker]],
    times: Sequence[list[float]],
    folder: Path,
    contexts: int,
) -> BenchReport:
    peaks: dict[int, float] = {}
    spreads: dict[int, float] = {}
    faster = of_calls(TargetSpec.from_dict(manifest["target"]), manifest["calls"])
    rows = []
    for (worker, *_), samples in zip(teams, times, strict=True):
        if worker.runtime == PEAK:
            each = worker.threads // contexts
            peak, spreads[each] = peak_of(samples, worker.operations)
            peaks[each] = peak * faster
            continue
        row = Row.of(
            worker.runtime,
            worker.threads,
            samples,
            contexts,
            relative_error=_difference(folder, worker),
            version=version_of(worker.runtime),
        )
        rows.append(row)
    return BenchReport(
        manifest["title"],
        manifest["macs"],
        peaks,
        tuple(rows),
        spreads,
        batch=int(manifest["inputs"][0]["shape"][0]),
        contexts=contexts,
    )


def _difference(folder: Path, worker: Worker) -> float:
    from tvm_mobilenet.models.reference import relative_error

    ours = np.load(folder / f"{OURS}-{worker.threads}.npy")
    theirs = np.load(folder / f"{worker.runtime}-{worker.threads}.npy")
    return relative_error(theirs.reshape(ours.shape), ours)


def _write_for_peers(network: Network, against: Sequence[str], folder: Path) -> None:
    if network.records:
        write_in_integers(network, against, folder, np.load(folder / INPUT_FILE))
        return
    model, weights = network.model, network.weights
    if "ncnn" in against:
        write_ncnn(model, weights, folder / NCNN_PARAM, folder / NCNN_BIN)
    if "litert" in against:
        write_tflite(model, weights, folder / TFLITE_FILE)
    if network.imported is not None:
        # Theirs as the file has it, its batch fixed to ours.
        (folder / ONNX_FILE).write_bytes(network.imported.source.SerializeToString())
    elif set(against) - {"ncnn", "litert"}:
        from tvm_mobilenet.models.onnx_export import export_onnx

        export_onnx(model, weights, folder / ONNX_FILE)

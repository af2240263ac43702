"""Latency on a board: the artifact and the peak there, in turns; other runtimes are not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tvm_mobilenet.bench.comparison import OURS, BenchReport, Row, peak_of
from tvm_mobilenet.bench.kernel import write
from tvm_mobilenet.bench.peak import CHAINS, chains_module, operations
from tvm_mobilenet.bench.rounds import check_batch, check_turns
from tvm_mobilenet.common.lists import Numbers, numbers
from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.device import Device, Session
from tvm_mobilenet.device.connection import Turns
from tvm_mobilenet.errors import InputError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.runtime.inputs import noise

_CALLS = (5, 1000)
"""Fewest and most calls of a turn."""


def bench_on(
    device: Device,
    artifact: str | os.PathLike[str],
    *,
    threads: Numbers = (1,),
    rounds: int = 10,
    seconds: float = 0.3,
    iterations: int | None = None,
    batch: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> BenchReport:
    """Time an artifact on a board, and the peak of its processor.

    Parameters
    ----------
    device : Device
        Opened; a session of its own is begun and ended.
    artifact : path-like
        Compiled for it.
    threads : int, str or sequence of int
        Numbers of threads.
    rounds : int
        Turns that network and peak take on each number.
    seconds : float
        Length of a turn of the network.
    iterations : int, optional
        Calls of a turn, instead.
    batch : int, optional
        Images a call that the artifact has to be compiled for.
    progress : callable, optional
        Told of every step.

    Returns
    -------
    BenchReport
        Times are of calls next to the network, without the way to the board.

    Raises
    ------
    ArtifactError
        The artifact is not for this board.
    DeviceError
        The board failed.
    InputError
        Numbers that make no sense.
    """
    threads = numbers(threads, "threads")
    tell = progress or (lambda done, total, text: None)
    check_turns(threads, rounds, seconds, iterations=iterations)
    total = len(threads) * (rounds + 1)
    samples: dict[int, list[float]] = {count: [] for count in threads}
    peaks: dict[int, list[float]] = {count: [] for count in threads}
    with device.session() as session:
        module = session.artifact(artifact)
        check_batch(module.manifest, os.fspath(artifact), batch)
        cores = module.board.target.cores
        if max(threads) > cores or min(threads) < 1:
            raise InputError(
                f"{max(threads)} threads asked for; {session.where} has {cores} cores",
                f"choose between 1 and {cores}",
            )
        spec = TargetSpec.from_dict(module.manifest["target"])
        x = noise(module.inputs[0])
        peak = {count: _peak_kernel(session, spec, count) for count in threads}
        for number in range(rounds):
            for place, count in enumerate(threads):
                tell(number * len(threads) + place, total, f"round {number + 1}: {count} threads")
                module.use_threads(count)
                first = min(module.latencies(x, repeats=2))
                calls = iterations or int(np.clip(seconds / first, *_CALLS))
                samples[count] += module.latencies(x, repeats=calls)
                session.use(*peak[count])
                peaks[count] += session.time_steps(repeats=1)
    tell(total, total, "done")
    version = str(module.manifest["producer"]).rpartition(" ")[2]
    rows = [Row.of(OURS, count, samples[count], version=version) for count in threads]
    gflops, spread = {}, {}
    for count in threads:
        gflops[count], spread[count] = peak_of(peaks[count], operations(count, spec.lanes))
    macs, images = module.manifest["macs"], int(module.inputs[0]["shape"][0])
    return BenchReport(module.title, macs, gflops, tuple(rows), spread, batch=images)


def _peak_kernel(session: Session, spec: TargetSpec, threads: int) -> tuple[int, Turns]:
    """Compile the kernel of :mod:`tvm_mobilenet.bench.peak` for the board, and put it there."""
    session.threads(threads)
    with scratch() as folder:
        made = Path(folder) / "peak.so"
        write(chains_module(threads, spec.lanes), spec, threads, made)
        kernel = session.kernel(session.upload(made))
    x = session.tensor(np.full(spec.lanes, 0.999, np.float32))
    y = session.tensor(np.zeros((threads, CHAINS, spec.lanes), np.float32))
    return kernel, session.turns([[x, y]])

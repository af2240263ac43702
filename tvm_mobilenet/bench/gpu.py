"""One comparison on a GPU: ours and PyTorch, a process each, one at a time, in turns."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvm_mobilenet.bench.comparison import OURS
from tvm_mobilenet.bench.gpu_comparison import TOLERANCE, TORCH, GpuReport, GpuRow
from tvm_mobilenet.bench.peers import version_of
from tvm_mobilenet.bench.pool import Worker, in_turn
from tvm_mobilenet.bench.rounds import ROUND_SECONDS, ROUNDS, Progress, check_batch, check_turns
from tvm_mobilenet.common.lists import Names, names
from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.errors import PeerError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.runtime.inputs import noise

PEER = "torch"
_PATIENCE_S = 900.0
"""For torch.compile to try its kernels."""

_QUERY = ("name", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit")


def bench_on_gpu(
    artifact: str | os.PathLike[str],
    manifest: Mapping[str, Any],
    *,
    against: Names = (),
    weights: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    rounds: int = ROUNDS,
    seconds: float = ROUND_SECONDS,
    batch: int | None = None,
    progress: Progress | None = None,
) -> GpuReport:
    """Time an artifact on the GPU of this machine, and PyTorch in three ways.

    Parameters
    ----------
    artifact : path-like
        Compiled for a GPU.
    manifest : mapping
        The artifact's.
    against : str or sequence of str
        ``"torch"``, or some of :data:`TORCH`.
    weights : path-like or mapping, optional
        For the peers; default: those that the manifest names.
    rounds : int
        Turns that each takes.
    seconds : float
        Wall-clock time of a turn.
    batch : int, optional
        Images a call that the artifact has to be compiled for.
    progress : callable, optional
        Told of every step.

    Returns
    -------
    GpuReport
        A peer that fails has a row that says why.

    Raises
    ------
    ArtifactError
        It cannot be loaded here; :class:`~tvm_mobilenet.errors.GpuError` among them.
    PeerError
        A peer is unknown or not installed, or ours failed.
    WeightsError
        The weights at hand are not the artifact's.
    """
    from tvm_mobilenet.models.network import network_of
    from tvm_mobilenet.runtime import check_here

    check_turns((1,), rounds, seconds)
    runtimes = (OURS, *_wanted(names(against)))
    check_batch(manifest, os.fspath(artifact), batch)
    check_here(manifest, os.fspath(artifact))
    target = TargetSpec.from_dict(manifest["target"])
    network = network_of(manifest, weights)
    tell = progress or (lambda done, total, text: None)
    total = len(runtimes) * (rounds + 1)
    with scratch() as name:
        folder = Path(name)
        np.save(folder / "input.npy", noise(manifest["inputs"][0]))
        arrays: dict[str, Any] = dict(network.weights) if len(runtimes) > 1 else {}
        np.savez(folder / "weights.npz", **arrays)
        request = {
            "gpu": True,
            "threads": 1,
            "artifact": os.path.abspath(artifact),
            "dtype": target.dtype,
            "manifest": {"model": manifest["model"]},
            "input": str(folder / "input.npy"),
            "weights": str(folder / "weights.npz"),
        }
        opened = _opened(request, runtimes, folder, lambda n, text: tell(n, total, text))
        with opened as (started, failed):
            times: dict[str, list[dict[str, list[float]]]] = {name: [] for name in runtimes}
            first = total - rounds * len(started)
            for done, (number, at) in enumerate(in_turn(rounds, len(started)), first):
                worker = started[at]
                tell(done, total, f"round {number}: {worker.runtime}")
                times[worker.runtime].append(worker.turn(seconds))
        tell(total, total, "done")
        rows = (_row(name, times[name], folder, failed.get(name, "")) for name in runtimes)
        return GpuReport(
            manifest["title"],
            target.name,
            target.dtype,
            int(manifest["inputs"][0]["shape"][0]),
            manifest["macs"],
            {**describe_gpu(target), **started[0].facts},
            tuple(rows),
            _predicted(network.model, target),
            TOLERANCE[target.dtype],
        )


@contextlib.contextmanager
def _opened(
    request: Mapping[str, Any],
    runtimes: Sequence[str],
    folder: Path,
    tell: Callable[[int, str], None],
) -> Iterator[tuple[list[Worker], dict[str, str]]]:
    """Start a worker for each runtime; yield them, and why peers failed, by their names."""
    started: list[Worker] = []
    failed: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for number, runtime in enumerate(runtimes):
            tell(number, f"starting {runtime}")
            own = {"runtime": runtime, "output": str(folder / f"{runtime}.npy")}
            try:
                worker = Worker({**request, **own}, patience=_PATIENCE_S)
            except PeerError as error:
                if runtime == OURS:
                    raise
                failed[runtime] = error.what
                continue
            stack.callback(worker.close)
            started.append(worker)
        yield started, failed


def describe_gpu(target: TargetSpec) -> dict[str, str]:
    """Say what runs a target's kernels here: of an NVIDIA GPU what nvidia-smi knows."""
    facts = {"host": os.uname().machine}
    for package in ("apache-tvm", "torch", "triton", "pyopencl"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts[package] = importlib.metadata.version(package)
    program = shutil.which("nvidia-smi")
    if target.gpu is not None and target.gpu.kind == "cuda" and program:
        command = [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        values = "".join(told.stdout.splitlines()[:1]).split(",")
        facts |= {name: value.strip() for name, value in zip(_QUERY, values, strict=False)}
    return facts


def _wanted(against: Sequence[str]) -> tuple[str, ...]:
    """Return the ways of PyTorch that are asked for."""
    found: dict[str, None] = {}
    for name in against:
        if name != PEER and name not in TORCH:
            raise PeerError(
                f"no runtime {name!r} to compare with on a GPU",
                f"known: {PEER}, which is {', '.join(TORCH)}",
            )
        found |= dict.fromkeys(TORCH if name == PEER else (name,))
    if found and importlib.util.find_spec(PEER) is None:
        raise PeerError(f"{PEER} is not installed", "pip install torch")
    return tuple(found)


def _row(runtime: str, turns: list[dict[str, list[float]]], folder: Path, failed: str) -> GpuRow:
    from tvm_mobilenet.models.reference import relative_error

    version = version_of(runtime if runtime == OURS else PEER)
    if failed:
        return GpuRow(runtime, version, failed=failed)
    device = np.array([time for turn in turns for time in turn["device"]]) * 1e3
    host = np.array([time for turn in turns for time in turn["host"]]) * 1e3
    ours, theirs = (np.load(folder / f"{name}.npy") for name in (OURS, runtime))
    low, middle, high = (float(q) for q in np.quantile(device, [0.1, 0.5, 0.9]))
    difference = relative_error(theirs.reshape(ours.shape).astype(np.float32), ours)
    return GpuRow(runtime, version, middle, low, high, float(np.median(host)), difference)


def _predicted(model: Any, target: TargetSpec) -> float | None:
    """Return the roofline's milliseconds; None where the target's numbers are of no one GPU."""
    from tvm_mobilenet.network.explain import explain
    from tvm_mobilenet.network.planning import plan_network

    if target.gpu is None or target.gpu.kind != "cuda":
        return None
    return explain(plan_network(model, target)).total.cycles / target.gpu.clock_mhz / 1e3

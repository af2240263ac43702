"""Whether layers should share a kernel: measured in two whole networks, in turns."""

from __future__ import annotations

import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.host import processor_name
from tvm_mobilenet.operators.workload import workload_key
from tvm_mobilenet.tuning.records import Record, rounded, target_key

_WARM_UP = 5
_SIGMAS = 4.0
_LEAST = 0.02
"""Beyond noise: so many standard errors, and so large a part of the time. V1's block 12 on one
Zen 5 core was 0.8% faster fused in one build and 1.8% slower in another, each in all rounds."""

_CALL_SECONDS = 0.1e-6
"""A call of a kernel and reading the clock around it (0.06 µs on Zen 4): no gain if it is all
there is."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One shared kernel against the kernels that it stands for.

    Attributes
    ----------
    operator, workload : str
        Name and key of the shared kernel.
    fused, unfused : ndarray of float64
        (rounds, passes), seconds inside the network; means over the network's blocks of
        this workload. A round is a process of its own.
    """

    operator: str
    workload: str
    fused: NDArray[np.float64]
    unfused: NDArray[np.float64]

    @property
    def gains(self) -> NDArray[np.float64]:
        """What sharing saves, a part of the time without, for each round."""
        saved = np.median(self.unfused - self.fused, axis=1)
        return np.asarray(saved / np.median(self.unfused, axis=1))

    @property
    def is_beyond_noise(self) -> bool:
        """Whether all rounds agree about who is faster, by more than they differ."""
        gains = self.gains
        if len(gains) < 3 or len(set(np.sign(gains))) != 1:
            return False
        error = gains.std(ddof=1) / len(gains) ** 0.5
        least = max(_LEAST, _CALL_SECONDS / float(np.median(self.unfused)))
        return bool(abs(gains.mean()) > max(least, _SIGMAS * error))


def compare(
    unfused: str | os.PathLike[str],
    fused: str | os.PathLike[str],
    threads: int,
    rounds: int = 5,
    passes: int = 60,
) -> list[Compared]:
    """Measure two artifacts of one network, one compiled with each answer, kernel by kernel.

    Kernels run in their order on the network's own buffers, so each finds the caches as
    its predecessors leave them; the two networks take turns. Each round is a process of its
    own with a copy of the files of its own: where the system puts buffers and weights in
    memory is worth several percent.

    Parameters
    ----------
    unfused, fused : path-like
        Compiled with ``fusion="none"`` and ``fusion="all"``.

    Raises
    ------
    ArtifactError
        This machine does not run them.
    """
    context = multiprocessing.get_context("spawn")
    request = (os.fspath(unfused), os.fspath(fused), threads, passes)
    found: list[Any] = []
    for _ in range(rounds):
        with context.Pool(1) as pool:
            found.append(pool.apply(_round, request))
    names = list(found[0])
    return [
        Compared(
            operator,
            workload,
            np.array([one[operator, workload][0] for one in found]),
            np.array([one[operator, workload][1] for one in found]),
        )
        for operator, workload in names
    ]


def records_of(
    compared: Iterable[Compared], target: TargetSpec, threads: int, error: float, tvm: str
) -> list[Record]:
    """Make records of what is beyond noise.

    Parameters
    ----------
    target : TargetSpec
        What the artifacts are for.
    error : float
        The larger of the artifacts' relative errors against the reference.
    tvm : str
        Version that compiled them.
    """
    records = []
    for one in compared:
        if not one.is_beyond_noise:
            continue
        wins = bool(one.gains.mean() > 0)
        taken, other = (one.fused, one.unfused) if wins else (one.unfused, one.fused)
        low, seconds, high = np.quantile(taken, [0.25, 0.5, 0.75])
        records.append(
            Record(
                kind="fusion",
                operator=one.operator,
                workload=one.workload,
                target=target_key(target),
                threads=threads,
                fused=wins,
                seconds=rounded(seconds),
                instead=rounded(float(np.median(other))),
                repeats=taken.size,
                spread=rounded((high - low) / seconds),
                machine=f"{processor_name()}, in the network",
                date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                verified=True,
                error=rounded(error),
                tvm=tvm,
            )
        )
    return records


def _round(
    unfused: str, fused: str, threads: int, passes: int
) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """Return, by operator and workload, the seconds of every pass: fused and unfused."""
    from tvm_mobilenet.runtime import load

    # Loading copies the files, every round to other pages of memory, and some are slower.
    two, one = (load(path, threads) for path in (unfused, fused))
    shape = tuple(two.manifest["inputs"][0]["shape"])
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    kernels = two.kernels(x), one.kernels(x)
    times: tuple[list[list[float]], list[list[float]]] = [], []
    for number in range(_WARM_UP + passes):
        for network, runs in zip(kernels, times, strict=True):
            network.replay()  # the caches are those that this network leaves
            marks = network.replay()
            if number >= _WARM_UP:
                runs.append(marks)
    return _blocks(two.manifest["calls"], one.manifest["calls"], *map(np.array, times))


def _blocks(
    two: Sequence[Mapping[str, Any]],
    one: Sequence[Mapping[str, Any]],
    two_us: NDArray[np.float64],
    one_us: NDArray[np.float64],
) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """Add up, for each shared kernel, the kernels that compute its layers without sharing."""
    unfused = {layer: number for number, call in enumerate(two) for layer in call["layers"]}
    found: dict[tuple[str, str], list[tuple[Any, Any]]] = defaultdict(list)
    for number, call in enumerate(one):
        parts = sorted({unfused[layer] for layer in call["layers"]})
        if "fusion" in call and call["fusion"]["fused"]:
            times = one_us[:, number], two_us[:, parts].sum(axis=1)
            found[call["operator"], workload_key(call["kernel"])].append(times)
    return {
        name: (
            list(np.mean([fused for fused, _ in blocks], axis=0) / 1e6),
            list(np.mean([parts for _, parts in blocks], axis=0) / 1e6),
        )
        for name, blocks in found.items()
    }

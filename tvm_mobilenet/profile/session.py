"""One profile: the machine first, then the network, then its kernels one by one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.bench.machine import Machine, measure_machine, measure_peak
from tvm_mobilenet.bench.peak import times_float32
from tvm_mobilenet.common.tables import layers_of
from tvm_mobilenet.errors import ArtifactError, InputError
from tvm_mobilenet.profile.bounds import bounds_of, moved_maps
from tvm_mobilenet.profile.breakdown import KernelProfile, ProfileReport
from tvm_mobilenet.runtime import load
from tvm_mobilenet.runtime.inputs import noise
from tvm_mobilenet.runtime.kernels import Split
from tvm_mobilenet.runtime.loaded import Loaded, LoadedArtifact, OnDevice

if TYPE_CHECKING:
    from tvm_mobilenet.machine import TargetSpec

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what comes next."""

REPEATS = 40
_MACHINE_STEPS = 4
_ATTEMPTS = 3
"""Times that a peak which kernels exceed is measured again."""


def profile(
    artifact: str | os.PathLike[str] | Loaded,
    *,
    threads: int | None = None,
    repeats: int = REPEATS,
    progress: Progress | None = None,
) -> ProfileReport:
    """Time every kernel of an artifact in the network and alone, and measure its bounds.

    Nothing is compiled but the kernels that measure the machine, in processes of
    their own.

    Parameters
    ----------
    artifact : path-like or Loaded
        Compiled by this package for this machine; for its processor.
    threads : int, optional
        As for :func:`tvm_mobilenet.load`; a module brings its own.
    repeats : int
        Runs of the network to take medians of.
    progress : callable, optional
        Told of every step.

    Returns
    -------
    ProfileReport
        All kernels in the order of execution, and the roofs measured just before.

    Raises
    ------
    ArtifactError
        The artifact cannot be loaded here, or does not say what its kernels move.
    InputError
        More threads than processors, or no repeats; or it is for a GPU.
    """
    from tvm_mobilenet.machine import TargetSpec

    module = artifact if isinstance(artifact, LoadedArtifact) else load(artifact, threads)
    if isinstance(module, OnDevice):
        raise InputError(
            f"{module.path} runs on a GPU, and this measures what a processor could do",
            "use tvm_mobilenet.profile.gpu.profile_on_gpu, as `tvm-mobilenet profile` does",
        )
    manifest = module.manifest
    _check(module, repeats)
    tell = progress or (lambda done, total, text: None)
    before = _busy_seconds()
    done, total = 0, _MACHINE_STEPS + len({call["kernel"] for call in manifest["calls"]}) + 1

    def step(text: str) -> None:
        nonlocal done
        tell(min(done, total), total, text)
        done += 1

    spec = TargetSpec.from_dict(manifest["target"])
    machine = measure_machine(spec, module.threads, step)
    done = _MACHINE_STEPS
    x = noise(manifest["inputs"][0])
    step("the network")
    timed = module.profile(x, repeats)
    alone = _alone(module.kernels(x), manifest, step)
    # A weight was last used one call ago, and all the others came after it.
    cold = machine.level_of(sum(call["bytes"]["weights"] for call in manifest["calls"]))
    for attempt in range(_ATTEMPTS + 1):
        rows = tuple(
            _row(call, network, alone[call["kernel"]], machine, cold, spec=spec)
            for call, network in timed.calls
        )
        if attempt == _ATTEMPTS or all(row.share <= 1 for row in rows):
            break
        # Nothing is faster than the peak: others had the processors when it was measured, and
        # its calls are longer than a kernel's, so that more of them are interrupted.
        tell(total - 1, total, "the peak again")
        _, spread, best = measure_peak(spec, module.threads)
        machine = machine.with_peak(best, spread)
    seconds, others = (now - then for now, then in zip(_busy_seconds(), before, strict=True))
    tell(total, total, "done")
    target = f"{manifest['target']['name']} ({manifest['target']['cpu'] or 'baseline'})"
    return ProfileReport(
        manifest["title"], target, machine, rows, timed.total, max(0.0, others / seconds)
    )


def _check(module: Loaded, repeats: int) -> None:
    here = len(os.sched_getaffinity(0))
    if module.threads > here:
        raise InputError(
            f"{module.threads} threads asked for; this process may run on {here} processors",
            f"choose between 1 and {here}",
        )
    if repeats < 1:
        raise InputError(f"repeats is {repeats}", "give a positive number")
    if not all("bytes" in call for call in module.manifest["calls"]):
        raise ArtifactError(
            f"{module.path} does not say how many bytes its kernels move: it is from an older "
            "version of this package",
            "compile the model again",
        )


def _alone(
    kernels: Any, manifest: Mapping[str, Any], step: Callable[[str], None]
) -> dict[str, tuple[float, Split]]:
    """Time each kernel once, however many layers share it."""
    found: dict[str, tuple[float, Split]] = {}
    for position, call in enumerate(manifest["calls"]):
        if call["kernel"] not in found:
            step(" + ".join(layers_of(call)))
            found[call["kernel"]] = kernels.alone(position), kernels.split(position)
    return found


def _row(
    call: Mapping[str, Any],
    network_us: float,
    alone: tuple[float, Split],
    machine: Machine,
    cold: str,
    *,
    spec: TargetSpec,
) -> KernelProfile:
    alone_us, split = alone
    faster = times_float32(spec, call.get("stored", "float32"))
    return KernelProfile(
        **bounds_of(
            call,
            2 * call["macs"] / machine.peak_gflops / faster / 1e3,
            machine.level_of(moved_maps(call)),
            cold,
            lambda level: machine.bandwidth[level] * 1e3,
        ),
        moved=dict(call["bytes"]),
        network_us=network_us,
        alone_us=alone_us,
        split=split,
        threads=machine.threads,
    )


def _busy_seconds() -> tuple[float, float]:
    """Return the time now, and the processor time of others since this machine started."""
    times = os.times()
    ours = times.user + times.system + times.children_user + times.children_system
    with open("/proc/stat") as file:
        # user, nice, system, idle, iowait, irq, softirq; guests are in user already.
        ticks = [int(field) for field in file.readline().split()[1:8]]
    busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
    return times.elapsed, busy - ours

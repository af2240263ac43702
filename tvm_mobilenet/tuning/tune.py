"""From a network to tuned kernels: what to tune, and the run around the tuner."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tvm_mobilenet.bench.machine import measure_machine
from tvm_mobilenet.device.description import EMULATED
from tvm_mobilenet.errors import TuningError
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.fusion import Fusion
from tvm_mobilenet.stacks import installed_stack
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.tuning import model as cost
from tvm_mobilenet.tuning.boards import Place
from tvm_mobilenet.tuning.finals import settle
from tvm_mobilenet.tuning.gpu_timing import machine_of
from tvm_mobilenet.tuning.log import append
from tvm_mobilenet.tuning.own_logs import keep_own_log
from tvm_mobilenet.tuning.records import target_key, threads_of
from tvm_mobilenet.tuning.report import Status, TuningReport
from tvm_mobilenet.tuning.runs import RUNS, Network, Part, Roofs, Runs, Spent, read_runs
from tvm_mobilenet.tuning.store import HISTORY, Found, Store
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.trials import History, read_history
from tvm_mobilenet.tuning.tuner import Tuner

_ROOFS_FROM = 100
"""Trials in a folder that make five seconds for its machine's bandwidth worth while."""

_EVERY_S = 5.0
"""Between two lines about the time that was spent."""


def workloads(
    model: Model, target: TargetSpec, fusion: Fusion, found: Found
) -> tuple[dict[str, tuple[Workload, int]], dict[str, Part]]:
    """Return the kernels that a compilation would call, by key: work and calls, and facts.

    The facts are without the rule's knobs: nobody has asked the schedules yet.

    Parameters
    ----------
    model : Model
    target : TargetSpec
    fusion : {"auto", "all", "none"}
    found : Found
        Records that decide about fusion.
    """
    plan = plan_network(
        model, target, stack=installed_stack(), fusion=fusion, fusion_for=found.fusion_for
    )
    works: dict[str, tuple[Workload, int]] = {}
    parts: dict[str, Part] = {}
    for call in plan.calls:
        key, before = call.work.key, parts.get(call.work.key)
        layers = (*(before.layers if before else ()), call.output.name)
        works[key] = (call.work, len(layers))
        parts[key] = Part(len(layers), layers, call.work.macs, call.moved_bytes, {})
    return works, parts


def tune(
    model: Model,
    target: TargetSpec,
    log_dir: Path,
    settings: Settings,
    *,
    fusion: Fusion,
    found: Found,
    tell: Callable[[Status], object],
    place: Place | None = None,
) -> TuningReport:
    """Tune every kernel of a network, here or at a place; see :func:`tvm_mobilenet.tune`."""
    cost.check_installed()
    if target.gpu is not None:
        # First what no machine can do, then what this one cannot.
        if settings.tuner != "template":
            raise TuningError(
                f"MetaSchedule proposes nothing for {target.name}: its traces are for processors",
                "leave --tuner out: the knobs of our own schedules",
            )
        _check_gpu(target, place)
    elif place is None:
        _check_here(target)
    elif place.emulated and log_dir.resolve().is_relative_to(Store().root.resolve()):
        raise TuningError(
            f"{place.address} is {place.machine}, and its times mean nothing",
            "give another --log-dir than the package's own records",
        )
    works, parts = workloads(model, target, fusion, found)
    if not works:
        raise TuningError(f"{model.title} has no kernel of ours", "there is nothing to tune")
    key = target_key(target)
    store = Store(log_dir)
    with store.writing() as writer:
        # Compiling with this folder has to come to the same kernels.
        own = store.find(target).fusions
        for workload, record in found.fusions.items():
            if workload not in own:
                writer.keep(record)
        history = read_history(log_dir / HISTORY, key, threads_of(target))
        runs = read_runs(log_dir / RUNS)
        books = _Books(log_dir / RUNS, model.title, target)
        _check_history(history, place, machine_of(target) if target.gpu is not None else "")
        tell = books.telling(tell)
        tuner = Tuner(works, target, history, writer, settings, tell, place)
        books.open(tuner, parts, runs)
        with tuner.shop.ready():
            tuner.run()
            rows, problems = settle(tuner, history.finals)
        keep_own_log(tuner, settings.tuner, log_dir / key)
        books.close(tuner, runs, here=place is None)
    return TuningReport(
        model.title,
        key,
        threads_of(target),
        tuple(rows),
        tuner.status(),
        (*map(str, history.damaged), *map(str, runs.damaged), *tuner.problems, *problems),
        str(log_dir),
    )


class _Books:
    """Writes beside the history what the trials were for, and what they cost."""

    def __init__(self, path: Path, title: str, target: TargetSpec) -> None:
        self._path, self._target = path, target
        self._facts: dict[str, Any] = {"target": target_key(target), "threads": threads_of(target)}
        self._title = title
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._run = f"{now} process {os.getpid()}"
        self._last = time.monotonic()

    def telling(self, tell: Callable[[Status], object]) -> Callable[[Status], None]:
        """Pass every Status on, and write now and then where the time went."""

        def told(status: Status) -> None:
            tell(status)
            if time.monotonic() - self._last >= _EVERY_S:
                self._spent(status)

        return told

    def open(self, tuner: Tuner, parts: Mapping[str, Part], runs: Runs) -> None:
        """Write what is tuned, unless that is known."""
        ruled = {
            key: dataclasses.replace(part, rule=tuner.tasks[key].explorer.space.rule)
            for key, part in parts.items()
        }
        count = tuner.shop.operations
        network = Network(model=self._title, operations=count, parts=ruled, **self._facts)
        if runs.networks.get((network.group, network.model)) != network:
            append(self._path, network)

    def close(self, tuner: Tuner, runs: Runs, here: bool) -> None:
        """Write the end of a run, and once how fast this machine reads, if it measured."""
        status = tuner.status()
        if status.building_s or status.measuring_s:
            self._spent(status)
        group = (self._facts["target"], self._facts["threads"])
        if (
            here
            and self._target.gpu is None
            and tuner.done >= _ROOFS_FROM
            and group not in runs.roofs
        ):
            bandwidth = measure_machine(self._target, self._target.cores).bandwidth
            append(self._path, Roofs(bandwidth=bandwidth, **self._facts))

    def _spent(self, status: Status) -> None:
        self._last = time.monotonic()
        line = Spent(
            run=self._run,
            model=self._title,
            trials=status.fresh,
            seconds=round(status.seconds, 2),
            building_s=round(status.building_s, 2),
            measuring_s=round(status.measuring_s, 2),
            **self._facts,
        )
        append(self._path, line)


def _check_history(history: History, place: Place | None, gpu: str) -> None:
    """Refuse to compare an emulator's times with a processor's, or those of two GPUs."""
    machines = {trial.machine for trial in history.trials}
    emulated = place is not None and place.emulated
    if any((EMULATED in machine) != emulated for machine in machines):
        raise TuningError(
            f"what was measured there is of {', '.join(sorted(machines))}",
            "an emulator's times compare with no other's: give another --log-dir",
        )
    if gpu and machines - {gpu}:
        raise TuningError(
            f"what was measured there is of {', '.join(sorted(machines))}, and this is {gpu}",
            "times of two GPUs do not compare: give another --log-dir",
        )


def _check_gpu(target: TargetSpec, place: Place | None) -> None:
    """Refuse a GPU that nothing here runs code on.

    Raises
    ------
    TuningError
    NoGpuError, GpuArchitectureError, GpuDriverError
    """
    if installed_stack() == "relay":
        raise TuningError(
            f"the classic stack tunes for processors, not for {target.name}",
            "tune with the main stack; the classic one's schedules go by the same rules",
        )
    if place is not None or target.the_gpu.kind == "metal":
        where = place.address if place else "this machine"
        raise TuningError(
            f"kernels for {target.name} cannot be measured on {where}",
            "tune on the machine that has the GPU, with --device local; Metal not at all",
        )
    machine_of(target)


def _check_here(target: TargetSpec) -> None:
    """Refuse a target that this machine cannot run."""
    from tvm_mobilenet.target.host import host_cpu_features, host_machine
    from tvm_mobilenet.target.quota import usable_cores

    missing = sorted(set(target.needs) - host_cpu_features())
    if target.machine != host_machine() or missing:
        lacks = f"this processor lacks {', '.join(missing)}" if missing else "this is another"
        raise TuningError(
            f"{target.name} cannot be measured here: {lacks}", "tune on a machine of that kind"
        )
    if target.cores > usable_cores():
        raise TuningError(
            f"{target.name} is planned for {target.cores} cores, and this process has "
            f"{usable_cores()}",
            "give --cores",
        )

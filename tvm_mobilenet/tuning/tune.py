"""From a network to tuned kernels: the run around the tuner."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from tvm_mobilenet.device.description import EMULATED
from tvm_mobilenet.errors import TuningError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.quantized.model import Quantization
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.prediction.fusion import Fusion
from tvm_mobilenet.tuning.board_pool import BoardPool
from tvm_mobilenet.tuning.cost_model import check_installed
from tvm_mobilenet.tuning.finals import settle
from tvm_mobilenet.tuning.measurer import Measurer
from tvm_mobilenet.tuning.measurers import find_measurer
from tvm_mobilenet.tuning.own_logs import keep_own_log
from tvm_mobilenet.tuning.records import target_key, threads_of
from tvm_mobilenet.tuning.run_book import RunBook
from tvm_mobilenet.tuning.runs import RUNS, read_runs
from tvm_mobilenet.tuning.status import Status
from tvm_mobilenet.tuning.store import HISTORY, Found, Store, Writer
from tvm_mobilenet.tuning.summary import report_of
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.trials import History, read_history
from tvm_mobilenet.tuning.tuner import Tuner
from tvm_mobilenet.tuning.tuning_report import TuningReport
from tvm_mobilenet.tuning.works import workloads


def tune(
    model: Model,
    target: TargetSpec,
    log_dir: Path,
    settings: Settings,
    *,
    fusion: Fusion,
    found: Found,
    tell: Callable[[Status], object],
    pool: BoardPool | None = None,
    integers: Mapping[str, Quantization] = MappingProxyType({}),
) -> TuningReport:
    """Tune every kernel of a network, here or on boards; see :func:`tvm_mobilenet.tune`.

    Parameters
    ----------
    integers : mapping of str to Quantization
        The layers that compute in integers, and how.
    """
    check_installed()
    _check_asked(target, settings, pool, log_dir)
    written = " and ".join(_written(target, integers))
    if written and settings.tuner != "template":
        raise TuningError(
            f"{settings.tuner} proposes nothing for kernels in {written}: they are written with "
            "their loops",
            "leave --tuner out: the knobs of our own schedules",
        )
    measurer = find_measurer(target, settings, pool)
    works, parts = workloads(model, target, fusion, found, integers)
    if not works:
        raise TuningError(f"{model.title} has no kernel of ours", "there is nothing to tune")
    store = Store(log_dir)
    with store.writing() as writer:
        _copy_fusions(found, store.find(target), writer)
        history = read_history(log_dir / HISTORY, target_key(target), threads_of(target))
        _check_history(history, measurer, target.gpu is not None)
        title = f"{model.title} in {written}" if written else model.title
        book = RunBook(log_dir / RUNS, title, target)
        tuner = Tuner(works, target, history, writer, settings, measurer, book.telling(tell))
        network = book.open(tuner, parts)
        with tuner.ready():
            tuner.run()
            finals, problems = settle(tuner, history.finals)
        keep_own_log(tuner, settings.tuner, log_dir / target_key(target))
        book.close(tuner)
    damaged = (*history.damaged, *book.runs.damaged)
    known = History(tuner.trials, finals, damaged)
    runs = read_runs(log_dir / RUNS)
    report = report_of(network.group, known, runs, log_dir, network=network)
    return dataclasses.replace(
        report,
        rows=tuple(row.settled() for row in report.rows),
        status=tuner.status(),
        problems=(*map(str, damaged), *tuner.problems, *problems),
    )


def _written(target: TargetSpec, integers: Mapping[str, Quantization]) -> list[str]:
    """Return the types whose kernels are written with their loops, of those that there are."""
    halves = ["bfloat16"] if target.dtype == "bfloat16" else []
    return ["int8", *halves] if integers else halves


def _check_asked(
    target: TargetSpec, settings: Settings, pool: BoardPool | None, log_dir: Path
) -> None:
    """Refuse what no machine can do, and times that mean nothing among the package's own."""
    if target.gpu is not None and settings.tuner != "template":
        raise TuningError(
            f"MetaSchedule proposes nothing for {target.name}: its traces are for processors",
            "leave --tuner out: the knobs of our own schedules",
        )
    if pool and pool.emulated and log_dir.resolve().is_relative_to(Store().root.resolve()):
        raise TuningError(
            f"{pool.address} is {pool.machine}, and its times mean nothing",
            "give another --log-dir than the package's own records",
        )


def _copy_fusions(found: Found, own: Found, writer: Writer) -> None:
    """Let compiling with the folder come to the same kernels."""
    for workload, record in found.fusions.items():
        if workload not in own.fusions:
            writer.keep(record)


def _check_history(history: History, measurer: Measurer, is_gpu: bool) -> None:
    """Refuse to compare an emulator's times with a processor's, or those of two GPUs."""
    machines = {trial.machine for trial in history.trials}
    if any((EMULATED in machine) != measurer.emulated for machine in machines):
        raise TuningError(
            f"what was measured there is of {', '.join(sorted(machines))}",
            "an emulator's times compare with no other's: give another --log-dir",
        )
    here = measurer.machine
    if is_gpu and machines - {here}:
        raise TuningError(
            f"what was measured there is of {', '.join(sorted(machines))}, and this is {here}",
            "times of two GPUs do not compare: give another --log-dir",
        )

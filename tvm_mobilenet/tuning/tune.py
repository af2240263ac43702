"""From a network to tuned kernels: what to tune, and the run around the tuner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tvm_mobilenet.compute.workload import Workload
from tvm_mobilenet.errors import TuningError
from tvm_mobilenet.graph.fusion import Fusion
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.tuning import model as cost
from tvm_mobilenet.tuning.finals import settle
from tvm_mobilenet.tuning.records import target_key
from tvm_mobilenet.tuning.report import Status, TuningReport
from tvm_mobilenet.tuning.store import HISTORY, Found, Store
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.trials import read_history
from tvm_mobilenet.tuning.tuner import Tuner


def workloads(
    model: Model, target: TargetSpec, fusion: Fusion, found: Found
) -> dict[str, tuple[Workload, int]]:
    """Return the kernels that a compilation would call, and how often, by key.

    Parameters
    ----------
    model : Model
    target : TargetSpec
    fusion : {"auto", "all", "none"}
    found : Found
        Records that decide about fusion.
    """
    from tvm_mobilenet.graph.pipeline import lower
    from tvm_mobilenet.models.weights import initialize

    lowered = lower(
        model,
        initialize(model, 0),
        target,
        lambda _: None,
        fusion=fusion,
        fusion_for=found.fusion_for,
    )
    calls = Counter(call.kernel for call in lowered.calls)
    return {key: (work, calls[key]) for key, work in lowered.works.items() if calls[key]}


def tune(
    model: Model,
    target: TargetSpec,
    log_dir: Path,
    settings: Settings,
    *,
    fusion: Fusion,
    found: Found,
    tell: Callable[[Status], object],
) -> TuningReport:
    """Tune every kernel of a network on this machine; see :func:`tvm_mobilenet.tune`."""
    cost.check_installed()
    _check_here(target)
    works = workloads(model, target, fusion, found)
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
        history = read_history(log_dir / HISTORY, key, target.cores)
        tuner = Tuner(works, target, history, writer, settings, tell)
        tuner.run()
        rows, problems = settle(tuner, history.finals)
    return TuningReport(
        model.title,
        key,
        target.cores,
        tuple(rows),
        tuner.status(),
        (*map(str, history.damaged), *problems),
        str(log_dir),
    )


def _check_here(target: TargetSpec) -> None:
    """Refuse a target that this machine cannot run."""
    from tvm_mobilenet.runtime.threads import available_threads
    from tvm_mobilenet.target.host import host_cpu_features, host_machine

    missing = sorted(set(target.needs) - host_cpu_features())
    if target.machine != host_machine() or missing:
        lacks = f"this processor lacks {', '.join(missing)}" if missing else "this is another"
        raise TuningError(
            f"{target.name} cannot be measured here: {lacks}", "tune on a machine of that kind"
        )
    if target.cores > available_threads():
        raise TuningError(
            f"{target.name} is planned for {target.cores} cores, and this process has "
            f"{available_threads()}",
            "give --cores",
        )

"""What a folder of trials amounts to: its reports.

Nothing is measured here, and nothing compiled: all comes from the lines that a tuning run
left, however it ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tvm_mobilenet.errors import RecordsError
from tvm_mobilenet.tuning.finals import LEAST_GAIN
from tvm_mobilenet.tuning.runs import RUNS, Group, Network, Part, Runs, read_runs
from tvm_mobilenet.tuning.space import identity
from tvm_mobilenet.tuning.store import HISTORY
from tvm_mobilenet.tuning.trials import Final, History, Trial, comparable, control_of, read_groups
from tvm_mobilenet.tuning.tuning_report import State, Step, Summary, TunedKernel, TuningReport


def summarize(folder: Path) -> Summary:
    """Read a folder that a tuning run wrote to, or is writing to.

    Raises
    ------
    RecordsError
        There is no such folder, nothing in it is of a tuning run, or it cannot be read.
    """
    history = folder / HISTORY
    if not folder.is_dir():
        raise RecordsError(f"there is no folder {str(folder)!r}", "name the --log-dir of `tune`")
    if not history.exists() and not (folder / RUNS).exists():
        raise RecordsError(
            f"{str(folder)!r} holds no {HISTORY}: nothing was tuned there",
            "name the --log-dir of `tune`",
        )
    groups, damaged = read_groups(history)
    runs = read_runs(folder / RUNS)
    reports = [
        replace(report, rows=tuple(sorted(report.rows, key=lambda r: r.before_s, reverse=True)))
        for group in sorted({*groups, *(group for group, _ in runs.networks)})
        for report in _reports(group, groups.get(group, History((), {}, ())), runs, folder)
    ]
    return Summary(folder, tuple(reports), (*damaged, *runs.damaged))


def _reports(group: Group, history: History, runs: Runs, folder: Path) -> list[TuningReport]:
    """Share a group's trials out to its networks; what no network has is a report of its own."""
    networks = [network for (of, _), network in runs.networks.items() if of == group]
    reports = [report_of(group, history, runs, folder, network=network) for network in networks]
    known = {key for network in networks for key in network.parts}
    others = {
        trial.workload: Part(1, (), 0, 0, trial.knobs)
        for trial in reversed(history.trials)
        if trial.workload not in known
    }
    if others:
        reports.append(report_of(group, history, runs, folder, others=others))
    return reports


def report_of(
    group: Group,
    history: History,
    runs: Runs,
    folder: Path,
    *,
    network: Network | None = None,
    others: Mapping[str, Part] | None = None,
) -> TuningReport:
    """Make the report of a network, or of `others`: kernels that belong to none.

    The history is the group's own, its trials and its last comparisons.
    """
    title, parts = (network.model, network.parts) if network else ("", others or {})
    control = control_of(history.trials)
    peak = network.operations / control / 1e9 if network and control else 0.0
    trials = [trial for trial in history.trials if trial.workload in parts]
    rows = [
        _row(
            workload,
            part,
            [trial for trial in trials if trial.workload == workload],
            history.finals.get(workload),
            control=control,
            peak=peak,
        )
        for workload, part in parts.items()
    ]
    return TuningReport(
        title,
        *group,
        tuple(rows),
        tuple(_steps(trials, parts, control)),
        Counter(trial.outcome for trial in trials if trial.outcome != "ok"),
        tuple(one for one in runs.spent if (one.target, one.threads, one.model) == (*group, title)),
        peak,
        runs.roofs.get(group),
        str(folder),
    )


def _row(
    workload: str,
    part: Part,
    trials: Sequence[Trial],
    final: Final | None,
    *,
    control: float,
    peak: float,
) -> TunedKernel:
    timed = [(comparable(trial, control), trial) for trial in trials]
    ran = [(seconds, trial) for seconds, trial in timed if seconds is not None]
    wanted = identity(part.rule)
    rule_s = next((seconds for seconds, trial in ran if identity(trial.knobs) == wanted), None)
    best_s, knobs = min(
        ((seconds, trial.knobs) for seconds, trial in ran),
        key=lambda pair: pair[0],
        default=(None, part.rule),
    )
    state: State = "none" if best_s is None else "open"
    if final is not None:
        knobs, best_s = final.candidates[final.chosen], final.seconds[final.chosen]
        if identity(final.candidates[0]) == wanted:
            rule_s = final.seconds[0]
        state = "rule" if identity(knobs) == wanted else "tuned"
    elif best_s is not None and rule_s is not None and best_s >= rule_s * (1 - LEAST_GAIN / 2):
        knobs, best_s, state = part.rule, rule_s, "rule"
    return TunedKernel(
        workload.partition("_")[0],
        workload,
        part.layers,
        part.calls,
        part.macs,
        part.bytes,
        len(trials),
        sum(trial.outcome != "ok" for trial in trials),
        rule_s,
        best_s,
        state,
        part.rule,
        knobs,
        2 * part.macs / peak / part.faster / 1e9 if peak else 0.0,
    )


def _steps(trials: Sequence[Trial], parts: Mapping[str, Part], control: float) -> list[Step]:
    best: dict[str, float] = {}
    for trial in trials:
        seconds = comparable(trial, control)
        if seconds is not None:
            best.setdefault(trial.workload, seconds)
    total = sum(parts[workload].calls * seconds for workload, seconds in best.items())
    steps = []
    for number, trial in enumerate(trials, 1):
        seconds = comparable(trial, control)
        with_s = None
        better = False
        if seconds is not None:
            with_s = total + parts[trial.workload].calls * (seconds - best[trial.workload])
            better = seconds < best[trial.workload]
            if better:
                total, best[trial.workload] = with_s, seconds
        steps.append(Step(number, trial, with_s, total, better))
    return steps

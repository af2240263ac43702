"""Ours against MetaSchedule's own space, with the same number of trials.

    python benchmarks/metaschedule.py theirs --work ms      # half an hour
    python benchmarks/metaschedule.py ours --work ms
    python benchmarks/metaschedule.py table --work ms

``theirs`` is TVM alone: Relax as the network's definition reads, batch norm folded into the
weights, TVM's legalization and fusion, the post-order-apply rules of MetaSchedule, its
evolutionary search, cost model, builder and runner. Three settings are not TVM's own: rounds
of 16 trials, because the usual 64 would leave half of the kernels without any; four times as
long for a candidate, because a busy machine would cost it candidates; code for ``--cores``
threads. ``ours`` compiles by rule, then tunes with the same number of trials. ``table`` lets
the three networks run in turns in one process and prints Markdown.

Seconds in which the process was stopped by somebody else are counted apart.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tvm_mobilenet as tm
from tvm_mobilenet.machine import parse

_NAMES = {
    "theirs": "MetaSchedule, TVM's own space",
    "rule": "ours, by rule",
    "tuned": "ours, tuned",
}
_ROUND = 16
_BUILD_S, _RUN_S = 120.0, 120.0
_TURNS, _CALLS = 40, 6


class Clock:
    """Seconds of a block, and those of them in which this process was stopped."""

    def __init__(self) -> None:
        self.seconds = self.stopped = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count a block."""
        done = threading.Event()

        def watch() -> None:
            last = time.monotonic()
            while not done.wait(0.2):
                now = time.monotonic()
                # A busy machine delays a thread by less than two seconds.
                self.stopped += now - last if now - last > 2.0 else 0.0
                last = now

        thread = threading.Thread(target=watch)
        thread.start()
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds = time.monotonic() - begin
            done.set()
            thread.join()


def theirs(args: argparse.Namespace) -> None:
    """Tune with MetaSchedule and export the network."""
    import tvm
    from tvm import relax
    from tvm.s_tir.meta_schedule.builder import LocalBuilder
    from tvm.s_tir.meta_schedule.relax_integration import tune_relax
    from tvm.s_tir.meta_schedule.runner import LocalRunner
    from tvm.target import Target

    from tvm_mobilenet.emit.relax.emit import emit
    from tvm_mobilenet.models.weights import initialize
    from tvm_mobilenet.network.planning import unplanned

    model = _model(args)
    spec = parse("native", cores=args.cores)
    target = Target(spec.tvm_dict())
    steps = (
        relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FoldConstant(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
    )
    with target:
        mod = tvm.transform.Sequential(steps)(emit(unplanned(model, spec), initialize(model, 0)))
    clock = Clock()
    with clock.running():
        database = tune_relax(
            mod,
            {},
            target,
            str(args.work / "metaschedule"),
            args.trials,
            num_trials_per_iter=_ROUND,
            builder=LocalBuilder(timeout_sec=_BUILD_S),
            runner=LocalRunner(timeout_sec=_RUN_S),
            seed=0,
        )
    records = database.get_all_tuning_records()
    ran = sum(bool(r.run_secs) and max(map(float, r.run_secs)) < 1e9 for r in records)
    _note(args, "theirs", clock, trials=len(records), ran=ran)
    _compiled(mod, database, target).export_library(str(args.work / "theirs.so"))


def _compiled(mod: Any, database: Any, target: Any) -> Any:
    """Compile with what was found.

    TVM's own ``compile_relax`` fuses once more, finds none of its records for what comes of
    that, and says nothing: the network then takes 434 ms.
    """
    import tvm
    from tvm import relax

    lower = (
        relax.transform.RewriteDataflowReshape(),
        relax.transform.ToNonDataflow(),
        relax.transform.RemovePurityChecking(),
        relax.transform.CallTIRRewrite(),
        relax.transform.StaticPlanBlockMemory(),
        relax.transform.LowerAllocTensor(),
        relax.transform.KillAfterLastUse(),
        relax.transform.LowerRuntimeBuiltin(),
        relax.transform.ComputePrimValue(),
        relax.transform.VMShapeLower(),
        relax.transform.AttachGlobalSymbol(),
    )
    with target, database, tvm.transform.PassContext(opt_level=3):
        mod = relax.transform.MetaScheduleApplyDatabase(enable_warning=True)(mod)
        return tvm.compile(mod, target=target, relax_pipeline=tvm.transform.Sequential(lower))


def ours(args: argparse.Namespace) -> None:
    """Compile by rule; tune, and compile again."""
    model = _model(args)
    target = parse("native", cores=args.cores)
    clock = Clock()
    with clock.running():
        tm.compile(model, target=target, records=False).export(args.work / "rule.so")
    _note(args, "rule", clock, trials=0)
    clock = Clock()
    with clock.running():
        report = tm.tune(model, trials=args.trials, target=target, log_dir=args.work / "logs")
    status = report.status
    _note(args, "tuned", clock, trials=status.trials, fresh=status.fresh)
    tuned = tm.compile(model, target=target, records=args.work / "logs")
    tuned.export(args.work / "tuned.so")


def table(args: argparse.Namespace) -> None:
    """Time what there is, in turns, and print."""
    os.environ["TVM_NUM_THREADS"] = str(args.cores)
    shape = _model(args).input_shape
    calls = {name: _caller(args.work / f"{name}.so", shape) for name in _NAMES}
    first = {name: call() for name, call in calls.items()}
    for name, out in first.items():
        np.testing.assert_allclose(out, first["rule"], rtol=1e-3, atol=1e-4, err_msg=name)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(_TURNS):
        order = list(calls)
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            for at in range(_CALLS):
                begin = time.perf_counter()
                calls[name]()
                if at:  # the first one meets the caches of another network
                    samples[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(times) for name, times in samples.items()}
    print("| | trials | minutes | stopped | ms | times as fast |\n|---|---:|---:|---:|---:|---:|")
    for name, median in medians.items():
        note = json.loads((args.work / f"{name}.json").read_text())
        minutes = (note["seconds"] - note["stopped"]) / 60
        print(
            f"| {_NAMES[name]} | {note['trials']} | {minutes:.1f} | {note['stopped'] / 60:.1f} "
            f"| {median * 1e3:.2f} | {medians['theirs'] / median:.2f} |"
        )


def _caller(path: Path, shape: tuple[int, ...]) -> Callable[[], Any]:
    import tvm
    from tvm import relax

    machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    array = tvm.runtime.tensor(data)
    return lambda: machine["main"](array).numpy()


def _model(args: argparse.Namespace) -> Any:
    return tm.mobilenet_v1(alpha=args.alpha, resolution=args.resolution)


def _note(args: argparse.Namespace, name: str, clock: Clock, **facts: int) -> None:
    content = {"seconds": clock.seconds, "stopped": clock.stopped, **facts}
    (args.work / f"{name}.json").write_text(json.dumps(content))
    print(name, content, flush=True)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("theirs", "ours", "table"))
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--trials", type=int, default=800)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--resolution", type=int, default=224)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    {"theirs": theirs, "ours": ours, "table": table}[args.what](args)


if __name__ == "__main__":
    main()

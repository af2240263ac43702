"""MetaSchedule proposes: the space its rules generate, its evolution, its cost model.

A candidate is a trace, as TVM writes one, under the name of one knob.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

from tvm_mobilenet.errors import TvmMobilenetError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import TRACE

BATCH = 16
"""Candidates that one search returns at most."""

_POPULATION, _LEAST_NEW = 64, 1
"""TVM's own 512 are for 64 candidates at a time, and take 50 s of a core; a space of one
candidate is one too."""

_WARM_UP = 16
"""Measured candidates, of all workloads, from which the cost model guesses."""

_ENDLESS = 1 << 30

_OTHERS = ("cuda", "rocm", "hexagon")
"""Machines whose intrinsics MetaSchedule would parse first, for 18 s: no target of ours."""


class MetaScheduleSearch:
    """See :class:`~tvm_mobilenet.tuning.tvm_search.TvmSearch`."""

    def __init__(self, work: Workload, target: TargetSpec, seed: int) -> None:
        import tvm
        from tvm.s_tir import meta_schedule as ms

        from tvm_mobilenet.compute.primfunc import prim_func

        for name in _OTHERS:
            sys.modules.setdefault(f"tvm.s_tir.tensor_intrin.{name}", types.ModuleType(name))
        self._ms = ms
        self._func = prim_func(work)
        self._target = tvm.target.Target(target.tvm_dict())
        mod = tvm.IRModule({"main": self._func})
        self._context = ms.TuneContext(
            mod=mod,
            target=self._target,
            space_generator="post-order-apply",
            search_strategy=ms.search_strategy.EvolutionarySearch(
                population_size=_POPULATION, init_min_unmeasured=_LEAST_NEW
            ),
            task_name=work.key,
            num_threads=os.cpu_count() or 1,
            rand_state=seed % (1 << 31) + 1,
        )
        self._database = ms.database.MemoryDatabase()
        self._workload = self._database.commit_workload(mod)
        self._arguments = ms.arg_info.ArgInfo.from_prim_func(self._func)
        self._model = _model()
        self._known: set[str] = set()
        self._context.search_strategy.pre_tuning(
            _ENDLESS, BATCH, self._context.generate_design_space(), self._database, self._model
        )

    def learn(self, tried: Sequence[tuple[Mapping[str, Any], float | None]]) -> None:
        """Pass on what became of candidates, those of earlier runs too."""
        from tvm_mobilenet.schedules.tensorir.trace import taken

        candidates, results = [], []
        for knobs, seconds in tried:
            trace = knobs.get(TRACE)
            if trace is None or trace in self._known:
                continue
            self._known.add(trace)
            try:
                sch = taken(self._func, trace)
            except TvmMobilenetError:  # of another version of TVM: nothing to learn
                continue
            times = None if seconds is None else [seconds]
            candidates.append(self._ms.MeasureCandidate(sch, self._arguments))
            results.append(self._ms.runner.RunnerResult(times, "failed" if times is None else None))
            if times is not None:
                self._database.commit_tuning_record(
                    self._ms.database.TuningRecord(
                        sch.trace, self._workload, times, self._target, self._arguments
                    )
                )
        if candidates:
            self._model.update(self._context, candidates, results)

    def propose(self) -> list[dict[str, Any]]:
        """Return traces to try, as knobs; none where its space gives no more."""
        found = self._context.search_strategy.generate_measure_candidates() or []
        return [{TRACE: _text(one.sch.trace)} for one in found]


def _text(trace: Any) -> str:
    """Return a trace as one line of JSON; numbers that TVM has wrapped as numbers."""
    steps = trace.as_json()
    return json.dumps(steps, separators=(",", ":"), default=lambda number: number.value)


@functools.cache
def _model() -> Any:
    """Return the cost model of this process, which learns from every workload."""
    from tvm.s_tir import meta_schedule as ms

    return ms.cost_model.XGBModel(num_warmup_samples=_WARM_UP, num_tuning_cores=1)

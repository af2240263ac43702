"""Ansor: sketches of our TE definitions, its evolution and cost model, its log's format.

A candidate is the steps of a state, as Ansor writes them into its logs; nothing of our
schedules is in it.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Sequence
from typing import Any

from tvm import auto_scheduler
from tvm.auto_scheduler import measure, measure_record

from tvm_mobilenet.emit.relay.kernels import definition
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import TRACE
from tvm_mobilenet.schedules.te.steps import WORKLOAD

_BATCH = 16
_PARAMETERS = {
    # 2048 by default: 100 s of a core for every batch of candidates.
    "evolutionary_search_population": 128,
    "evolutionary_search_num_iters": 3,
    "sample_init_min_population": 24,
}
_WARM_UP = 16
"""Measured candidates, of all workloads, from which the cost model guesses."""


@functools.cache
def _register() -> None:
    auto_scheduler.register_workload(WORKLOAD, _tensors)


def _tensors(text: str) -> list[Any]:
    return list(definition(Workload.parse(text)).tensors)


@functools.cache
def _model() -> Any:
    """Return the cost model of this process, which learns from every workload."""
    return auto_scheduler.XGBModel(verbose_eval=0, num_warmup_sample=_WARM_UP)


class AnsorSearch:
    """See :class:`~tvm_mobilenet.tuning.tvm_search.TvmSearch`."""

    def __init__(self, work: Workload, target: TargetSpec, seed: int) -> None:
        import tvm

        _register()
        key = auto_scheduler.make_workload_key(WORKLOAD, (work.text,))
        self.task = auto_scheduler.SearchTask(
            workload_key=key,
            target=tvm.target.Target(target.tvm_dict()),
            hardware_params=auto_scheduler.HardwareParams(
                num_cores=target.cores,
                vector_unit_bytes=4 * target.lanes,
                cache_line_bytes=64,
                max_shared_memory_per_block=0,
                max_local_memory_per_block=0,
                max_threads_per_block=0,
                max_vthread_extent=0,
                warp_size=0,
            ),
        )
        self._policy = auto_scheduler.SketchPolicy(
            self.task, _model(), params=_PARAMETERS, seed=seed % (1 << 31), verbose=0
        )
        self._known: dict[str, Any] = {}

    def learn(self, tried: Sequence[tuple[dict[str, Any], float | None]]) -> None:
        """Pass on what became of candidates, those of earlier runs too."""
        inputs, results = [], []
        for knobs, seconds in tried:
            steps = knobs.get(TRACE)
            if steps is None or steps in self._known:
                continue
            self._known[steps] = measured = self._measured(steps)
            inputs.append(measured)
            results.append(_result(seconds))
        if inputs:
            _model().update(inputs, results)

    def propose(self) -> list[dict[str, Any]]:
        """Return steps to try, as knobs; none where its sketches give no more."""
        population = self._policy.sample_initial_population()
        states = self._policy.evolutionary_search(population, _BATCH)
        found = (self._steps(state) for state in states)
        return [{TRACE: steps} for steps in dict.fromkeys(found) if steps not in self._known]

    def line(self, knobs: dict[str, Any], seconds: float | None, timestamp: float) -> str | None:
        """Return a trial as a line of Ansor's log; None of one that is not Ansor's."""
        if TRACE not in knobs:
            return None
        return self._line(self._measured(knobs[TRACE]), _result(seconds, timestamp)).strip()

    def _steps(self, state: Any) -> str:
        line = self._line(measure.MeasureInput(self.task, state), _result(1.0))
        return json.dumps(json.loads(line)["i"][1], separators=(",", ":"))

    def _measured(self, steps: str) -> Any:
        """Return the candidate that is made of these steps, its loops' sizes known."""
        some = measure.MeasureInput(self.task, self.task.compute_dag.init_state)
        content = json.loads(self._line(some, _result(1.0)))
        content["i"][1] = json.loads(steps)
        found = measure_record.load_record_from_string(json.dumps(content))[0]
        state = self.task.compute_dag.infer_bound_from_state(found.state)
        return measure.MeasureInput(self.task, state)

    @staticmethod
    def _line(measured: Any, result: Any) -> str:
        text: str = measure_record.dump_record_to_string(measured, result)
        return text


def _result(seconds: float | None, timestamp: float | None = None) -> Any:
    wrong = seconds is None
    return measure.MeasureResult(
        [1e10 if seconds is None else seconds],
        measure.MeasureErrorNo.RUNTIME_DEVICE if wrong else measure.MeasureErrorNo.NO_ERROR,
        "failed" if wrong else "",
        seconds or 0.0,
        timestamp or time.time(),
    )

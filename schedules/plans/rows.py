"""The plans of what goes over the rows of (N, C): a softmax, say.

Such a definition has these stages before ``out``: ``row``, the input in whole vectors; ``lane_max``
and ``row_max``, which reduce those to one vector and that to a number; ``power``, what becomes of
each element; ``lane_sum`` and ``row_sum`` of those; ``scale``, a number of the row.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.plans.threads import share

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload

_GPU_REGISTERS = 48


def plan_rows(work: Workload, knobs: Knobs, target: TargetSpec) -> SharedPlan:
    """Plan rows: one is a unit; ``threads``: all or one."""
    macs = OPERATORS[work.operator].element_work * work.batch * work.out_channels
    return SharedPlan(work.batch, share(work.batch, macs, knobs, target))


@dataclass(frozen=True, slots=True)
class GpuRowsPlan:
    """What a row takes on a GPU: its threads are the definition's.

    Attributes
    ----------
    registers : int
        What one thread is reckoned to take.
    """

    registers: int


def plan_gpu_rows(_work: Workload, _knobs: Knobs, _target: TargetSpec) -> GpuRowsPlan:
    """Plan rows on a GPU: nothing is asked."""
    return GpuRowsPlan(_GPU_REGISTERS)

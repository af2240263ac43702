"""The plan of what goes over maps of elements; see ``tensorir/cpu/integer/maps``."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import share

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


@dataclass(frozen=True, slots=True)
class MapPlan:
    """How a map is cut.

    Attributes
    ----------
    units : int
        What threads can share: channel blocks of images.
    parallel : bool
        Whether they do.
    """

    units: int
    parallel: bool


def plan_map(work: Workload, knobs: Knobs, target: TargetSpec) -> MapPlan:
    """Plan an operator that goes over a map once.

    Parameters
    ----------
    knobs : Knobs
        ``threads``: all or one.
    """
    units = work.batch * work.in_blocks
    elements = work.batch * work.in_channels * work.in_pixels
    return MapPlan(units, share(units, elements, knobs, target))

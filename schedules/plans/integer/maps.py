"""The plan of what goes over maps of elements; see ``tensorir/cpu/integer/maps``."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import share

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

PIXELS = 16
"""Pixels of a unit, those of a register of AVX-512; smaller registers make more units."""

_EACH = 4
"""What an element that is read or written once counts in multiply-adds."""


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
    return _shared(work.batch * work.in_blocks, work, knobs, target)


def plan_quantize(work: Workload, knobs: Knobs, target: TargetSpec) -> MapPlan:
    """Plan what makes elements of numbers, or joins maps: threads share pixels.

    An image has one block, and the blocks of joined maps are filled differently.

    Parameters
    ----------
    knobs : Knobs
        ``threads``: all or one.
    """
    return _shared(work.batch * -(-work.in_pixels // PIXELS), work, knobs, target)


def plan_images(work: Workload, knobs: Knobs, target: TargetSpec) -> MapPlan:
    """Plan what needs all channels of an image: threads share images.

    Parameters
    ----------
    knobs : Knobs
        ``threads``: all or one.
    """
    return _shared(work.batch, work, knobs, target)


def _shared(units: int, work: Workload, knobs: Knobs, target: TargetSpec) -> MapPlan:
    elements = work.batch * work.in_channels * work.in_pixels
    return MapPlan(units, share(units, _EACH * elements, knobs, target))

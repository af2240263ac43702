"""The plans of pool, scale and classifier: what threads share, and little else."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import ELEMENT, divisors, share
from tvm_mobilenet.schedules.plans.tile import stages

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

MAX_POOL_ROWS = 8
"""Rows of a unit: those that two of them both read are few, and the scratch stays in L2."""


@dataclass(frozen=True, slots=True)
class SharedPlan:
    """Units that threads can share, and whether they do."""

    units: int
    parallel: bool


def plan_pool(work: Workload, knobs: Knobs, target: TargetSpec) -> SharedPlan:
    """Plan a global pool: a channel block of an image is a unit; ``threads``: all or one."""
    macs = ELEMENT * work.batch * work.out_blocks * work.out_block * work.in_pixels
    return _shared(work.batch * work.out_blocks, macs, knobs, target)


def plan_scale(work: Workload, knobs: Knobs, target: TargetSpec) -> SharedPlan:
    """Plan a map times factors: a channel block of an image is a unit; ``threads``."""
    macs = ELEMENT * work.batch * work.out_blocks * work.out_pixels * work.out_block
    return _shared(work.batch * work.out_blocks, macs, knobs, target)


def plan_rows_of_maps(work: Workload, knobs: Knobs, target: TargetSpec) -> SharedPlan:
    """Plan what writes a row of an image, of all channels, as a unit; ``threads``."""
    elements = work.batch * work.out_blocks * work.out_pixels * work.out_block
    return _shared(work.batch * work.out_size[0], ELEMENT * elements, knobs, target)


def plan_copies(work: Workload, knobs: Knobs, target: TargetSpec) -> SharedPlan:
    """Plan what makes a view a tensor: an image, or a token, is a unit; ``threads``."""
    elements = work.batch * work.out_channels * work.out_pixels
    return _shared(work.batch * work.out_channels, ELEMENT * elements, knobs, target)


def plan_elements(work: Workload, knobs: Knobs, target: TargetSpec) -> SharedPlan:
    """Plan two maps element by element: a row of a channel block is a unit; ``threads``."""
    units = work.batch * work.out_blocks * work.out_size[0]
    elements = work.batch * work.out_blocks * work.out_pixels * work.out_block
    return _shared(units, ELEMENT * elements, knobs, target)


@dataclass(frozen=True, slots=True)
class MaxPoolPlan(SharedPlan):
    """As its base; and the rows of a unit, how many of them a channel block has."""

    rows: int
    chunks: int


def plan_max_pool(work: Workload, knobs: Knobs, target: TargetSpec) -> MaxPoolPlan:
    """Plan a pool of largest elements: some rows of a channel block are a unit; ``threads``."""
    rows = min(work.out_size[0], MAX_POOL_ROWS)
    chunks = -(-work.out_size[0] // rows)
    units = work.batch * work.out_blocks * chunks
    taps = sum(work.kernel) * work.batch * work.out_blocks * work.out_pixels * work.out_block
    return MaxPoolPlan(units, share(units, taps, knobs, target), rows, chunks)


def _shared(units: int, macs: int, knobs: Knobs, target: TargetSpec) -> SharedPlan:
    return SharedPlan(units, share(units, macs, knobs, target))


@dataclass(frozen=True, slots=True)
class DensePlan:
    """How a classifier is cut.

    Attributes
    ----------
    images : int
        Images that share a pass over the weights.
    outer, inner : int
        Steps of the reduction.
    units : int
        What threads can share: output blocks of image groups.
    parallel : bool
        Whether they do.
    lanes : int
        Lanes of a vector.
    staged : bool
        Whether an image's input is loaded by vectors and multiplied by their lanes.
    """

    images: int
    outer: int
    inner: int
    units: int
    parallel: bool
    lanes: int
    staged: bool


def plan_dense(
    work: Workload, knobs: Knobs, target: TargetSpec, *, tails: bool = True
) -> DensePlan:
    """Plan a classifier.

    Parameters
    ----------
    knobs : Knobs
        ``images``: images that share a pass over the weights; ``threads``: all or one.
    tails : bool
        Whether a last group may have fewer images. TE would keep a condition in the loop, and
        stages nothing.
    """
    batch, blocks, width, depth = work.batch, work.out_blocks, work.out_block, work.depth
    vectors = max(width // target.lanes, 1)
    staged = tails and stages(work, target)
    # A step's weights, which staged images share, stay for all of them: three spill.
    each, kept = (vectors + 1, vectors) if staged else (vectors, 4)
    most = max(min(batch, (target.registers - kept) // each), 1)
    options = list(range(1, most + 1)) if tails else divisors(batch, most)
    images = knobs.choice("images", options, options[-1])
    inner = target.lanes if staged else 8 if depth % 8 == 0 else 1
    units = -(-batch // images) * blocks
    parallel = share(units, batch * blocks * width * depth, knobs, target)
    return DensePlan(images, depth // inner, inner, units, parallel, target.lanes, staged)

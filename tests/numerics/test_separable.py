"""Fused functions against the reference, layer by layer of what they fuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from kernels import check_kernel, compiled, workload
from schedule_cases import SEPARABLE, blocks
from tvm_mobilenet.schedules.knobs import Knobs, SeededKnobs

from tvm_mobilenet.machine import TargetSpec, parse
from tvm_mobilenet.operators.workload import Workload

NATIVE = parse("native")
BLOCKS, ADDING = blocks(NATIVE.lanes), blocks(NATIVE.lanes, residual=True)


def check(work: Workload, knobs: Knobs, spec: TargetSpec = NATIVE, seed: int = 0) -> None:
    kernel = compiled([work], spec, lambda _: knobs).jit()[work.key]
    check_kernel(work, kernel, seed, knobs.chosen)


@pytest.mark.parametrize("cores", [1, 2, 4])
@pytest.mark.parametrize("work", BLOCKS, ids=lambda work: work.key)
def test_separable_by_rule(work: Workload, cores: int) -> None:
    check(work, Knobs(), dataclasses.replace(NATIVE, cores=cores))


@pytest.mark.parametrize("work", ADDING, ids=lambda work: work.key)
def test_separable_adds_a_residual(work: Workload) -> None:
    check(work, Knobs())


@pytest.mark.parametrize("seed", range(12))
def test_separable_is_right_for_every_knob(seed: int) -> None:
    check(BLOCKS[seed % len(SEPARABLE)], SeededKnobs(seed), seed=seed)


@pytest.mark.parametrize("prefetch", ["none", "weights", "input"])
def test_separable_prefetches_harmlessly(prefetch: str) -> None:
    check(BLOCKS[0], Knobs({"prefetch": prefetch, "rows": 1, "pixels": 7}))


# Channels, size, batch, classes.
TAILS = [((64, 128), (7, 7), 1, 1000), ((32, 64), (5, 4), 2, 10), ((24, 40), (3, 3), 1, 129)]


@pytest.mark.parametrize("knobs", [Knobs, lambda: SeededKnobs(1), lambda: SeededKnobs(2)])
@pytest.mark.parametrize("shape", TAILS, ids=str)
def test_tail(
    shape: tuple[tuple[int, int], tuple[int, int], int, int], knobs: Callable[[], Knobs]
) -> None:
    channels, size, batch, classes = shape
    last = workload("pointwise", channels, size, NATIVE.lanes, batch=batch, activation="relu6")
    wide = 8 * NATIVE.lanes
    check(dataclasses.replace(last, operator="tail", classes=classes, class_block=wide), knobs())

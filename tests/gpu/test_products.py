"""Matrix products on a GPU: any sizes and any knobs, on a real OpenCL device."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels import workload
from opencl import run_on_opencl
from tvm_mobilenet.schedules.knobs import Knobs, SeededKnobs
from tvm_mobilenet.schedules.rules import schedule

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.compute.workload import Workload
from tvm_mobilenet.kernel_case import kernel_case
from tvm_mobilenet.target import TargetSpec, parse

TARGET = parse("opencl")
SEEDS = st.integers(0, 2**31)

some_knobs = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def check(work: Workload, knobs: Knobs, target: TargetSpec = TARGET) -> None:
    """A kernel's answer, and that the knobs it asked for bring it about again."""
    done = schedule(prim_func(work), target, knobs)
    assert done is not None
    case = kernel_case(work)
    case.error(run_on_opencl(done.func, target, case.inputs))
    again = Knobs(knobs.chosen)
    schedule(prim_func(work), target, again)
    assert again.chosen == knobs.chosen


@st.composite
def pointwise(draw: Any) -> Workload:
    channels = st.one_of(st.integers(1, 70), st.sampled_from([4, 16, 32, 64, 128]))
    size = draw(st.sampled_from([(1, 1), (7, 7), (14, 14), (3, 5), (1, 9), (13, 4)]))
    residual = draw(st.booleans())
    activation = draw(st.sampled_from(["none", "relu6", "hardswish", "hardsigmoid"]))
    return workload(
        "pointwise", (draw(channels), draw(channels)), size, TARGET.lanes,
        batch=draw(st.sampled_from([1, 1, 2, 5])), residual=residual,
        activation="none" if residual else activation,
    )  # fmt: skip


@some_knobs
@given(pointwise(), SEEDS)
def test_pointwise_of_any_size_with_any_knobs(work: Workload, seed: int) -> None:
    check(work, SeededKnobs(seed))


@pytest.mark.parametrize("target", ["opencl", "opencl-mali"])
@pytest.mark.parametrize(
    ("channels", "size", "batch"),
    [((32, 64), 20, 1), ((96, 40), 7, 1), ((96, 40), 7, 3), ((72, 24), 1, 1), ((24, 72), 1, 5)],
)
def test_pointwise_by_rule(channels: tuple[int, int], size: int, batch: int, target: str) -> None:
    work = workload("pointwise", channels, (size, size), 4, batch=batch, activation="relu6")
    check(work, Knobs(), parse(target))


@some_knobs
@given(
    st.integers(1, 90), st.integers(1, 130), st.sampled_from([1, 1, 2, 9]),
    st.sampled_from(["none", "hardswish"]), SEEDS,
)  # fmt: skip
def test_dense_of_any_size_with_any_knobs(
    channels: int, classes: int, batch: int, activation: Any, seed: int
) -> None:
    pair = (channels, classes)
    work = workload("dense", pair, (1, 1), TARGET.lanes, batch=batch, activation=activation)
    check(work, SeededKnobs(seed))


@pytest.mark.parametrize(("classes", "batch"), [(1000, 1), (1001, 1), (1000, 64)])
def test_dense_by_rule(classes: int, batch: int) -> None:
    check(workload("dense", (128, classes), (1, 1), TARGET.lanes, batch=batch), Knobs())


def test_a_width_below_a_vector() -> None:
    work = workload("pointwise", (2, 3), (5, 5), 4)
    assert dataclasses.astuple(work)[6:8] == (2, 4)
    check(work, Knobs())

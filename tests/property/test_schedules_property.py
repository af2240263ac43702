"""Any sizes, any legal knobs: the answer is right and every recorded knob is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels import check_kernel, compiled, use_threads, workload
from tvm_mobilenet.schedules.knobs import Knobs, SeededKnobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.operators.workload import Workload

TARGETS = [
    spec
    for name in ("x86-64", "x86-64-v3", "x86-64-v4")
    if (spec := PRESETS[name]).machine == host_machine()
    and set(spec.needs) <= set(host_cpu_features())
]

pytestmark = pytest.mark.skipif(not TARGETS, reason="no x86 processor")

ACTIVATIONS = st.sampled_from(["none", "relu", "relu6"])
BATCH = st.sampled_from([1, 1, 2, 3])
SEEDS = st.integers(0, 2**31)

kernels_of_any_knobs = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,  # a failure is the same for everyone
    suppress_health_check=[HealthCheck.too_slow],
)


def channels(most: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(1, most), st.sampled_from([16, 24, 32, 64]))


@st.composite
def spatial(draw: Any, operator: str, target: TargetSpec) -> Workload:
    """A convolution with a window: any kernel, stride and padding that leave a pixel."""
    kernel = draw(st.sampled_from([3, 3, 3, 1, 5]))
    stride = draw(st.integers(1, 2))
    padding = draw(st.tuples(*[st.integers(0, kernel - 1)] * 4))
    smallest = [max(1, kernel - padding[0] - padding[2]), max(1, kernel - padding[1] - padding[3])]
    size = (draw(st.integers(smallest[0], 24)), draw(st.integers(smallest[1], 40)))
    if operator == "conv":
        pair = (draw(st.integers(1, 5)), draw(channels(40)))
    else:
        count = draw(channels(70))
        pair = (count, count)
    return workload(
        operator, pair, size, target.lanes, batch=draw(BATCH), kernel=kernel, stride=stride,
        padding=padding, activation=draw(ACTIVATIONS),
    )  # fmt: skip


def check(work: Workload, target: TargetSpec, seed: int, threads: int) -> None:
    """With knobs drawn at random; then the same knobs as a record would give them."""
    drawn = SeededKnobs(seed)
    kernel = compiled([work], target, lambda _: drawn).jit()[work.key]
    use_threads(threads)
    check_kernel(work, kernel, seed % 1000, (target.name, drawn.chosen))
    again = Knobs(drawn.chosen)
    replayed = schedule(prim_func(work), target, again)
    assert replayed is not None
    assert again.source == "record"
    assert again.chosen == drawn.chosen


THREADS = st.integers(1, 2)


@kernels_of_any_knobs
@given(st.data(), st.sampled_from(TARGETS), SEEDS, THREADS)
def test_depthwise(data: st.DataObject, target: TargetSpec, seed: int, threads: int) -> None:
    check(data.draw(spatial("depthwise", target)), target, seed, threads)


@settings(kernels_of_any_knobs, max_examples=40)
@given(st.data(), st.sampled_from(TARGETS), SEEDS, THREADS)
def test_conv(data: st.DataObject, target: TargetSpec, seed: int, threads: int) -> None:
    check(data.draw(spatial("conv", target)), target, seed, threads)


@kernels_of_any_knobs
@given(
    st.tuples(channels(150), channels(150)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    BATCH,
    ACTIVATIONS,
    st.sampled_from(TARGETS),
    SEEDS,
    THREADS,
)
def test_pointwise(  # noqa: PLR0917
    pair: tuple[int, int],
    size: tuple[int, int],
    batch: int,
    activation: Any,
    target: TargetSpec,
    seed: int,
    threads: int,
) -> None:
    work = workload("pointwise", pair, size, target.lanes, batch=batch, activation=activation)
    check(work, target, seed, threads)


@settings(kernels_of_any_knobs, max_examples=25)
@given(
    st.tuples(channels(300), channels(300)),
    st.integers(1, 9),
    st.sampled_from(TARGETS),
    SEEDS,
    THREADS,
)
def test_dense(
    pair: tuple[int, int], batch: int, target: TargetSpec, seed: int, threads: int
) -> None:
    check(workload("dense", pair, (1, 1), target.lanes, batch=batch), target, seed, threads)


@settings(kernels_of_any_knobs, max_examples=15)
@given(
    channels(150),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    BATCH,
    st.sampled_from(TARGETS),
    SEEDS,
    THREADS,
)
def test_pool(  # noqa: PLR0917
    count: int, size: tuple[int, int], batch: int, target: TargetSpec, seed: int, threads: int
) -> None:
    check(workload("pool", (count, count), size, target.lanes, batch=batch), target, seed, threads)

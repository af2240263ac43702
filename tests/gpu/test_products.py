"""Matrix products on a GPU: any sizes and any knobs, on a real OpenCL device.

What no OpenCL device here can do, halves and tensor cores, runs as CUDA source on the
processor (``cuda_on_cpu``).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from cuda_on_cpu import run_cuda_on_cpu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels import fused_pair, workload
from opencl import run_on_opencl
from tvm_mobilenet.schedules.knobs import Knobs, SeededKnobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet.common.functions import Activation
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.machine import TargetSpec, parse
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.kernel_case import kernel_case

OPENCL = parse("opencl")
HALVES = parse("sm_80", dtype="float16")
SEEDS = st.integers(0, 2**31)
AROUND, WIDE, ODD = (1, 1, 1, 1), (2, 2, 2, 2), (2, 0, 1, 3)

some_knobs = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
few_knobs = settings(some_knobs, max_examples=5)


def scheduled(work: Workload, target: TargetSpec, knobs: Knobs) -> Any:
    """The function of a workload, bound to threads."""
    done = schedule(prim_func(work), target, knobs)
    assert done is not None
    assert done.schedule == f"gpu.{work.operator}"
    return done.func


def check(work: Workload, knobs: Knobs, target: TargetSpec = OPENCL) -> None:
    """A kernel's answer, and that the knobs it asked for bring it about again."""
    func = scheduled(work, target, knobs)
    case = kernel_case(work)
    run = run_on_opencl if target.gpu and target.gpu.kind == "opencl" else run_cuda_on_cpu
    case.error(run(func, target, case.inputs))
    again = Knobs(knobs.chosen)
    scheduled(work, target, again)
    assert again.chosen == knobs.chosen


def separable_of(  # noqa: PLR0917
    channels: tuple[int, int],
    size: tuple[int, int],
    kernel: int,
    stride: int,
    padding: tuple[int, int, int, int],
    target: TargetSpec = OPENCL,
    batch: int = 1,
    residual: bool = False,
) -> Workload:
    """A depthwise layer and a pointwise one as one workload."""
    first = workload(
        "depthwise", (channels[0], channels[0]), size, target.lanes, batch=batch, kernel=kernel,
        stride=stride, padding=padding,
    )  # fmt: skip
    end: Activation = "none" if residual else "relu"
    work = fused_pair(first, channels[1], target.lanes, end, residual=residual)
    return dataclasses.replace(work, dtype=target.dtype)


def pointwise(target: TargetSpec) -> st.SearchStrategy[Workload]:
    """Any channels, from one that is no vector; maps from one pixel."""

    @st.composite
    def drawn(draw: Any) -> Workload:
        channels = st.one_of(st.integers(1, 70), st.sampled_from([8, 16, 32, 64, 128]))
        size = draw(st.sampled_from([(1, 1), (7, 7), (14, 14), (3, 5), (1, 9), (13, 4)]))
        residual = draw(st.booleans())
        activation = draw(st.sampled_from(["none", "relu6", "hardswish", "hardsigmoid"]))
        work = workload(
            "pointwise", (draw(channels), draw(channels)), size, target.lanes,
            batch=draw(st.sampled_from([1, 1, 2, 5])), residual=residual,
            activation=activation,
        )  # fmt: skip
        return dataclasses.replace(work, dtype=target.dtype)

    return drawn()


def dense(target: TargetSpec) -> st.SearchStrategy[Workload]:
    """Any channels and classes."""

    @st.composite
    def drawn(draw: Any) -> Workload:
        work = workload(
            "dense", (draw(st.integers(1, 90)), draw(st.integers(1, 130))), (1, 1), target.lanes,
            batch=draw(st.sampled_from([1, 1, 2, 9])),
            activation=draw(st.sampled_from(["none", "hardswish"])),
        )  # fmt: skip
        return dataclasses.replace(work, dtype=target.dtype)

    return drawn()


def separable(target: TargetSpec) -> st.SearchStrategy[Workload]:
    """Any window that leaves a pixel."""

    @st.composite
    def drawn(draw: Any) -> Workload:
        kernel = draw(st.sampled_from([3, 3, 5]))
        padding = draw(st.sampled_from([AROUND, WIDE, ODD, (0, 0, 1, 1)]))
        size = (draw(st.integers(kernel, 12)), draw(st.integers(kernel, 12)))
        return separable_of(
            (draw(st.integers(1, 40)), draw(st.integers(1, 70))), size, kernel,
            draw(st.integers(1, 2)), padding, target, draw(st.sampled_from([1, 1, 3])),
            draw(st.booleans()),
        )  # fmt: skip

    return drawn()


@some_knobs
@given(pointwise(OPENCL), SEEDS)
def test_pointwise_of_any_size_with_any_knobs(work: Workload, seed: int) -> None:
    check(work, SeededKnobs(seed))


@some_knobs
@given(dense(OPENCL), SEEDS)
def test_dense_of_any_size_with_any_knobs(work: Workload, seed: int) -> None:
    check(work, SeededKnobs(seed))


@few_knobs
@given(separable(OPENCL), SEEDS)
def test_separable_of_any_size_with_any_knobs(work: Workload, seed: int) -> None:
    check(work, SeededKnobs(seed))


@few_knobs
@given(st.one_of(pointwise(HALVES), dense(HALVES), separable(HALVES)), SEEDS)
def test_halves_of_any_size_with_any_knobs(work: Workload, seed: int) -> None:
    check(work, SeededKnobs(seed), HALVES)


class OnTensorCores(SeededKnobs):
    """Any tile, of fragments."""

    def _answer(self, name: str, options: Any, default: Any) -> Any:
        answer = super()._answer(name, options, default)
        return "tensor" if name == "multiply" else answer


@few_knobs
@given(st.one_of(pointwise(HALVES), dense(HALVES), separable(HALVES)), SEEDS)
def test_tensor_cores_of_any_size_with_any_knobs(work: Workload, seed: int) -> None:
    check(work, OnTensorCores(seed), HALVES)


@pytest.mark.parametrize("target", ["opencl", "opencl-mali"])
@pytest.mark.parametrize(
    "work",
    [
        workload("pointwise", (32, 64), (20, 20), 4, activation="relu6"),
        workload("pointwise", (96, 40), (7, 7), 4, batch=3, residual=True),
        workload("pointwise", (72, 24), (1, 1), 4),
        workload("dense", (128, 1000), (1, 1), 4),
        workload("dense", (64, 1001), (1, 1), 4, batch=32),
        separable_of((32, 64), (14, 14), 3, 2, (0, 0, 1, 1)),
        separable_of((40, 24), (7, 7), 5, 1, WIDE, batch=2),
    ],
    ids=lambda work: work.key,
)
def test_by_rule(work: Workload, target: str) -> None:
    check(work, Knobs(), parse(target))


@pytest.mark.parametrize("target", ["sm_75", "sm_90"])
@pytest.mark.parametrize("batch", [1, 64])
def test_halves_by_rule_multiply_on_tensor_cores(target: str, batch: int) -> None:
    spec = parse(target, dtype="float16")
    work = dataclasses.replace(workload("pointwise", (512, 512), (14, 14), 8, batch=batch))
    knobs = Knobs()
    func = scheduled(dataclasses.replace(work, dtype="float16"), spec, knobs)
    assert knobs.chosen["multiply"] == "tensor"
    assert "nvcuda::wmma::mma_sync" in device_code({"kernel": func}, spec).source


def test_halves_without_tensor_cores_have_no_such_knob() -> None:
    spec = parse("metal", dtype="float16")
    knobs = Knobs()
    work = dataclasses.replace(workload("pointwise", (64, 64), (7, 7), 8), dtype="float16")
    source = device_code({"kernel": scheduled(work, spec, knobs)}, spec).source
    assert "multiply" not in knobs.chosen
    assert "half4" in source
    assert "half8" not in source


def test_a_width_below_a_vector() -> None:
    work = workload("pointwise", (2, 3), (5, 5), 4)
    assert (work.in_block, work.out_block) == (2, 4)
    check(work, Knobs())

"""Every schedule of what is no matrix product, on a real OpenCL device, against the reference.

Several kernels are one program: a device's compiler takes longer than the kernel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest
import schedule_cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels import workload
from not_a_number import ROWS
from opencl import has_float16, run_on_opencl, run_source
from schedule_cases import AROUND, ODD, SAME, maps, windows
from tvm_mobilenet.schedules.knobs import Knobs, SeededKnobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet.artifact.launches import DeviceCode
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.machine import TargetSpec, parse
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.kernel_case import kernel_case

OPENCL = ["opencl", "opencl-mali", "opencl-adreno"]
# Beside those of every stack: one channel, few threads, many, and what MobileNets have at 64 x 64.
DEPTHWISE = [
    *schedule_cases.DEPTHWISE,
    (1, (5, 5), 1, 3, 1, AROUND, "none"),
    (32, (32, 32), 1, 3, 1, AROUND, "relu6"),
    (64, (32, 32), 1, 3, 2, SAME, "relu6"),
    (96, (32, 32), 2, 3, 2, AROUND, "relu6"),
    (320, (112, 32), 1, 3, 1, AROUND, "relu6"),  # strips, as many threads are left
]
CONV = [
    *schedule_cases.CONV,
    ((3, 1), (11, 13), 3, 3, 1, ODD, "relu"),
    ((3, 32), (224, 160), 2, 3, 2, AROUND, "relu6"),
]
POOL = [*schedule_cases.POOL, (1, (11, 13), 3), (12, (1, 257), 1), (72, (28, 28), 1)]
SCALE = [*schedule_cases.SCALE, (2, (5, 7), 3)]
CLASSES = [(1, 2, 1), (3, 1, 4), (10, 2, 4), (257, 3, 64), (1000, 1, 128), (128, 2, 128)]


def works(lanes: int) -> dict[str, list[Workload]]:
    """Every case above, blocked for a target, by operator."""
    return {
        "depthwise": windows("depthwise", DEPTHWISE, lanes),
        "conv": windows("conv", CONV, lanes),
        "pool": maps("pool", POOL, lanes),
        "scale": maps("scale", SCALE, lanes),
        **{name: rows(name) for name in ROWS},
    }


def rows(operator: str) -> list[Workload]:
    """Rows of classes, blocked for so many threads."""
    return [
        dataclasses.replace(
            workload(operator, (classes, classes), (1, 1), 4, batch=batch),
            in_block=threads, out_block=threads,
        )
        for classes, batch, threads in CLASSES
    ]  # fmt: skip


OPERATORS = list(works(4))


def scheduled(work: Workload, target: TargetSpec, knobs: Knobs | None = None) -> Any:
    """The function of a workload, bound to threads."""
    done = schedule(prim_func(work), target, knobs or Knobs())
    assert done is not None
    assert done.schedule == f"gpu.{work.operator}"
    return done.func


def check(
    work: Workload, name: str, code: DeviceCode, seed: int = 0, run: Any = run_source
) -> None:
    """Compare one function of a program with the reference."""
    case = kernel_case(work, seed)
    dtype = "float32" if work.operator in ROWS else work.dtype
    out = np.empty(case.want.shape, dtype)
    case.error(run(code.source, code.kernels[name], code.scratch[name], case.inputs, out))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("name", OPENCL)
def test_by_rule(name: str, operator: str) -> None:
    target = parse(name)
    cases = works(target.lanes)[operator]
    code = device_code({work.key: scheduled(work, target) for work in cases}, target)
    for number, work in enumerate(cases):
        check(work, work.key, code, number)


HALVES = {
    "depthwise": [0, 3, 4, 8, 10, 13],
    "conv": [1, 2, 7, 10],
    "pool": [1, 6, 7],
    "scale": [1, 4],
}
"""Which of them are run in float16: tails, strides, windows, batches, activations."""


@pytest.mark.parametrize("operator", list(HALVES))
@pytest.mark.parametrize("seed", [None, 7])
def test_float16(operator: str, seed: int | None) -> None:
    """CUDA's source on the processor, by rule and with random knobs."""
    target = parse("sm_80", dtype="float16")
    cases = works(target.lanes)[operator]
    half = {n: dataclasses.replace(cases[n], dtype="float16") for n in HALVES[operator]}
    knobs = {n: Knobs() if seed is None else SeededKnobs(seed + n) for n in half}
    funcs = {f"k{n}": scheduled(work, target, knobs[n]) for n, work in half.items()}
    code = device_code(funcs, target)
    for n, work in half.items():
        check(work, f"k{n}", code, n, cuda_on_cpu.run_source)


@pytest.mark.parametrize("operator", OPERATORS)
def test_float16_where_the_device_has_it(operator: str) -> None:
    if not has_float16():
        pytest.skip("this machine's OpenCL device has no cl_khr_fp16")
    target = parse("opencl", dtype="float16")
    cases = works(target.lanes)[operator]
    dtype: Any = "float32" if operator in ROWS else "float16"
    cases = [dataclasses.replace(work, dtype=dtype) for work in cases]
    code = device_code({work.key: scheduled(work, target) for work in cases}, target)
    for number, work in enumerate(cases):
        check(work, work.key, code, number)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("name", ["sm_75", "metal"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_other_languages_are_generated(name: str, dtype: Any, operator: str) -> None:
    """Every kernel of maps reads and writes vectors: 16 bytes, but Metal four elements."""
    target = parse(name, dtype=dtype)
    if operator in ROWS:
        dtype = "float32"  # logits always are
    cases = [dataclasses.replace(w, dtype=dtype) for w in works(target.lanes)[operator]]
    code = device_code({work.key: scheduled(work, target) for work in cases}, target)
    for work in cases:
        assert f" {code.kernels[work.key][0].kernel}(" in code.source
    if operator in ROWS:
        return  # a class a thread
    vector = {("float32", "metal"): "float4", ("float16", "metal"): "half4"}.get(
        (dtype, name), "float4" if dtype == "float32" else "uint4"
    )
    assert code.source.count(vector) >= len(cases)


some_knobs = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
SEEDS = st.integers(0, 2**31)
BATCH = st.sampled_from([1, 1, 2, 3])
CHANNELS = st.one_of(st.integers(1, 40), st.sampled_from([16, 32, 64]))
ACTIVATIONS = st.sampled_from(["none", "relu", "relu6", "hardswish", "hardsigmoid"])


def any_knobs(cases: Sequence[Workload], seed: int, name: str) -> None:
    """Kernels of several workloads with random knobs; the same ones as a record gives them."""
    target = parse(name)
    functions = {}
    for number, work in enumerate(cases):
        knobs = SeededKnobs(seed + number)
        functions[f"k{number}"] = scheduled(work, target, knobs)
        again = Knobs(knobs.chosen)
        scheduled(work, target, again)
        assert again.chosen == knobs.chosen
    code = device_code(functions, target)
    for number, work in enumerate(cases):
        check(work, f"k{number}", code, seed % 1000)


def spatial(operator: Any) -> st.SearchStrategy[Workload]:
    """A convolution with a window: any kernel, stride and padding that leave a pixel."""

    @st.composite
    def drawn(draw: Callable[..., Any]) -> Workload:
        kernel = draw(st.sampled_from([3, 3, 3, 1, 5]))
        padding = draw(st.tuples(*[st.integers(0, kernel - 1)] * 4))
        least = [max(1, kernel - padding[i] - padding[i + 2]) for i in (0, 1)]
        size = (draw(st.integers(least[0], 20)), draw(st.integers(least[1], 30)))
        channels = draw(CHANNELS)
        pair = (draw(st.integers(1, 5)) if operator == "conv" else channels, channels)
        return workload(
            operator, pair, size, 4, batch=draw(BATCH), kernel=kernel,
            stride=draw(st.integers(1, 2)), padding=padding, activation=draw(ACTIVATIONS),
        )  # fmt: skip

    return drawn()


@some_knobs
@given(st.lists(spatial("depthwise"), min_size=3, max_size=3), SEEDS, st.sampled_from(OPENCL))
def test_depthwise_of_any_size_with_any_knobs(cases: list[Workload], seed: int, name: str) -> None:
    any_knobs(cases, seed, name)


@some_knobs
@given(st.lists(spatial("conv"), min_size=2, max_size=2), SEEDS, st.sampled_from(OPENCL))
def test_conv_of_any_size_with_any_knobs(cases: list[Workload], seed: int, name: str) -> None:
    any_knobs(cases, seed, name)


@some_knobs
@given(
    st.lists(
        st.tuples(CHANNELS, st.tuples(st.integers(1, 12), st.integers(1, 20)), BATCH),
        min_size=2,
        max_size=2,
    ),
    SEEDS,
    st.sampled_from(OPENCL),
)
def test_pool_and_scale_of_any_size_with_any_knobs(
    sizes: list[tuple[int, tuple[int, int], int]], seed: int, name: str
) -> None:
    cases = [
        workload(operator, (channels, channels), size, 4, batch=batch)
        for channels, size, batch in sizes
        for operator in ("pool", "scale")
    ]
    any_knobs(cases, seed, name)


@pytest.mark.parametrize("name", OPENCL)
def test_rows_of_a_softmax_that_hold_nan_or_infinity(name: str) -> None:
    target = parse(name)
    work = workload("softmax", (40, 40), (1, 1), 4, batch=5)
    work = dataclasses.replace(work, in_block=32, out_block=32)
    rows = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    rows[1, 3], rows[2, 38], rows[3] = np.nan, np.inf, -np.inf
    got = run_on_opencl(scheduled(work, target), target, [rows])
    assert np.isnan(got[1:4]).all()
    np.testing.assert_allclose(got[[0, 4]].sum(1), 1.0, rtol=1e-6)

"""Softmax: its exponential against float64, then whole rows, ordinary and not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
from kernels import compiled, use_threads, workload
from numpy.typing import NDArray
from tvm import te

from tvm_mobilenet.compute.softmax import exponential
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.spec import INPUT, Softmax

X86 = ["x86-64", "x86-64-v3", "x86-64-v4"]
Floats = NDArray[np.float32]


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


def softmax(spec: TargetSpec, x: Floats) -> Floats:
    work = workload("softmax", (x.shape[1],) * 2, (1, 1), spec.lanes, batch=x.shape[0])
    out = tvm.runtime.tensor(np.full(x.shape, 7, np.float32))
    compiled([work], spec).jit()[work.key](tvm.runtime.tensor(x), out)
    return np.asarray(out.numpy())


@pytest.mark.parametrize("name", X86)
def test_the_exponential_is_within_two_units_in_the_last_place(name: str) -> None:
    spec, count = here(name), 1 << 22
    x = te.placeholder((count,), name="x")
    y = te.compute(x.shape, lambda i: exponential(x[i]), name="y")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([x, y]))
    schedule.vectorize(schedule.split(schedule.get_loops("y")[0], [None, spec.lanes])[1])
    library = tvm.compile(schedule.mod, target=tvm.target.Target(spec.tvm_dict())).jit()
    # As many near zero as everywhere else: floats between -2**-30 and -89, evenly by their bits.
    low, high = (np.float32(v).view(np.int32) for v in (2.0**-30, 89.0))
    values = -np.linspace(low, high, count - 1).astype(np.int32).view(np.float32)
    values = np.append(values, np.float32(0.0))
    out = tvm.runtime.tensor(np.empty(count, np.float32))
    library["main"](tvm.runtime.tensor(values), out)
    got, want = out.numpy(), np.exp(values.astype(np.float64))
    smallest = 2.0**-126
    unit = np.spacing(np.maximum(want, smallest).astype(np.float32)).astype(np.float64)
    normal = want >= smallest
    assert (np.abs(got - want)[normal] / unit[normal]).max() <= 2
    assert (np.abs(got - want)[~normal]).max() <= smallest
    assert (got[values < -126.51 * math.log(2)] == 0).all()
    assert got[-1] == 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (1, 7), (2, 16), (2, 17), (5, 100), (1, 1001)])
@pytest.mark.parametrize("name", X86)
def test_rows(name: str, shape: tuple[int, int]) -> None:
    x = (8 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    want = reference.run_layer(Softmax("s", (INPUT,), shape), {}, x)
    got = softmax(here(name), x)
    # Rounding x - max is an error of the exponent; then exponential, sum, quotient.
    spread = x.max(axis=1, keepdims=True).astype(np.float64) - x
    bound = (spread + 6 + math.log2(shape[1]) + shape[1] / PRESETS[name].lanes) * 2.0**-24
    assert (np.abs(got - want) <= bound * want + 2.0**-126).all()
    np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-6)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    "row",
    [
        [1e30, 1e30, -1e30],
        [3.4e38, -3.4e38, 0.0],
        [-3.4e38, -3.4e38, -3.4e38],
        [100.0, 0.0, -100.0],
        [-INF, 0.0, 1.0],
        [INF, 0.0, 1.0],
        [-INF, -INF, -INF],
        [NAN, 0.0, 1.0],
        [0.0, 1.0, NAN],
        [NAN, INF, -INF],
    ],
)
@pytest.mark.parametrize("classes", [3, 16, 19])
@pytest.mark.parametrize("name", X86)
def test_rows_that_are_not_ordinary(name: str, classes: int, row: list[float]) -> None:
    """They give what their definition gives, and leave the row beside them alone."""
    x = np.full((2, classes), row[1], np.float32)
    x[0, :2], x[0, -1] = row[:2], row[2]
    x[1] = np.arange(classes)
    with np.errstate(invalid="ignore"):
        want = reference.run_layer(Softmax("s", (INPUT,), x.shape), {}, x)
    np.testing.assert_allclose(softmax(here(name), x), want, rtol=4e-6, atol=2.0**-126)


def test_threads_share_many_rows() -> None:
    spec = here("x86-64-v3")
    x = np.random.default_rng(0).standard_normal((70, 1000)).astype(np.float32)
    use_threads(2)
    want = reference.run_layer(Softmax("s", (INPUT,), x.shape), {}, x)
    np.testing.assert_allclose(softmax(spec, x), want, rtol=4e-6)


@pytest.mark.parametrize("name", ["rpi4", "rpi2", "riscv64"])
def test_other_machines_call_no_library_for_it(name: str) -> None:
    work = workload("softmax", (1000, 1000), (1, 1), PRESETS[name].lanes)
    assembly = compiled([work], PRESETS[name]).mod.inspect_source("asm")
    assert f"__tvm_ffi_{work.key}:" in assembly
    assert "expf" not in assembly
    assert "TVMBackendParallelLaunch" not in assembly

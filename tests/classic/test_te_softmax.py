"""Softmax with TE: rows against float64, ordinary and not, on every x86 family."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tvm
from kernels import workload
from numpy.typing import NDArray
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.emit.relay.kernels import compiled, lowered
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.spec import INPUT, Softmax

Floats = NDArray[np.float32]
INF, NAN = float("inf"), float("nan")
X86 = ["x86-64", "x86-64-v3", "x86-64-v4"]


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


def built(spec: TargetSpec, batch: int, classes: int, threads: str) -> Any:
    work = workload("softmax", (classes,) * 2, (1, 1), spec.lanes, batch=batch)
    return compiled(lowered(work, spec, Knobs({"threads": threads})), spec)[work.key]


def run(kernel: Any, x: Floats) -> Floats:
    out = tvm.nd.array(np.full(x.shape, 7, np.float32))
    kernel(tvm.nd.array(x), out)
    return np.asarray(out.numpy())


@pytest.mark.parametrize("name", X86)
def test_rows_of_softmax(name: str) -> None:
    spec = here(name)
    for shape in [(1, 1), (3, 2), (1, 7), (2, 16), (2, 17), (5, 100), (1, 1001), (70, 1000)]:
        x = (8 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
        want = reference.run_layer(Softmax("s", (INPUT,), shape), {}, x)
        got = run(built(spec, *shape, "all" if shape[0] > 1 else "one"), x)
        # Rounding x - max is an error of the exponent; then exponential, sum, quotient.
        spread = x.max(axis=1, keepdims=True).astype(np.float64) - x
        bound = (spread + 6 + math.log2(shape[1]) + shape[1] / spec.lanes) * 2.0**-24
        assert (np.abs(got - want) <= bound * want + 2.0**-126).all(), shape


@pytest.mark.parametrize("name", X86)
def test_softmax_of_rows_that_are_not_ordinary(name: str) -> None:
    spec = here(name)
    for classes in (3, 19):
        kernel = built(spec, 2, classes, "one")
        for row in [
            (3.4e38, -3.4e38, 0.0), (-3.4e38, -3.4e38, -3.4e38), (100.0, 0.0, -100.0),
            (-INF, 0.0, 1.0), (INF, 0.0, 1.0), (-INF, -INF, -INF), (NAN, 0.0, 1.0),
            (0.0, 1.0, NAN), (NAN, INF, -INF),
        ]:  # fmt: skip
            x = np.full((2, classes), row[1], np.float32)
            x[0, :2], x[0, -1] = row[:2], row[2]
            x[1] = np.arange(classes)
            with np.errstate(invalid="ignore"):
                want = reference.run_layer(Softmax("s", (INPUT,), x.shape), {}, x)
            np.testing.assert_allclose(run(kernel, x), want, rtol=4e-6, atol=2.0**-126)

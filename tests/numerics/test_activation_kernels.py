"""Activations inside of kernels: within the bound, NaN and infinities as the reference has them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from activation_cases import ACTIVATIONS
from kernels import check_kernel, compiled, fused_pair, workload
from not_a_number import check
from schedule_cases import AROUND

from tvm_mobilenet.common.functions import losses
from tvm_mobilenet.machine import TargetSpec, host
from tvm_mobilenet.models.activations import activate as right
from tvm_mobilenet.operators.workload import Workload


def works_of(activation: str, lanes: int) -> dict[str, Workload]:
    """Two operators with an epilogue, others for the next; tails, odd channels, a batch."""
    pair = workload("depthwise", (20, 20), (7, 9), lanes, kernel=3, padding=AROUND)
    block = fused_pair(pair, 24, lanes, activation, residual=True)
    found = (
        workload("pointwise", (20, 19), (5, 7), lanes, batch=2, activation=activation),
        workload("pointwise", (16, 24), (4, 5), lanes, activation=activation, residual=True),
        workload("depthwise", (20, 20), (9, 7), lanes, kernel=3, stride=2, activation=activation),
        workload("conv", (3, 11), (9, 9), lanes, kernel=3, stride=2, activation=activation),
        workload("dense", (40, 21), (1, 1), lanes, batch=2, activation=activation),
        dataclasses.replace(block, mid_activation=activation),
    )
    first = ACTIVATIONS.index(activation)
    return {work.key: work for work in (found[first % len(found)], found[(first + 3) % len(found)])}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_kernels_are_within_the_bound(activation: str) -> None:
    spec = host()
    works = works_of(activation, spec.lanes)
    built = compiled([*works.values()], spec).jit()

    def called(inputs: tuple[Any, ...], out: Any) -> Any:
        import tvm

        tensors = [tvm.runtime.tensor(array) for array in (*inputs, out)]
        run(*tensors)
        return tensors[-1].numpy()

    for key, work in works.items():
        run = built[key]
        check_kernel(work, run)
        for outlier in (np.nan, np.inf, -np.inf):
            check(work, called, outlier)


def applied(activation: str, x: Any, spec: TargetSpec) -> tuple[Any, str]:
    """What the compiled function makes of numbers, and its assembly."""
    import tvm
    from tvm import te
    from tvm_mobilenet.schedules.nan import keeping_nan

    from tvm_mobilenet.compute.activations import activate

    data = te.placeholder(x.shape, "float32", name="data")
    out = te.compute(x.shape, lambda i: activate(data[i], activation), name="out")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([data, out]))
    (loop,) = schedule.get_loops(schedule.get_sblock("out"))
    schedule.vectorize(schedule.split(loop, [None, spec.lanes])[1])
    func = keeping_nan(schedule.mod["main"], spec.machine).with_attr("global_symbol", "f")
    built = tvm.compile(tvm.IRModule({"f": func}), target=tvm.target.Target(spec.tvm_dict()))
    got = tvm.runtime.tensor(np.zeros(x.shape, np.float32))
    built.jit()["f"](tvm.runtime.tensor(x), got)
    return got.numpy(), built.mod.inspect_source("asm")


EDGES = (0.0, -0.0, np.inf, -np.inf, np.nan, 88.0, -88.0, 89.0, -89.0, 1e38, -1e38, 1e-40, -1e-40)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_functions_lose_no_more_than_is_said(activation: str) -> None:
    """Over all of float32; no function of a library is called."""
    wide = 10.0 ** np.linspace(-30, 38, 20000)
    near = np.linspace(-30, 30, 60000)
    x = np.concatenate([near, wide, -wide, EDGES]).astype(np.float32)
    x = np.pad(x, (0, -len(x) % 16))
    got, assembly = applied(activation, x, host())
    calls = [line.split() for line in assembly.splitlines() if "call" in line.split("\t")]
    assert not [line for line in calls if "exp" in line[-1] or "erf" in line[-1]]
    with np.errstate(invalid="ignore"):
        want = right(x.astype(np.float64), activation)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    known = np.isfinite(want) & (np.abs(want) < 3e38)
    always, relative = losses(activation)
    magnitude = np.minimum(np.abs(x[known].astype(np.float64)), 1e38)
    # The sums' own roundings, which a kernel has anyway, are a few more.
    allowed = (always + relative * magnitude + 4 * magnitude) * 2.0**-24
    error = np.abs(got[known] - want[known])
    worst = int(np.argmax(error - allowed))
    assert (error <= allowed + 1e-37).all(), (
        x[known][worst],
        got[known][worst],
        want[known][worst],
    )
    np.testing.assert_array_equal(got[np.isinf(want)], want[np.isinf(want)])


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "elu(0.5)", "softplus", "mish"])
def test_small_values_have_all_their_digits(activation: str) -> None:
    x = np.linspace(-15, 15, 48000).astype(np.float32)
    x = np.concatenate([x, np.geomspace(1e-20, 1, 1600), -np.geomspace(1e-20, 1, 1600)])
    x = x.astype(np.float32)
    got, _ = applied(activation, x, host())
    want = right(x.astype(np.float64), activation)
    ulps = np.abs(got - want) / np.spacing(np.abs(want).astype(np.float32))
    assert ulps[want != 0].max() <= 6, x[want != 0][np.argmax(ulps[want != 0])]

"""A NaN that goes into a kernel comes out of it, exactly where the reference's does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tvm
from assembly import functions
from kernels import compiled, workload
from not_a_number import MAXIMA, PLACE, check, not_numbers, tvms_own, works

import tvm_mobilenet as tm
from tvm_mobilenet.emit.relax.schedule_kernels import schedule_kernels
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine, parse
from tvm_mobilenet.network.planning import unplanned

X86 = ["x86-64", "x86-64-v3", "x86-64-v4"]


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


def runs(kernel: Any) -> Any:
    def run(inputs: Any, out: Any) -> Any:
        tensors = [tvm.runtime.tensor(array) for array in (*inputs, out)]
        kernel(*tensors)
        return tensors[-1].numpy()

    return run


@pytest.mark.parametrize("target", X86)
def test_of_every_operator(target: str) -> None:
    spec = here(target)
    cases = works(spec.lanes)
    kernels = compiled(list(cases.values()), spec).jit()
    for work in cases.values():
        for outlier in (math.nan, math.inf, -math.inf):
            check(work, runs(kernels[work.key]), outlier)


@pytest.mark.parametrize("name", MAXIMA)
def test_of_operators_of_tvms_own(name: str) -> None:
    spec = parse("native")
    func = tvms_own(name, tvm.target.Target(spec.tvm_dict())).with_attr("global_symbol", name)
    mod, _ = schedule_kernels(tvm.IRModule({name: func}), unplanned(tm.mobilenet_v1(), spec))
    kernel = tvm.compile(mod, target=tvm.target.Target(spec.tvm_dict())).jit()[name]
    x, out = (np.zeros([int(n) for n in p.ty.shape], np.float32) for p in func.params)
    x[PLACE] = math.nan
    assert not_numbers(runs(kernel)([x], out)) == MAXIMA[name]


def test_of_a_network() -> None:
    """One pixel of one channel, and no class is likely."""
    x = np.zeros((1, 3, 32, 32), np.float32)
    x[0, 2, 31, 0] = math.nan
    made = tm.compile(tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10), verify=False)
    assert np.isnan(made.module(x)).all()


@pytest.mark.parametrize(
    ("target", "kept", "lost"),
    [
        ("rpi4", {"fmax", "fmin"}, {"fmaxnm", "fminnm", "fcmgt"}),
        ("rpi2", {"vclt.f32"}, {"vcge.f32", "vcle.f32"}),
    ],
)
def test_what_arm_is_told(target: str, kept: set[str], lost: set[str]) -> None:
    """The instructions that keep it. Emulated boards run them: tests/device/test_board.py."""
    spec = PRESETS[target]
    work = workload("pointwise", (16, 32), (5, 5), spec.lanes, activation="relu6")
    assembly = compiled([work], spec).mod.inspect_source("asm")
    bodies = functions(assembly, spec.machine).values()
    used = {line.split()[0] for lines in bodies for line in lines}
    assert kept <= used
    assert not lost & used

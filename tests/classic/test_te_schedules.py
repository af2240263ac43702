"""Every TE schedule by its rule and with any knobs, against the reference, on every x86 family."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import tvm
from assembly import innermost_loops
from kernels import Case, of_model, workload
from schedule_cases import OPERATORS, works
from tvm_mobilenet.schedules.knobs import KnobError, Knobs, SeededKnobs
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.rules import TE, schedule

from tvm_mobilenet.compute.primfunc import DEFINITIONS
from tvm_mobilenet.compute.workload import Workload
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.target import PRESETS, TargetSpec, host_cpu_features, host_machine

X86 = ["x86-64", "x86-64-v3", "x86-64-v4"]


def lowered(work: Workload, target: TargetSpec, knobs: Knobs) -> Any:
    tensors = DEFINITIONS[work.operator](work)
    s = schedule(work.operator, Definition(tensors, work.out_size[1]), target, knobs)
    return tvm.lower(s, tensors, name=work.key)


def built(
    cases: Sequence[Workload], target: TargetSpec, knobs: Callable[[int], Knobs] = lambda _: Knobs()
) -> Any:
    parts = [lowered(work, target, knobs(i)) for i, work in enumerate(cases)]
    functions = {var: func for part in parts for var, func in part.functions.items()}
    return tvm.build(tvm.IRModule(functions), target=tvm.target.Target(target.tvm_dict()))


def here(name: str) -> TargetSpec:
    """A preset that this machine can run, or a skip."""
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


@pytest.mark.parametrize("operator", [o for o in OPERATORS if o != "strassen"])
@pytest.mark.parametrize("name", X86)
def test_right_by_its_rule(name: str, operator: str) -> None:
    spec = here(name)
    cases = works(spec.lanes)[operator]
    kernels = built(cases, spec)
    for number, work in enumerate(cases):
        Case(work, seed=number, bias=number % 3 != 0).check(kernels[work.key], name)


@pytest.mark.parametrize("operator", ["pointwise", "residual", "depthwise", "conv", "dense"])
def test_right_with_any_knobs(operator: str) -> None:
    spec = here("x86-64-v4")
    cases = works(spec.lanes)[operator]
    for round_ in range(3):
        chosen = [SeededKnobs(random.Random(f"{operator} {round_} {i}").getrandbits(32))
                  for i in range(len(cases))]  # fmt: skip
        kernels = built(cases, spec, chosen.__getitem__)
        for number, work in enumerate(cases):
            Case(work, seed=number).check(kernels[work.key], chosen[number].chosen)


def test_code_for_arm_is_generated() -> None:
    spec = PRESETS["rpi4"]
    everything = [
        work for name, cases in works(spec.lanes).items() if name != "strassen" for work in cases
    ]
    assembly = built(everything, spec).get_source("asm")
    for work in everything:
        assert f"{work.key}:" in assembly
    assert "fmla" in assembly


@pytest.mark.parametrize("resolution", [224, 160])
@pytest.mark.parametrize("name", ["znver5", "x86-64-v3", "rpi4"])
def test_nothing_spills(name: str, resolution: int) -> None:
    spec = PRESETS[name]
    works = of_model(mobilenet_v1(1.0, resolution), spec.lanes)
    cases = {key: work for key, work in works.items() if work.operator in TE}
    assembly = built(list(cases.values()), spec).get_source("asm")
    busy = [loop for loop in innermost_loops(assembly, spec.machine) if loop.fused]
    assert {loop.function for loop in busy} >= {k for k in cases if not k.startswith("pool")}
    spilled = {loop.function: loop.spilled for loop in busy if loop.spilled}
    # With 16 registers: one weight in the first convolution, whose taps LLVM unrolls all 27.
    assert set(spilled) <= {key for key in cases if name == "x86-64-v3" and key.startswith("conv")}
    assert not any(loop.multiplies for loop in busy)


def test_knobs_of_a_record_are_checked() -> None:
    spec = PRESETS["x86-64-v4"]
    work = workload("pointwise", (32, 64), (7, 7), spec.lanes)
    with pytest.raises(KnobError, match="'pixels' is 999"):
        lowered(work, spec, Knobs({"vectors": 1, "pixels": 999}))
    with pytest.raises(KnobError, match="no knob 'colour'"):
        lowered(work, spec, Knobs({"colour": 1}))

"""Every TE schedule by its rule and with any knobs, against the reference, on every x86 family."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import tvm
from assembly import innermost_loops
from kernels import check_kernel, fused_of_model, of_model, workload
from schedule_cases import OPERATORS, blocks, works
from tvm_mobilenet.schedules.knobs import KnobError, Knobs, SeededKnobs
from tvm_mobilenet.schedules.te.rules import TE

from tvm_mobilenet.emit.relay.kernels import compiled, lowered
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.operators.workload import Workload

X86 = ["x86-64", "x86-64-v3", "x86-64-v4"]


def built(
    cases: Sequence[Workload], target: TargetSpec, knobs: Callable[[int], Knobs] = lambda _: Knobs()
) -> Any:
    parts = [lowered(work, target, knobs(i)) for i, work in enumerate(cases)]
    functions = {var: func for part in parts for var, func in part.functions.items()}
    return compiled(tvm.IRModule(functions), target)


def here(name: str) -> TargetSpec:
    """A preset that this machine can run, or a skip."""
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("name", X86)
def test_right_by_its_rule(name: str, operator: str) -> None:
    spec = here(name)
    cases = works(spec.lanes)[operator]
    kernels = built(cases, spec)
    for number, work in enumerate(cases):
        check_kernel(work, kernels[work.key], number, name)


@pytest.mark.parametrize("operator", ["pointwise", "residual", "depthwise", "conv", "dense"])
def test_right_with_any_knobs(operator: str) -> None:
    spec = here("x86-64-v4")
    cases = works(spec.lanes)[operator]
    for round_ in range(3):
        chosen = [SeededKnobs(random.Random(f"{operator} {round_} {i}").getrandbits(32))
                  for i in range(len(cases))]  # fmt: skip
        kernels = built(cases, spec, chosen.__getitem__)
        for number, work in enumerate(cases):
            check_kernel(work, kernels[work.key], number, chosen[number].chosen)


@pytest.mark.parametrize("name", X86)
def test_separable_blocks_are_right(name: str) -> None:
    spec = here(name)
    every = [Knobs(), Knobs({"prefetch": "input"}), *map(SeededKnobs, range(3))]
    cases = blocks(spec.lanes) + blocks(spec.lanes, residual=True)
    kernels = built(cases, spec, lambda number: every[number % len(every)])
    for number, work in enumerate(cases):
        check_kernel(work, kernels[work.key], number)


def test_code_for_arm_is_generated() -> None:
    spec = PRESETS["rpi4"]
    everything = [work for cases in works(spec.lanes).values() for work in cases]
    assembly = built(everything, spec).get_source("asm")
    for work in everything:
        assert f"{work.key}:" in assembly
    assert "fmla" in assembly


@pytest.mark.parametrize("resolution", [224, 160])
@pytest.mark.parametrize("name", ["znver5", "x86-64-v3", "rpi4"])
def test_nothing_spills(name: str, resolution: int) -> None:
    spec = PRESETS[name]
    works = of_model(mobilenet_v1(1.0, resolution), spec.lanes)
    works |= fused_of_model(mobilenet_v1(1.0, resolution), spec.lanes)
    cases = {key: work for key, work in works.items() if work.operator in TE}
    assembly = built(list(cases.values()), spec).get_source("asm")
    busy = [loop for loop in innermost_loops(assembly, spec.machine) if loop.fused]
    assert {loop.function for loop in busy} >= {k for k in cases if not k.startswith("pool")}
    assert not {loop.function: loop.spilled for loop in busy if loop.spilled}
    multiplying = {loop.function for loop in busy if loop.multiplies}
    # An exponential ends with a product.
    assert multiplying == {key for key in cases if key.startswith("softmax")}


@pytest.mark.parametrize(
    ("prefetch", "fetches"), [("none", False), ("input", True), ("weights", True)]
)
def test_prefetches_become_instructions(prefetch: str, fetches: bool) -> None:
    spec = here("x86-64-v4")
    work = workload("pointwise", (128, 64), (14, 14), spec.lanes)
    knobs = Knobs({"prefetch": prefetch})
    assembly = built([work], spec, lambda _: knobs).get_source("asm")
    assert ("prefetcht0" in assembly) == fetches


def test_knobs_of_a_record_are_checked() -> None:
    spec = PRESETS["x86-64-v4"]
    work = workload("pointwise", (32, 64), (7, 7), spec.lanes)
    with pytest.raises(KnobError, match="'pixels' is 999"):
        lowered(work, spec, Knobs({"vectors": 1, "pixels": 999}))
    with pytest.raises(KnobError, match="no knob 'colour'"):
        lowered(work, spec, Knobs({"colour": 1}))

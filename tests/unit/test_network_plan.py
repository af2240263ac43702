"""What a plan decides, as plain data: no TVM in here."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tvm_mobilenet.machine import PRESETS
from tvm_mobilenet.models import build, mobilenet_v1
from tvm_mobilenet.network.explain import explain
from tvm_mobilenet.network.plan import Foreign
from tvm_mobilenet.network.planning import plan_network, unplanned
from tvm_mobilenet.network.storage import memory_of

ZEN5 = PRESETS["znver5"]
SMALL = mobilenet_v1(alpha=0.25, resolution=96, classes=10)


def test_every_layer_is_in_one_call_in_an_order_that_can_run() -> None:
    for name in ("v1", "v2", "v3-large", "v3-small"):
        plan = plan_network(build(name), ZEN5)
        known = {"input"}
        for call in plan.calls:
            assert set(call.sources) <= known
            known.add(call.output.name)
        names = [layer.name for call in plan.calls for layer in call.layers]
        assert sorted(names) == sorted(layer.name for layer in plan.model.layers)
        assert sum(call.macs for call in plan.calls) == plan.model.macs


def test_layouts_meet() -> None:
    """What is written in blocks is read in the same blocks; the image and the answer are plain."""
    plan = plan_network(SMALL, ZEN5)
    written = {call.output.name: call.output for call in plan.calls}
    for call in plan.calls:
        for value in call.reads:
            assert value == written.get(value.name, value)
    assert plan.calls[0].reads[0].block == plan.calls[-1].output.block == 0


def test_recorded_knobs_are_predicted() -> None:
    def slow(key: str) -> dict[str, int | str] | None:
        return {"vectors": 1, "pixels": 1} if key.startswith("pointwise") else None

    ruled, recorded = (
        explain(plan_network(SMALL, ZEN5, knobs_for=knobs, fusion="none"))
        for knobs in (lambda _: None, slow)
    )
    for rule, record in zip(ruled.steps, recorded.steps, strict=True):
        sources = {kernel.source for kernel in record.kernels}
        if any(kernel.operator == "pointwise" for kernel in record.kernels):
            assert "record" in sources
            assert record.cost.cycles > rule.cost.cycles
        else:
            assert sources == {"rule"}
            assert record.cost == rule.cost


def test_knobs_that_do_not_fit_leave_the_choice_to_the_rule_and_a_note() -> None:
    plan = plan_network(SMALL, ZEN5, knobs_for=lambda _: {"speed": 11})
    assert {kernel.source for kernel in plan.kernels.values()} == {"rule"}
    assert len(plan.notes) == len(plan.kernels)
    assert all("no knob 'speed'; the rule is used instead" in note for note in plan.notes)


def test_a_stack_plans_what_it_has_schedules_for() -> None:
    relax, relay = (plan_network(SMALL, ZEN5, stack=s, fusion="all") for s in ("relax", "relay"))
    operators = [{call.work.operator for call in plan.calls} for plan in (relax, relay)]
    assert ["tail" in some for some in operators] == [True, False]
    assert memory_of(relay) is None


def test_memory_is_known_unless_tvm_decides_about_tensors() -> None:
    plan = memory_of(plan_network(SMALL, ZEN5, fusion="none"))
    assert plan is not None
    assert len(plan.storages) == 2
    assert plan.bound <= sum(plan.storages)
    assert memory_of(unplanned(SMALL, ZEN5)) is None


def test_a_network_without_kernels_of_ours_is_all_foreign() -> None:
    plan = unplanned(SMALL, ZEN5)
    assert all(isinstance(step, Foreign) for step in plan.steps)
    assert [step.sources for step in plan.steps] == [layer.inputs for layer in SMALL.layers]


@pytest.mark.parametrize("target", ["znver5", "rpi4"])
def test_the_text_names_every_layer_and_choice(target: str) -> None:
    plan = plan_network(SMALL, PRESETS[target])
    lines = plan.text.splitlines()
    for call in plan.calls:
        assert any(line.startswith(f"{call.output.name}: ") for line in lines)
    told: list[Any] = [call.choice for call in plan.calls if call.choice is not None]
    assert all(any(choice.why in line for line in lines) for choice in told)


def test_planning_takes_no_tvm_and_no_numpy() -> None:
    code = (
        "import sys; from tvm_mobilenet.network.planning import plan_network;"
        "from tvm_mobilenet.models import mobilenet_v1;"
        "from tvm_mobilenet.machine import PRESETS;"
        "plan_network(mobilenet_v1(), PRESETS['znver5']);"
        "assert not {'tvm', 'tvm_ffi', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)

"""Each phase of the graph leaves an executable module that computes what it did before."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tvm
from graphs import operators, run
from tvm import relax, tirx

from tvm_mobilenet.emit.relax.emit import emit
from tvm_mobilenet.emit.relax.fold_constants import fold_constants
from tvm_mobilenet.emit.relax.legalize_rest import legalize_rest
from tvm_mobilenet.emit.relax.pipeline import Lowered
from tvm_mobilenet.emit.relax.pipeline import lower as lower_plan
from tvm_mobilenet.emit.relax.reading import array_of, is_constant
from tvm_mobilenet.emit.relax.schedule_kernels import schedule_kernels
from tvm_mobilenet.errors import InvalidModelError, OutputError
from tvm_mobilenet.machine import host
from tvm_mobilenet.models import mobilenet_v1, reference
from tvm_mobilenet.models.spec import Layer, Model, symbol
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.prediction.fusion import Choice
from tvm_mobilenet.verify.artifact import sample_input

MODEL = mobilenet_v1(alpha=0.25, resolution=32, classes=10)
WEIGHTS = initialize(MODEL, seed=5)
X = sample_input(MODEL.input_shape)
TARGET = dataclasses.replace(host(), cores=1)
PHASES = ("emit", "fold_constants", "legalize_rest", "schedule_kernels")


def lower(dump_ir: Path | None = None, **options: Any) -> Lowered:
    """The small network, planned with these options and lowered."""
    return lower_plan(plan_network(MODEL, TARGET, **options), WEIGHTS, dump_ir)


@pytest.fixture(scope="module")
def phases() -> dict[str, Any]:
    """The module after each phase."""
    plan = plan_network(MODEL, TARGET, fusion="none")
    found = {"emit": emit(plan, WEIGHTS)}
    found["fold_constants"] = fold_constants(found["emit"])
    target = tvm.target.Target(TARGET.tvm_dict())
    found["legalize_rest"] = legalize_rest(found["fold_constants"], target)
    found["schedule_kernels"], _ = schedule_kernels(found["legalize_rest"], plan)
    return found


@pytest.mark.parametrize("phase", PHASES)
def test_numerics_are_unchanged(phases: dict[str, Any], phase: str) -> None:
    want = reference.run(MODEL, WEIGHTS, X)
    assert reference.relative_error(run(phases[phase], X), want) < 1e-5


def test_layers_keep_their_names(phases: dict[str, Any]) -> None:
    for phase in PHASES:
        names = {
            str(binding.var.name)
            for block in phases[phase]["main"].body.blocks
            for binding in block.bindings
        }
        assert {symbol(layer.name) for layer in MODEL.layers[:-1]} <= names, phase


def test_activations_stay_in_blocks_from_the_first_convolution_to_the_classifier(
    phases: dict[str, Any],
) -> None:
    """No conversion at all: the first kernel reads NCHW, the last writes NC."""
    found = operators(phases["emit"])
    assert sum(found.values()) == 30
    ours = ("conv_", "depthwise_", "pointwise_", "pool_", "dense_", "softmax_")
    assert all(name.startswith(ours) for name in found)


def test_weights_are_packed_at_compile_time(phases: dict[str, Any]) -> None:
    bindings = [
        binding
        for block in phases["emit"]["main"].body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call)
    ]
    for binding in bindings:
        for argument in list(binding.value.args[1])[1:]:
            assert is_constant(argument), f"{binding.var.name}: {argument}"
    packed = array_of(list(bindings[0].value.args[1])[1])
    block = min(TARGET.lanes, 8)
    assert packed.shape == (8 // block, 27, block)
    filters = WEIGHTS["conv1.weight"].reshape(8, 27)
    for channel, taps in enumerate(filters):  # batch norm scales each
        column = packed[channel // block, :, channel % block]
        aligned = (column @ taps) ** 2 / ((column @ column) * (taps @ taps))
        assert aligned == pytest.approx(1, abs=1e-5)


def test_every_kernel_is_scheduled_and_says_how() -> None:
    lowered = lower(fusion="none")
    assert len(lowered.calls) == len(MODEL.layers)
    assert [call.value for call in lowered.calls[:3]] == ["conv1", "block1_dw", "block1_pw"]
    by_schedule = {kernel.schedule for kernel in lowered.kernels.values()}
    assert by_schedule == {
        "cpu.conv", "cpu.depthwise", "cpu.pointwise", "cpu.pool", "cpu.dense", "cpu.softmax"
    }  # fmt: skip
    for kernel in lowered.kernels.values():
        assert kernel.source == "rule"
        assert kernel.knobs["threads"] in ("all", "one")
    for func in lowered.mod.functions.values():
        assert isinstance(func, (tirx.PrimFunc, relax.Function))


def test_recorded_knobs_are_used_and_wrong_ones_named() -> None:
    keys = []

    def record(key: str) -> dict[str, int | str] | None:
        keys.append(key)
        return {"threads": "one", "prefetch": "none"} if key.startswith("pointwise") else None

    lowered = lower(knobs_for=record, fusion="none")
    for name, kernel in lowered.kernels.items():
        if name.startswith("pointwise"):
            assert kernel.source == "record"
            assert kernel.knobs["prefetch"] == "none"
            assert "it does not say" in kernel.note
    assert any(key.startswith("depthwise") for key in keys)
    stale = {"pool": {"speed": 11}, "depthwise": {"threads": "seven"}}
    lowered = lower(knobs_for=lambda key: stale.get(key.partition("_")[0]), fusion="none")
    notes = {kernel.operator: kernel.note for kernel in lowered.kernels.values()}
    assert "no knob 'speed'; the rule is used instead" in notes["pool"]
    assert "knob 'threads' is 'seven'" in notes["depthwise"]
    assert not notes["pointwise"]
    assert {kernel.source for kernel in lowered.kernels.values()} <= {"rule", "fallback"}


def test_a_measured_answer_overrides_the_rule_of_fusion() -> None:
    asked: list[str] = []

    def measured(key: str) -> Choice | None:
        asked.append(key)
        return Choice(True, "measured", "record") if "s8x8" in key else None

    plan = plan_network(MODEL, TARGET, fusion_for=measured)
    chosen = [(call, call.choice) for call in plan.calls if call.choice is not None]
    taken = [call for call, choice in chosen if choice.source == "record" and choice.fused]
    assert taken
    # The key that was asked about is the kernel's that comes of it.
    assert {call.work.key for call in taken} <= set(asked)
    assert any(choice.source == "rule" for _, choice in chosen)


def test_the_plan_and_the_ir_are_dumped_after_each_phase(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "ir"
    lower(folder)
    names = sorted(path.name for path in folder.iterdir())
    after = [f"{number:02d}_{phase}.py" for number, phase in enumerate(PHASES, 1)]
    assert names == ["00_plan.txt", *after]
    plan = (folder / "00_plan.txt").read_text()
    assert "conv1: 1x8x16x16 float32 in blocks of 8 = conv_n1_i3_o8" in plan
    assert "threads" in plan
    assert "T.parallel" not in (folder / "03_legalize_rest.py").read_text()
    assert "T.vectorized" in (folder / "04_schedule_kernels.py").read_text()


def test_ir_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the IR"):
        lower(tmp_path / "file" / "ir")


def test_a_layer_that_the_graph_does_not_know_is_an_error() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Shuffle(Layer):
        pass

    model = Model("m", "M", {}, (1, 3), (Shuffle("mix", ("input",), (1, 3)),))
    with pytest.raises(InvalidModelError, match="cannot build Shuffle 'mix'"):
        emit(plan_network(model, TARGET), {})

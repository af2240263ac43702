"""Each phase of the graph leaves an executable module that computes what it did before."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from graphs import operators, run
from tvm import relax, tirx
from tvm_mobilenet.graph.block_layout import block_layout
from tvm_mobilenet.graph.build import ENTRY, build
from tvm_mobilenet.graph.constants import array_of, is_constant
from tvm_mobilenet.graph.fetch_ahead import fetch_ahead
from tvm_mobilenet.graph.fold_batch_norm import fold_batch_norm
from tvm_mobilenet.graph.fuse_blocks import fuse_blocks
from tvm_mobilenet.graph.fuse_epilogue import COMPOSITE, fuse_epilogue
from tvm_mobilenet.graph.pack_weights import pack_weights

from tvm_mobilenet import reference
from tvm_mobilenet.errors import InvalidModelError, OutputError
from tvm_mobilenet.graph.legalize_rest import legalize_rest
from tvm_mobilenet.graph.pipeline import lower
from tvm_mobilenet.graph.schedule_kernels import schedule_kernels
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.models.spec import Layer, Model, symbol
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.fusion import Choice
from tvm_mobilenet.target import host
from tvm_mobilenet.verify import sample_input

MODEL = mobilenet_v1(alpha=0.25, resolution=32, classes=10)
WEIGHTS = initialize(MODEL, seed=5)
X = sample_input(MODEL.input_shape)
TARGET = dataclasses.replace(host(), cores=1)
PHASES = (
    "build",
    "fold_batch_norm",
    "fuse_epilogue",
    "fuse_blocks",
    "block_layout",
    "pack_weights",
    "legalize_rest",
    "fetch_ahead",
    "schedule_kernels",
)


@pytest.fixture(scope="module")
def phases() -> dict[str, Any]:
    """The module after each phase."""
    found = {"build": build(MODEL, WEIGHTS)}
    found["fold_batch_norm"] = fold_batch_norm(found["build"])
    found["fuse_epilogue"] = fuse_epilogue(found["fold_batch_norm"])
    found["fuse_blocks"], _ = fuse_blocks(found["fuse_epilogue"], TARGET, "none")
    works: dict[str, Workload] = {}
    found["block_layout"] = block_layout(found["fuse_blocks"], TARGET, works=works)
    found["pack_weights"] = pack_weights(found["block_layout"])
    target = tvm.target.Target(TARGET.tvm_dict())
    found["legalize_rest"] = legalize_rest(found["pack_weights"], target)
    found["fetch_ahead"] = fetch_ahead(found["legalize_rest"], TARGET, ENTRY, works)
    found["schedule_kernels"], _ = schedule_kernels(found["fetch_ahead"], TARGET, lambda _: None)
    return found


@pytest.mark.parametrize("phase", PHASES)
def test_numerics_are_unchanged(phases: dict[str, Any], phase: str) -> None:
    want = reference.run(MODEL, WEIGHTS, X)
    assert reference.relative_error(run(phases[phase], X), want) < 1e-5


def test_the_built_graph_reads_as_the_definition(phases: dict[str, Any]) -> None:
    found = operators(phases["build"])
    assert found["relax.nn.conv2d"] == 27
    assert found["relax.nn.batch_norm"] == 27
    assert found["relax.clip"] == 27
    assert found["relax.matmul"] == found["relax.mean"] == found["relax.nn.softmax"] == 1


def test_layers_keep_their_names(phases: dict[str, Any]) -> None:
    for phase in ("build", "fuse_epilogue", "block_layout", "schedule_kernels"):
        names = {
            str(binding.var.name)
            for block in phases[phase]["main"].body.blocks
            for binding in block.bindings
        }
        assert {symbol(layer.name) for layer in MODEL.layers[:-1]} <= names, phase


def test_batch_norm_is_folded_into_weights_and_bias(phases: dict[str, Any]) -> None:
    assert operators(phases["fold_batch_norm"])["relax.nn.batch_norm"] == 0
    first, second = next(
        (a.value, b.value)
        for block in phases["fold_batch_norm"]["main"].body.blocks
        for a, b in [block.bindings[:2]]
    )
    statistics = [WEIGHTS[f"conv1.bn.{n}"] for n in ("gamma", "beta", "mean", "variance")]
    gamma, beta, mean, variance = (s.astype(np.float64) for s in statistics)
    scale = gamma / np.sqrt(variance + 1e-3)
    np.testing.assert_array_equal(
        array_of(first.args[1]),
        (WEIGHTS["conv1.weight"] * scale[:, None, None, None]).astype(np.float32),
    )
    np.testing.assert_array_equal(
        array_of(second.args[1]).reshape(-1), (beta - mean * scale).astype(np.float32)
    )


def test_every_layer_of_ours_is_one_composite_function(phases: dict[str, Any]) -> None:
    composites = [
        str(func.attrs[COMPOSITE])
        for func in phases["fuse_epilogue"].functions.values()
        if isinstance(func, relax.Function) and COMPOSITE in (func.attrs or {})
    ]
    assert composites.count("tvm_mobilenet.conv2d") == 27
    assert composites.count("tvm_mobilenet.dense") == composites.count("tvm_mobilenet.pool") == 1
    assert composites.count("tvm_mobilenet.softmax") == 1
    left = operators(phases["fuse_epilogue"])
    assert sum(left.values()) == 30
    assert all(name.startswith("fused_") for name in left)


def test_activations_stay_in_blocks_from_the_first_convolution_to_the_classifier(
    phases: dict[str, Any],
) -> None:
    """No conversion at all: the first kernel reads NCHW, the last writes NC."""
    found = operators(phases["pack_weights"])
    assert sum(found.values()) == 30
    ours = ("conv_", "depthwise_", "pointwise_", "pool_", "dense_", "softmax_")
    assert all(name.startswith(ours) for name in found)


def test_weights_are_packed_at_compile_time(phases: dict[str, Any]) -> None:
    assert operators(phases["block_layout"])["relax.permute_dims"] > 0
    bindings = [
        binding
        for block in phases["legalize_rest"]["main"].body.blocks
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
    lowered = lower(MODEL, WEIGHTS, TARGET, lambda _: None, fusion="none")
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

    lowered = lower(MODEL, WEIGHTS, TARGET, record, fusion="none")
    for name, kernel in lowered.kernels.items():
        if name.startswith("pointwise"):
            assert kernel.source == "record"
            assert kernel.knobs["prefetch"] == "none"
            assert "it does not say" in kernel.note
    assert any(key.startswith("depthwise") for key in keys)
    stale = {"pool": {"speed": 11}, "depthwise": {"threads": "seven"}}
    lowered = lower(
        MODEL, WEIGHTS, TARGET, lambda key: stale.get(key.partition("_")[0]), fusion="none"
    )
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

    small = lower(MODEL, WEIGHTS, TARGET, lambda _: None, fusion_for=measured)
    taken = {v: choice for v, choice in small.fusions.items() if choice.source == "record"}
    assert taken
    assert all(choice.fused for choice in taken.values())
    # The key that was asked about is the kernel's that comes of it.
    assert {call.kernel for call in small.calls if call.value in taken} <= set(asked)
    assert any(choice.source == "rule" for choice in small.fusions.values())


def test_the_ir_is_dumped_after_each_phase(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "ir"
    lower(MODEL, WEIGHTS, TARGET, lambda _: None, folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{number:02d}_{phase}.py" for number, phase in enumerate(PHASES)]
    assert "batch_norm" in (folder / "00_build.py").read_text()
    assert "batch_norm" not in (folder / "01_fold_batch_norm.py").read_text()
    assert "T.parallel" not in (folder / "06_legalize_rest.py").read_text()
    assert "T.vectorized" in (folder / "08_schedule_kernels.py").read_text()


def test_ir_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the IR"):
        lower(MODEL, WEIGHTS, TARGET, lambda _: None, tmp_path / "file" / "ir")


def test_a_layer_that_the_graph_does_not_know_is_an_error() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Shuffle(Layer):
        @property
        def out_shape(self) -> tuple[int, ...]:
            return self.in_shape

    model = Model("m", "M", {}, (1, 3), (Shuffle("mix", ("input",), (1, 3)),))
    with pytest.raises(InvalidModelError, match="cannot build Shuffle 'mix'"):
        build(model, {})

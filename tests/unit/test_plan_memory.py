"""Activations share memory: never two at a time, and no more than the largest two need."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from graphs import constant, module
from hypothesis import given
from hypothesis import strategies as st
from tvm import relax
from tvm.relax.op import nn

from tvm_mobilenet import machine as target
from tvm_mobilenet.emit.relax.emit import ENTRY
from tvm_mobilenet.emit.relax.pipeline import Lowered, lower
from tvm_mobilenet.emit.relax.plan_memory import plan_memory
from tvm_mobilenet.emit.relax.workspace import workspaces
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.network.memory import MemoryPlan, Tensor, place
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.prediction.fusion import Fusion

ALPHAS, RESOLUTIONS = (1.0, 0.75, 0.5, 0.25), (224, 192, 160, 128)
NATIVE = target.PRESETS["znver5"]


class Zeros(dict[str, Any]):
    """Weights of no value, and of no size in memory."""

    def __init__(self, model: Any) -> None:
        shapes = {name: s for layer in model.layers for name, s in layer.parameters.items()}
        super().__init__({n: np.zeros(s, np.float32) for n, s in shapes.items()})


def lowered(
    alpha: float, resolution: int, fusion: Fusion = "auto", batch: int = 1, preset: str = "znver5"
) -> Lowered:
    model = mobilenet_v1(alpha=alpha, resolution=resolution, batch=batch)
    spec = target.PRESETS[preset]
    return lower(plan_network(model, spec, fusion=fusion), Zeros(model))


def operators(mod: Any) -> list[str]:
    bindings = [b for block in mod[ENTRY].body.blocks for b in block.bindings]
    return [str(getattr(b.value.op, "name", "kernel")) for b in bindings]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_v1_takes_what_its_two_largest_tensors_need(alpha: float, resolution: int) -> None:
    network = lowered(alpha, resolution)
    for name, count in workspaces(network.mod, 2).items():
        fused = name.startswith(("separable", "tail", "softmax"))
        # Sixteen vectors of 64 bytes are 1,024 bytes, which TVM does not put on the stack.
        assert fused or count in {0, 2 * 1024}, f"{name} keeps accumulators off the stack"
    mod, plan = plan_memory(network.mod)
    assert sum(plan.storages) == plan.bound
    assert len(plan.largest) == 2
    assert plan.output_bytes == 4000
    found = operators(mod)
    assert found.count("relax.memory.alloc_storage") == 2
    assert found.count("relax.builtin.alloc_tensor") == 1  # the output
    shapes = found.count("relax.memory.alloc_tensor")
    assert shapes < found.count("kernel")
    assert len(found) == 3 + shapes + found.count("kernel")


@pytest.mark.parametrize(
    ("fusion", "batch", "preset"),
    [("none", 1, "znver5"), ("all", 1, "znver5"), ("auto", 3, "x86-64-v3"), ("auto", 1, "rpi4")],
)
def test_so_it_does_however_it_is_compiled(fusion: Fusion, batch: int, preset: str) -> None:
    _, plan = plan_memory(lowered(1.0, 224, fusion, batch, preset).mod)
    assert sum(plan.storages) == plan.bound
    # 112 x 112 x 64 and the 112 x 112 x 32 before them.
    assert plan.bound == batch * 4 * 112 * 112 * 96


def overlap(first: Tensor, second: Tensor) -> bool:
    return first.born <= second.dies and second.born <= first.dies


@st.composite
def lives(draw: st.DrawFn) -> list[Tensor]:
    tensors, born = [], 0
    for number in range(draw(st.integers(0, 30))):
        born += draw(st.integers(0, 3))
        dies = born + draw(st.integers(0, 6))
        tensors.append(Tensor(f"t{number}", draw(st.integers(1, 1000)), born, dies))
    return tensors


@given(lives())
def test_no_two_live_tensors_share_a_storage(tensors: list[Tensor]) -> None:
    plan = MemoryPlan(tuple(tensors), tuple(place(tensors)), 0)
    pairs = list(zip(tensors, plan.places, strict=True))
    for i, (tensor, where) in enumerate(pairs):
        assert tensor.bytes <= plan.storages[where]
        assert not any(overlap(tensor, other) for other, at in pairs[:i] if at == where)
    assert plan.bound <= sum(plan.storages) <= sum(tensor.bytes for tensor in tensors)
    most = max((sum(overlap(Tensor("", 1, t.born, t.born), o) for o in tensors) for t in tensors),
               default=0)  # fmt: skip
    assert len(plan.storages) == most


def test_a_residual_lives_until_it_is_added() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = emit(nn.conv2d(x, constant((8, 3, 1, 1))))
        z = emit(nn.relu(emit(nn.relu(emit(nn.conv2d(y, constant((8, 8, 1, 1))))))))
        return emit(nn.softmax(emit(relax.op.add(y, z))))

    mod = relax.transform.LegalizeOps()(module((1, 3, 4, 4), body))
    planned, plan = plan_memory(mod)
    assert len(plan.storages) == 3
    assert sum(plan.storages) == plan.bound
    first = plan.tensors[0]
    assert first.dies > plan.tensors[3].born
    assert operators(planned).count("relax.memory.alloc_tensor") == 3


def test_views_keep_what_they_look_at() -> None:
    def body(emit: Any, x: Any) -> Any:
        y = emit(relax.op.reshape(emit(nn.relu(x)), (16,)))
        z = emit(nn.relu(emit(nn.relu(emit(nn.relu(y))))))
        return emit(relax.op.add(y, z))

    legal = relax.transform.LegalizeOps()(module((4, 4), body))
    _, plan = plan_memory(relax.transform.RewriteDataflowReshape()(legal))
    assert plan.tensors[0].dies > plan.tensors[-1].born
    assert plan.places[0] not in plan.places[1:]


def test_workspaces_are_those_of_fused_blocks() -> None:
    """What passes between their layers, for each thread; accumulators stay on the stack."""
    network = lowered(1.0, 224, "all")
    found = workspaces(network.mod, 2)
    block = re.compile(r"separable_n1_i(\d+)_o\d+_s\d+x(\d+)_k3x3_t(\d)")
    for name, count in found.items():
        if fields := block.match(name):
            channels, width, stride = map(int, fields.groups())
            rows = int(network.kernels[name].knobs["rows"])
            assert count == 2 * 4 * channels * rows * width // stride
            assert count <= 2 * NATIVE.l2_bytes / 2
        elif not name.startswith(("tail", "softmax")):
            assert count == 0, name

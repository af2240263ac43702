"""Graphs that branch: residuals, squeeze-and-excite, activations of several operators."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tvm
from graphs import run
from tvm import relax

from tvm_mobilenet.emit.relax.emit import emit
from tvm_mobilenet.emit.relax.fold_constants import fold_constants
from tvm_mobilenet.emit.relax.legalize_rest import legalize_rest
from tvm_mobilenet.machine import host
from tvm_mobilenet.models import build as build_model
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.spec import (
    Activate,
    Activation,
    Add,
    Conv2d,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
)
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.prediction.fusion import Fusion

TARGET = dataclasses.replace(host(), cores=1)
SHAPE = (2, 5, 6, 7)
WIDE = (2, 8, 6, 7)
LAST = ("legalize_rest",)
ALL = ("emit", "fold_constants", "legalize_rest")


def phases(model: Model, weights: Any, fusion: Fusion) -> dict[str, Any]:
    found = {"emit": emit(plan_network(model, TARGET, fusion=fusion), weights)}
    found["fold_constants"] = fold_constants(found["emit"])
    target = tvm.target.Target(TARGET.tvm_dict())
    found["legalize_rest"] = legalize_rest(found["fold_constants"], target)
    return found


def kernels(mod: Any) -> list[str]:
    """Operators of our kernels and symbols of others, in the order of calls."""
    names = []
    call_tir = tvm.ir.Op.get("relax.call_tir")
    for binding in (b for block in mod["main"].body.blocks for b in block.bindings):
        if isinstance(binding.value, relax.Call) and binding.value.op.same_as(call_tir):
            names.append(str(binding.value.args[0].name_hint))
    return names


def operators(mod: Any) -> list[str]:
    return [name.split("_")[0] for name in kernels(mod)]


def weights_of(model: Model) -> dict[str, Any]:
    """Seeded weights; those of no distribution where a layer has none."""
    if not any(isinstance(layer, Activate) for layer in model.layers):
        return initialize(model, seed=2)
    rng = np.random.default_rng(2)
    shapes = model.parameters.items()
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes}


def same(model: Model, fusion: Fusion = "none", checked: tuple[str, ...] = LAST) -> Any:
    """The lowered module of a model, after checking that it computes what the model does."""
    weights = weights_of(model)
    x = np.random.default_rng(1).normal(0, 2, model.input_shape).astype(np.float32)
    want = reference.run(model, weights, x)
    found = phases(model, weights, fusion)
    for phase in checked:
        assert reference.relative_error(run(found[phase], x), want) < 1e-5, phase
    return found["legalize_rest"]


def of(*layers: Layer) -> Model:
    return Model("m", "M", {}, SHAPE, layers)


def conv(
    name: str, source: str, activation: Activation = "none", taps: int = 1, groups: int = 1
) -> Conv2d:
    around = (taps // 2,) * 4
    return Conv2d(
        name, (source,), SHAPE, 5, (taps, taps), (1, 1), around, groups, True, None, activation
    )


@pytest.mark.parametrize("fusion", ["none", "all"])
@pytest.mark.parametrize("name", ["v2", "v3-small"])
def test_every_phase_computes_the_same(name: str, fusion: Fusion) -> None:
    model = build_model(name, alpha=0.35, resolution=32, classes=7)
    found = operators(same(model, fusion, ALL))
    allowed = {"conv", "depthwise", "pointwise", "separable", "scale", "pool", "tail", "dense"}
    assert set(found) <= {*allowed, "softmax"}
    assert ("separable" in found) == (fusion == "all")


@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "hardswish", "hardsigmoid"])
def test_an_activation_is_part_of_its_kernel(activation: Activation) -> None:
    for taps, groups, operator in ((3, 1, "conv"), (3, 5, "depthwise"), (1, 1, "pointwise")):
        first = conv("a", "input", "relu", taps=3, groups=5)
        mod = same(of(first, conv("b", "a", activation, taps, groups), conv("c", "b")))
        ours = [name for name in kernels(mod) if name.split("_")[0] in (operator, "pointwise")]
        assert any(name.endswith(activation) or activation == "none" for name in ours)


@pytest.mark.parametrize("activation", ["relu", "relu6", "hardswish", "hardsigmoid"])
def test_an_activation_behind_squeeze_and_excite_is_part_of_the_scale(
    activation: Activation,
) -> None:
    """What MobileOne has, whose gates read what the activation has not yet clipped."""
    pooled = GlobalAvgPool("b", ("a",), SHAPE, keep_map=True)
    gate = Conv2d("c", ("b",), pooled.out_shape, 5, (1, 1), bias=True, activation="hardsigmoid")
    scaled = Scale("d", ("a", "c"), SHAPE)
    behind = Activate("e", ("d",), SHAPE, activation)
    mod = same(of(conv("a", "input", taps=3, groups=5), pooled, gate, scaled, behind))
    assert len(kernels(mod)) == 4 + 2  # into blocks, and out of them
    assert any(name.startswith("scale") and name.endswith(activation) for name in kernels(mod))


def test_a_residual_is_part_of_the_pointwise_kernel() -> None:
    first = conv("a", "input", "relu6", taps=3, groups=5)
    for inputs in (("b", "a"), ("a", "b")):
        mod = same(of(first, conv("b", "a"), Add("c", inputs, SHAPE), conv("d", "c")))
        assert any("residual" in name for name in kernels(mod)), inputs


def test_a_residual_is_part_of_a_full_convolutions_kernel() -> None:
    for end in ("none", "hardswish"):
        around = (1, 1, 1, 1)
        wide = [
            Conv2d("a", ("input",), WIDE, 8, (3, 3), (1, 1), around, 8, True),
            Conv2d("b", ("a",), WIDE, 8, (3, 3), (1, 1), around, 1, True),
        ]
        layers: list[Layer] = [*wide, Add("c", ("b", "a"), WIDE)]
        if end == "hardswish":
            layers.append(Activate("d", ("c",), WIDE, "hardswish"))
        model = Model("m", "M", {}, WIDE, tuple(layers))
        (kernel,) = (name for name in kernels(same(model)) if "residual" in name)
        assert kernel.startswith("conv_blocked")


def test_both_sides_computed_by_pointwise_kernels() -> None:
    layers = (
        conv("a", "input", "relu6", taps=3, groups=5),
        conv("b", "a"),
        conv("c", "a"),
        Add("d", ("b", "c"), SHAPE),
        conv("e", "d"),
    )
    assert sum("residual" in name for name in kernels(same(of(*layers)))) == 1


def test_what_is_added_may_be_the_kernels_own_input() -> None:
    for fusion in ("none", "all"):
        first = conv("a", "input", "relu6", taps=3, groups=5)
        mod = same(of(first, conv("b", "a"), Add("c", ("b", "a"), SHAPE)), fusion)  # type: ignore[arg-type]
        assert any("residual" in name for name in kernels(mod))


def test_other_residuals_are_right_and_not_ours() -> None:
    """Behind an activation; of a value with another reader; doubled."""
    first = conv("a", "input", "relu", taps=3, groups=5)
    models = [
        of(first, conv("b", "a", "relu"), Add("c", ("b", "a"), SHAPE)),
        of(first, conv("b", "a"), Add("c", ("b", "a"), SHAPE), Add("d", ("c", "b"), SHAPE)),
        of(first, conv("b", "a"), Add("c", ("b", "b"), SHAPE)),
    ]
    for model in models:
        assert not any("residual" in name for name in kernels(same(model)))


def test_a_fused_block_with_its_residual() -> None:
    layers = (
        conv("a", "input", "hardswish"),
        conv("b", "a", "hardswish", taps=5, groups=5),
        conv("c", "b"),
        Add("d", ("c", "a"), SHAPE),
        conv("e", "d"),
    )
    (name,) = (n for n in kernels(same(of(*layers), "all")) if n.startswith("separable"))
    assert "mhardswish" in name
    assert name.endswith("residual")


def test_a_product_of_a_map_and_itself_is_no_scale() -> None:
    shape = (2, 5, 1, 1)
    first = Conv2d("a", ("input",), shape, 5, (1, 1))
    model = Model("m", "M", {}, shape, (first, Scale("b", ("a", "a"), shape)))
    assert "scale" not in operators(same(model))


@pytest.mark.parametrize("activation", ["relu", "hardswish"])
def test_an_activation_behind_a_residual_is_part_of_its_kernel(activation: Activation) -> None:
    """As in ResNet: the sum is activated, not what is added to."""
    layers = (
        conv("a", "input", "relu6", taps=3, groups=5),
        conv("b", "a"),
        Add("c", ("b", "a"), SHAPE),
        Activate("d", ("c",), SHAPE, activation),
        conv("e", "d"),
    )
    assert any(name.endswith(f"{activation}_residual") for name in kernels(same(of(*layers))))


@pytest.mark.parametrize("activation", ["relu", "relu6", "hardswish", "hardsigmoid"])
def test_an_activation_that_is_a_layer_of_its_own_joins_what_it_alone_reads(
    activation: Activation,
) -> None:
    alone = of(conv("a", "input", taps=3), Activate("b", ("a",), SHAPE, activation))
    assert next(name.split("_")[-1] for name in kernels(same(alone))) == activation
    also = Add("c", ("a", "b"), SHAPE)
    assert not any(activation in name for name in kernels(same(of(*alone.layers, also)))[:1])

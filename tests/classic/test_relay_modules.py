"""Relay modules as models: what TVM computes of each is what our reference computes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import frozen
import numpy as np
import onnx
import pytest
import tvm
from modules import MODELS, RNG, SHAPE, Array, compare, grouped, kinds
from relay_networks import activated, written
from tvm import relay
from tvm.contrib import graph_executor
from tvm.relay import testing

import tvm_mobilenet as tm
from tvm_mobilenet.emit.relay.tir_passes import lowering
from tvm_mobilenet.errors import InvalidModelError, StackError, UnsupportedOperatorError
from tvm_mobilenet.machine import parse
from tvm_mobilenet.models.importer import Imported
from tvm_mobilenet.models.weights import initialize

nn = relay.nn


def weight(*shape: int) -> Any:
    return relay.const(RNG.uniform(0.2, 1.0, shape).astype(np.float32))


def function(
    build: Callable[[Any], Any], shape: tuple[Any, ...] = SHAPE, dtype: str = "float32"
) -> Any:
    x = relay.var("x", shape=shape, dtype=dtype)
    found = build(x)
    return relay.Function([x], found.astuple() if hasattr(found, "astuple") else found)


def tvm_says(mod: Any, x: Array, params: dict[str, Any] | None = None) -> list[Array]:
    """What Relay makes of it, by TOPI's schedules; the input is the first parameter."""
    mod = tvm.IRModule.from_expr(mod) if isinstance(mod, relay.Function) else mod
    os.environ.setdefault("TOPHUB_LOCATION", "NONE")
    config = lowering(parse("native")).config
    # At level 0: what changes layouts takes minutes for a network.
    with tvm.transform.PassContext(opt_level=0, config=config):
        built = relay.build(mod, "llvm -opt-level=0", params=params)
    executor = graph_executor.GraphModule(built["default"](tvm.cpu()))
    executor.set_input(mod["main"].params[0].name_hint, x)
    executor.run()
    return [executor.get_output(at).numpy() for at in range(executor.get_num_outputs())]


def check(
    mod: Any,
    x: Array | None = None,
    params: dict[str, Any] | None = None,
    tolerance: float = 2e-6,
) -> Imported:
    """Import a module, and compare what we make of it with what TVM does."""
    imported = tm.from_relay(mod, params)
    return compare(imported, lambda given: tvm_says(mod, given, params), x, tolerance)


CONVOLUTIONS: dict[str, Callable[[Any], Any]] = {
    "strides": lambda x: nn.conv2d(
        x, weight(8, 6, 3, 3), (2, 1), (1, 0, 2, 1), channels=8, kernel_size=3
    ),
    "depthwise": lambda x: nn.conv2d(x, weight(6, 1, 5, 5), padding=2, groups=6),
    "multiplied": lambda x: nn.conv2d(
        x, weight(6, 2, 3, 3), padding=1, groups=6, channels=12, kernel_size=3
    ),
    "grouped": lambda x: nn.conv2d(x, weight(9, 2, 3, 3), groups=3),
    "dilated": lambda x: nn.conv2d(
        x, weight(4, 6, 3, 3), dilation=(2, 1), padding=2, channels=4, kernel_size=3
    ),
    "transposed": lambda x: nn.conv2d_transpose(
        *(x, weight(6, 4, 3, 3), (2, 2), (1, 1)),
        output_padding=(1, 1), channels=4, kernel_size=(3, 3),
    ),
    "transposed, by name": lambda x: nn.conv2d_transpose(
        x, weight(6, 4, 3, 3), channels=4, kernel_size=(3, 3), kernel_layout="IOHW"
    ),
    "dense": lambda x: nn.dense(nn.batch_flatten(x), weight(7, 594)),
    "product": lambda x: nn.batch_matmul(
        relay.reshape(x, (2, 6, 99)), relay.reshape(x, (2, 6, 99))
    ),
    "matmul": lambda x: nn.matmul(nn.batch_flatten(x), weight(594, 7)),
    "bias": lambda x: nn.bias_add(x, weight(6)),
    "bias behind": lambda x: nn.bias_add(x, weight(11), axis=-1),
}  # fmt: skip
NHWC: dict[str, Callable[[Any], Any]] = {
    "full": lambda x: nn.conv2d(
        x, weight(3, 3, 11, 4), padding=1, data_layout="NHWC", kernel_layout="HWIO"
    ),
    "depthwise": lambda x: nn.conv2d(
        *(x, weight(3, 3, 11, 1), 1, 1, 1, 11, 11, 3), data_layout="NHWC", kernel_layout="HWOI"
    ),
    "max": lambda x: nn.max_pool2d(x, 3, 2, padding=1, layout="NHWC"),
    "global": lambda x: nn.global_avg_pool2d(x, layout="NHWC"),
    "mean": lambda x: relay.mean(x, axis=[1, 2]),
    "resized": lambda x: relay.image.resize2d(x, (12, 27), layout="NHWC"),
    "upsampled": lambda x: nn.upsampling(x, 2, 3, layout="NHWC"),
    "normed": lambda x: nn.batch_norm(x, *(weight(11) for _ in range(4)), axis=3)[0],
}
POOLS: dict[str, Callable[[Any], Any]] = {
    "max": lambda x: nn.max_pool2d(x, (3, 2), (2, 2), padding=(1, 0)),
    "max, up": lambda x: nn.max_pool2d(x, 3, 2, ceil_mode=True),
    "mean": lambda x: nn.avg_pool2d(x, 3, 2, padding=1),
    "mean with padding": lambda x: nn.avg_pool2d(x, 3, 2, padding=1, count_include_pad=True),
    "mean, up": lambda x: nn.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True),
    "mean with padding, up": lambda x: nn.avg_pool2d(
        x, 3, 2, padding=1, ceil_mode=True, count_include_pad=True
    ),
    "max with padding, up": lambda x: nn.max_pool2d(
        x, (3, 2), (2, 2), padding=(1, 0), ceil_mode=True
    ),
    "global": nn.global_avg_pool2d,
    "largest": nn.global_max_pool2d,
    "equal windows": lambda x: nn.adaptive_max_pool2d(x, (3, 11)),
    "other windows": lambda x: nn.adaptive_avg_pool2d(x, (4, 7)),
}
ONE_BY_ONE: dict[str, Callable[[Any], Any]] = {
    "relu": nn.relu,
    "clip": lambda x: relay.clip(x, -0.5, 0.75),
    "leaky": lambda x: nn.leaky_relu(x, 0.2),
    "prelu": lambda x: nn.prelu(x, weight(6)),
    "sigmoid": relay.sigmoid,
    "tanh": relay.tanh,
    "exp": relay.exp,
    "erf": relay.erf,
    "sqrt": lambda x: relay.sqrt(relay.abs(x)),
    "rsqrt": lambda x: relay.rsqrt(relay.exp(x)),
    "dropout": lambda x: nn.dropout(x, 0.5),
    "where": lambda x: relay.where(relay.greater(x, relay.const(0.1)), x, relay.negative(x)),
    "scales": lambda x: relay.divide(relay.multiply(x, weight(6, 1, 1)), weight(1, 1, 9, 1)),
    "extremes": lambda x: relay.maximum(relay.minimum(x, weight(6, 1, 1)), relay.const(-1.0)),
    "there and back": lambda x: relay.cast(relay.cast(x, "int32"), "float32"),
}
SHAPES: dict[str, Callable[[Any], Any]] = {
    "flat": nn.batch_flatten,
    "squeezed": lambda x: relay.squeeze(relay.expand_dims(x, 0, 2), [0]),
    "permuted": lambda x: relay.transpose(x, (0, 2, 3, 1)),
    "reversed axes": relay.transpose,
    "relayed out": lambda x: relay.layout_transform(x, "NCHW", "NHWC"),
    "reshaped": lambda x: relay.reshape(x, (0, -1, 11)),
    "joined": lambda x: relay.concatenate([x, nn.relu(x)], axis=1),
    "stacked": lambda x: relay.stack([x, nn.relu(x)], axis=2),
    "halves": lambda x: relay.add(relay.split(x, 2, 1)[0], relay.split(x, 2, 1)[1]),
    "parts": lambda x: relay.split(x, [1, 3], 1)[1],
    "cut": lambda x: relay.strided_slice(x, [-4, 1], [6, 9], [1, 3], axes=[1, 3]),
    "cut from the front": lambda x: relay.strided_slice(x, [0, 2], [2, 5]),
    "cut by size": lambda x: relay.strided_slice(x, [0, 2], [2, -1], slice_mode="size"),
    "cut backwards": lambda x: relay.strided_slice(x, [7, -1], [1, 2], [-2, -3], axes=[2, 3]),
    "turned": lambda x: relay.reverse(x, 3),
    "taken": lambda x: relay.take(x, relay.const(np.array([5, 0, 3])), axis=1),
    "clipped places": lambda x: relay.take(x, relay.const(np.array([9, -1])), 1, mode="clip"),
    "padded": lambda x: nn.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), 0.5),
    "reflected": lambda x: nn.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), pad_mode="reflect"),
    "repeated edge": lambda x: nn.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), pad_mode="edge"),
    "spread": lambda x: relay.broadcast_to(relay.mean(x, [1], keepdims=True), SHAPE),
    "tiled": lambda x: relay.tile(x, (1, 2, 1, 1)),
    "filled": lambda x: relay.add(x, relay.full(relay.const(2.0), SHAPE, "float32")),
    "ones": lambda x: relay.subtract(x, relay.ones_like(x)),
    "sum": lambda x: relay.sum(x, [1, 3]),
    "sum of others": lambda x: relay.sum(x, [1], exclude=True),
    "largest": lambda x: relay.max(x, -1, keepdims=True),
    "variance": lambda x: relay.variance(x, [1]),
    "places": lambda x: relay.cast(relay.argmax(x, 1), "float32"),
    "shuffled": lambda x: nn.depth_to_space(relay.concatenate([x, x], 1), 2, mode="CRD"),
}
RESIZED: dict[str, Callable[[Any], Any]] = {
    f"{method} {mode} {size}": lambda x, given=(size, method, mode): relay.image.resize2d(
        x, given[0], method=given[1], coordinate_transformation_mode=given[2]
    )
    for method in ("linear", "nearest_neighbor", "cubic")
    for mode in ("half_pixel", "align_corners", "asymmetric")
    for size in ((18, 22), (5, 4), (3, 33))
} | {
    f"nearest, {rounding}": lambda x, rounding=rounding: relay.image.resize2d(
        x, (3, 22), None, "NCHW", "nearest_neighbor", "half_pixel", rounding
    )
    for rounding in ("round", "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
} | {
    "upsampled": lambda x: nn.upsampling(x, 2, 3),
    "upsampled, linear": lambda x: nn.upsampling(x, 2, 3, method="bilinear"),
    "upsampled, corners": lambda x: nn.upsampling(x, 2, 2, "NCHW", "bilinear", True),
    "upsampled, cubic": lambda x: nn.upsampling(x, 2, 2, method="bicubic"),
}  # fmt: skip
NORMS: dict[str, Callable[[Any], Any]] = {
    "batch": lambda x: nn.batch_norm(x, *(weight(6) for _ in range(4)))[0],
    "batch, plain": lambda x: nn.batch_norm(
        x, *(weight(6) for _ in range(4)), center=False, scale=False
    )[0],
    "layer": lambda x: nn.layer_norm(x, weight(11), weight(11)),
    "group": lambda x: nn.group_norm(x, weight(6), weight(6), 3),
    "instance": lambda x: nn.instance_norm(x, weight(6), weight(6)),
    "length": lambda x: nn.l2_normalize(x, 1e-6, [1]),
    "local": lambda x: nn.lrn(x, 3),
    "softmax": lambda x: nn.softmax(x, 1),
    "log of softmax": lambda x: nn.log_softmax(nn.batch_flatten(x), -1),
}
CASES = grouped(
    {
        "convolution": CONVOLUTIONS,
        "NHWC": NHWC,
        "pool": POOLS,
        "one by one": ONE_BY_ONE,
        "shape": SHAPES,
        "resize": RESIZED,
        "norm": NORMS,
    }
)


@pytest.mark.parametrize("case", CASES)
def test_every_operator_is_what_tvm_says(case: str) -> None:
    build, shape = CASES[case]
    check(function(build, shape))


@pytest.mark.parametrize("name", MODELS)
def test_a_network_written_in_relay_is_ours(name: str) -> None:
    """Layer by layer: all of them recognised, none left to TVM; their weights name them."""
    model = MODELS[name]()
    imported = check(written(model), params=dict(initialize(model, 0)), tolerance=1e-5)
    assert kinds(imported.model) == kinds(model)
    assert imported.model.macs == model.macs
    assert imported.model.layers[0].name.startswith("conv1")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_relays_own_mobilenet_is_layers_of_ours(layout: str) -> None:
    shape = (3, 32, 32) if layout == "NCHW" else (32, 32, 3)
    net = testing.mobilenet.mobile_net(10, (1, *shape), "float32", 0.25, layout=layout)
    mod, params = testing.create_workload(net)
    imported = check(mod, params=params, tolerance=1e-5)
    v1 = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    # In NHWC Relay's testing normalises rows, not channels, behind the first convolution: a layer
    # of its own.
    first = 1 if layout == "NHWC" else 0
    assert kinds(imported.model)[-len(v1.layers) + first :] == kinds(v1)[first:]
    own = imported.model.layers[-len(v1.layers) + first :]
    assert [layer.macs for layer in own] == [layer.macs for layer in v1.layers[first:]]
    names = [layer.name.removesuffix(".nchw") for layer in imported.model.layers]
    assert "separable_conv_block_1_bn2.relu" in names


@pytest.mark.parametrize("name", frozen.NETWORKS)
@pytest.mark.parametrize("freeze", [True, False], ids=["constants", "parameters"])
def test_what_relays_importer_makes_of_an_onnx_file_is_what_ours_makes(
    name: str, freeze: bool, tmp_path: Path
) -> None:
    path = frozen.NETWORKS[name](tmp_path / "net.onnx")
    mod, params = relay.frontend.from_onnx(onnx.load(path), freeze_params=freeze)
    imported = check(mod, params=params, tolerance=1e-5)
    assert sorted(kinds(imported.model)) == sorted(kinds(tm.import_onnx(path).model))
    # An importer leaves the nodes' names in its spans.
    named = {node.name for node in onnx.load(path).graph.node}
    assert {layer.name for layer in imported.model.layers} <= named


def test_an_artifact_is_verified_against_the_module_that_is_given_again(tmp_path: Path) -> None:
    model = MODELS["v1"]()
    params = dict(initialize(model, 0))
    imported = tm.from_relay(tvm.IRModule.from_expr(written(model)), params)
    path = tm.compile(imported).export(tmp_path / "net.so")
    module = tm.load(path)
    assert module.manifest["model"] == {"name": "relay", "options": imported.model.options}
    assert module.manifest["weights"]["source"] == "Relay module"
    assert {call["source"] for call in module.manifest["calls"]} == {"rule"}
    assert tm.verify(path, model=tm.from_relay(written(model), params)).passed
    with pytest.raises(InvalidModelError, match=r"tm\.from_relay\(mod, params\)"):
        tm.verify(path)


def test_foreign_operators_and_several_outputs_compile() -> None:
    def build(x: Any) -> Any:
        y = nn.leaky_relu(nn.conv2d(x, weight(8, 6, 1, 1), channels=8, kernel_size=1), 0.1)
        small = nn.max_pool2d(y, 2, 2, padding=(0, 0, 1, 1))
        wide = relay.strided_slice(nn.upsampling(small, 2, 2), [0, 0, 0, 0], [2, 8, 9, 11])
        both = relay.concatenate([y, wide], 1)
        joined = nn.conv2d(both, weight(4, 16, 1, 1), channels=4, kernel_size=1)
        return relay.Tuple([activated(joined, "hardswish"), relay.tanh(small)])

    func = function(build)
    imported = check(func, tolerance=1e-5)
    compiled = tm.compile(imported)
    assert compiled.manifest["verification"]["relative"] < 1e-5
    x = RNG.standard_normal(SHAPE).astype(np.float32)
    for got, want in zip(compiled.module(x), tvm_says(func, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_an_input_stays_what_the_module_says(dtype: str) -> None:
    def build(x: Any) -> Any:
        scaled = relay.divide(relay.cast(x, "float32"), relay.const(58.0))
        return nn.conv2d(scaled, weight(8, 3, 3, 3), strides=(2, 2), channels=8, kernel_size=3)

    func = function(build, (1, 3, 9, 9), dtype)
    x = RNG.integers(0, 200, (1, 3, 9, 9)).astype(dtype)
    imported = check(func, x)
    assert imported.model.input_dtype == dtype
    np.testing.assert_allclose(tm.compile(imported).module(x), tvm_says(func, x)[0], rtol=1e-5)


def test_what_was_fused_or_bound_by_let_is_taken_apart() -> None:
    mod = tvm.IRModule.from_expr(function(lambda x: nn.relu(relay.add(x, weight(6, 1, 1)))))
    mod = relay.transform.InferType()(mod)
    plain = tm.from_relay(mod).source
    for phase in (relay.transform.FuseOps(2), relay.transform.ToANormalForm()):
        with tvm.transform.PassContext(opt_level=3):
            assert tm.from_relay(phase(mod)).source == plain


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "an unknown operator": (
        lambda: function(lambda x: relay.cumsum(x, 1)), UnsupportedOperatorError, "cumsum",
    ),
    "windows of nothing": (
        lambda: function(lambda x: nn.max_pool2d(x, 2, 2, padding=1, ceil_mode=True)),
        UnsupportedOperatorError, "nothing but padding",
    ),
    "a branch": (
        lambda: function(lambda x: relay.If(relay.const(True), x, nn.relu(x))),
        UnsupportedOperatorError, "If",
    ),
    "integers": (
        lambda: function(
            lambda x: nn.conv2d(x, relay.const(np.ones((2, 3, 1, 1), np.uint8)), out_dtype="int32"),
            (1, 3, 8, 8), "uint8",
        ),
        UnsupportedOperatorError, "computes in uint8",
    ),
    "an open batch": (
        lambda: function(nn.relu, (relay.Any(), 3, 8, 8)), InvalidModelError, "no fixed shape",
    ),
    "two images": (
        lambda: written(MODELS["v1"]()), InvalidModelError, "params does not hold",
    ),
    "three dimensions": (
        lambda: function(nn.relu, (3, 8, 8)), InvalidModelError, "3 dimensions",
    ),
    "a contradiction": (
        lambda: function(lambda x: relay.add(x, weight(7, 1, 1))), InvalidModelError, "contradict",
    ),
    "no module": (lambda: {"main": 1}, InvalidModelError, "no Relay module"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_taken_is_refused_by_name(case: str) -> None:
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        tm.from_relay(make())


def test_relax_is_in_the_other_environment() -> None:
    with pytest.raises(StackError, match="apache-tvm"):
        tm.from_relax(None)


def test_the_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "relay-relax.md").read_text()
    example = text.split("```python\n")[2].split("```")[0]
    exec(example.replace("batch_size=1", "batch_size=1, image_shape=(3, 32, 32)"), {})
    assert tm.load("v1.so").outputs[0]["shape"] == [1, 1000]

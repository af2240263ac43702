"""Relax modules as models: what TVM computes of each is what our reference computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import frozen
import numpy as np
import onnx
import pytest
import tvm
from commands import run as command
from modules import MODELS, RNG, SHAPE, Array, compare, grouped, kinds, reference_says
from relax_networks import activated, written
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

import tvm_mobilenet as tm
from tvm_mobilenet.errors import (
    InvalidModelError,
    OnnxFileError,
    StackError,
    UnsupportedOperatorError,
    WeightsError,
)
from tvm_mobilenet.models.importer import Imported
from tvm_mobilenet.models.reference import relative_error
from tvm_mobilenet.models.weights import initialize

op = relax.op


def weight(*shape: int) -> Any:
    return relax.const(RNG.uniform(0.2, 1.0, shape).astype(np.float32))


def module(build: Callable[..., Any], *shapes: tuple[int, ...], dtype: str = "float32") -> Any:
    """Return a module whose operators may be nested as they are written."""
    builder = relax.BlockBuilder()
    params = [
        relax.Var(f"x{at}" if at else "x", relax.TensorType(shape, "float32" if at else dtype))
        for at, shape in enumerate(shapes or (SHAPE,))
    ]
    with builder.function("main", params):
        with builder.dataflow():
            output = builder.emit_output(builder.normalize(build(*params)))
        builder.emit_func_output(output)
    return builder.get()


def tvm_says(mod: Any, x: Array) -> list[Array]:
    target = tvm.target.Target({"kind": "llvm", "opt-level": 0})  # in half the time
    machine = relax.VirtualMachine(tvm.compile(mod, target), tvm.cpu())
    found = machine["main"](tvm.runtime.tensor(x))
    return [y.numpy() for y in ([found] if hasattr(found, "numpy") else found)]


def check(mod: Any, x: Array | None = None, tolerance: float = 2e-6) -> Imported:
    """Import a module, and compare what we make of it with what TVM does."""
    imported = tm.from_relax(mod)
    return compare(imported, lambda given: tvm_says(mod, given), x, tolerance)


CONVOLUTIONS: dict[str, Callable[[Any], Any]] = {
    "strides": lambda x: op.nn.conv2d(x, weight(8, 6, 3, 3), strides=(2, 1), padding=(1, 0, 2, 1)),
    "depthwise": lambda x: op.nn.conv2d(x, weight(6, 1, 5, 5), padding=2, groups=6),
    "multiplied": lambda x: op.nn.conv2d(x, weight(12, 1, 3, 3), padding=1, groups=6),
    "grouped": lambda x: op.nn.conv2d(x, weight(9, 2, 3, 3), groups=3),
    "dilated": lambda x: op.nn.conv2d(x, weight(4, 6, 3, 3), dilation=(2, 1), padding=2),
    "transposed": lambda x: op.nn.conv2d_transpose(
        x, weight(6, 4, 3, 3), strides=2, padding=1, output_padding=1
    ),
    "transposed groups": lambda x: op.nn.conv2d_transpose(x, weight(6, 2, 3, 3), groups=2),
}
NHWC: dict[str, Callable[[Any], Any]] = {
    "full": lambda x: op.nn.conv2d(
        x, weight(3, 3, 11, 4), padding=1, data_layout="NHWC", kernel_layout="HWIO"
    ),
    "other kernels": lambda x: op.nn.conv2d(
        x, weight(4, 3, 3, 11), data_layout="NHWC", kernel_layout="OHWI"
    ),
    "max": lambda x: op.nn.max_pool2d(x, 3, 2, 1, layout="NHWC"),
    "mean": lambda x: op.mean(x, axis=[1, 2]),
    "resized": lambda x: op.image.resize2d(x, (12, 27), layout="NHWC"),
    "normed": lambda x: op.nn.batch_norm(
        x, *(weight(11) for _ in range(4)), axis=3, training=False
    )[0],
}
POOLS: dict[str, Callable[[Any], Any]] = {
    "max": lambda x: op.nn.max_pool2d(x, (3, 2), (2, 2), (1, 0)),
    "max, up": lambda x: op.nn.max_pool2d(x, 3, 2, ceil_mode=True),
    "mean": lambda x: op.nn.avg_pool2d(x, 3, 2, 1),
    "mean with padding": lambda x: op.nn.avg_pool2d(x, 3, 2, 1, count_include_pad=True),
    "mean, up": lambda x: op.nn.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "mean with padding, up": lambda x: op.nn.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, count_include_pad=True
    ),
    "max with padding, up": lambda x: op.nn.max_pool2d(x, 2, 2, 1, ceil_mode=True),
    "global": lambda x: op.nn.adaptive_avg_pool2d(x, 1),
    "equal windows": lambda x: op.nn.adaptive_avg_pool2d(x, (3, 11)),
    "other windows": lambda x: op.nn.adaptive_avg_pool2d(x, (4, 7)),
    "reduced": lambda x: op.mean(x, axis=[2, 3], keepdims=True),
}
ONE_BY_ONE: dict[str, Callable[[Any], Any]] = {
    "relu": op.nn.relu,
    "clip": lambda x: op.clip(x, -0.5, 0.75),
    "leaky": lambda x: op.nn.leakyrelu(x, 0.2),
    "prelu": lambda x: op.nn.prelu(x, weight(6), 1),
    "sigmoid": op.sigmoid,
    "tanh": op.tanh,
    "exp": op.exp,
    "erf": op.erf,
    "sqrt": lambda x: op.sqrt(op.abs(x)),
    "rsqrt": lambda x: op.rsqrt(op.add(op.square(x), relax.const(1.0))),
    "log": lambda x: op.log(op.add(op.exp(x), relax.const(1.0))),
    "silu": op.nn.silu,
    "gelu": op.nn.gelu,
    "gelu by tanh": op.nn.gelu_tanh,
    "selu": op.nn.selu,
    "softplus": op.nn.softplus,
    "dropout": lambda x: op.nn.dropout(x, 0.5)[0],
    "where": lambda x: op.where(op.greater(x, relax.const(0.1)), x, op.negative(x)),
    "scales": lambda x: op.divide(op.multiply(x, weight(6, 1, 1)), weight(1, 1, 9, 1)),
    "extremes": lambda x: op.maximum(op.minimum(x, weight(6, 1, 1)), relax.const(-1.0)),
    "power": lambda x: op.power(op.abs(x), relax.const(1.5)),
    "there and back": lambda x: op.astype(op.astype(x, "int32"), "float32"),
}
SHAPES: dict[str, Callable[[Any], Any]] = {
    "flat": lambda x: op.reshape(op.flatten(x), (2, 594)),
    "squeezed": lambda x: op.squeeze(op.expand_dims(x, [0, 3]), [0]),
    "permuted": lambda x: op.permute_dims(x, [0, 2, 3, 1]),
    "reversed axes": op.permute_dims,
    "joined": lambda x: op.concat([x, op.nn.relu(x)], axis=1),
    "stacked": lambda x: op.stack([x, op.nn.relu(x)], axis=2),
    "halves": lambda x: op.add(op.split(x, 2, 1)[0], op.split(x, 2, 1)[1]),
    "parts": lambda x: op.split(x, [1, 3], 1)[1],
    "cut": lambda x: op.strided_slice(x, [1, -1], [-4, 1], [6, 9], [1, 3]),
    "cut backwards": lambda x: op.strided_slice(x, [2, 3], [7, -1], [1, 2], [-2, -3]),
    "turned": lambda x: op.flip(x, 3),
    "taken": lambda x: op.take(x, relax.const(np.array([5, 0, 3])), axis=1),
    "padded": lambda x: op.nn.pad(x, [0, 0, 0, 0, 1, 2, 0, 3], pad_value=0.5),
    "reflected": lambda x: op.nn.pad(x, [0, 0, 0, 0, 1, 2, 0, 3], "reflect"),
    "repeated edge": lambda x: op.nn.pad(x, [0, 0, 0, 0, 1, 2, 0, 3], "replicate"),
    "spread": lambda x: op.broadcast_to(op.mean(x, [1], keepdims=True), SHAPE),
    "tiled": lambda x: op.tile(x, (1, 2, 1, 1)),
    "filled": lambda x: op.add(x, op.full(SHAPE, relax.const(2.0), "float32")),
    "sum": lambda x: op.sum(x, [1, 3]),
    "largest": lambda x: op.max(x, [-1], keepdims=True),
    "smallest of all": lambda x: op.reshape(op.min(x), (1,)),
    "variance": lambda x: op.variance(x, [1]),
    "deviation": lambda x: op.std(x, [2, 3], keepdims=True),
    "smaller of two": lambda x: op.min(op.stack([x, op.nn.relu(x)], 0), [0]),
    "places": lambda x: op.astype(op.argmax(x, 1), "float32"),
}
RESIZED: dict[str, Callable[[Any], Any]] = {
    f"{method} {mode} {size}": lambda x, given=(size, method, mode): op.image.resize2d(
        x, given[0], method=given[1], coordinate_transformation_mode=given[2]
    )
    for method in ("linear", "nearest_neighbor", "cubic")
    for mode in ("half_pixel", "align_corners", "asymmetric")
    for size in ((18, 22), (5, 4), (3, 33))
}
NORMS: dict[str, Callable[[Any], Any]] = {
    "batch": lambda x: op.nn.batch_norm(x, *(weight(6) for _ in range(4)), 1, training=False)[0],
    "batch, plain": lambda x: op.nn.batch_norm(
        x, *(weight(6) for _ in range(4)), 1, center=False, scale=False, training=False
    )[0],
    "layer": lambda x: op.nn.layer_norm(x, weight(11), weight(11), -1),
    "layer of two axes": lambda x: op.nn.layer_norm(x, weight(9, 11), weight(9, 11), [-2, -1]),
    "group": lambda x: op.nn.group_norm(x, weight(6), weight(6), 3, 1, [2, 3]),
    "instance": lambda x: op.nn.instance_norm(x, weight(6), weight(6), 1, [2, 3]),
    "softmax": lambda x: op.nn.softmax(x, 1),
    "log of softmax": lambda x: op.nn.log_softmax(x, -1),
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
    check(module(build, shape))


def test_pixels_are_shuffled_though_tvm_cannot_compile_that() -> None:
    imported = tm.from_relax(module(lambda x: op.nn.pixel_shuffle(x, 2), (1, 8, 3, 5)))
    x = RNG.standard_normal((1, 8, 3, 5)).astype(np.float32)
    want = x.reshape(2, 2, 2, 3, 5).transpose(0, 3, 1, 4, 2).reshape(1, 2, 6, 10)
    np.testing.assert_allclose(reference_says(imported, x)[0], want)


@pytest.mark.parametrize("name", MODELS)
def test_a_network_written_in_relax_is_ours(name: str) -> None:
    """Layer by layer: all of them recognised, none left to TVM, names as the module has them."""
    model = MODELS[name]()
    imported = check(written(model, initialize(model, 0)), tolerance=1e-5)
    assert kinds(imported.model) == kinds(model)
    assert imported.model.macs == model.macs
    names = [layer.name.replace(".", "_") for layer in model.layers]
    assert [layer.name for layer in imported.model.layers] == names


@pytest.mark.parametrize("name", frozen.NETWORKS)
@pytest.mark.parametrize("apart", [False, True], ids=["constants", "parameters"])
def test_what_relaxs_importer_makes_of_an_onnx_file_is_what_ours_makes(
    name: str, apart: bool, tmp_path: Path
) -> None:
    path = frozen.NETWORKS[name](tmp_path / "net.onnx")
    mod = from_onnx(onnx.load(path), keep_params_in_input=apart)
    if not apart:
        imported = check(mod, tolerance=1e-5)
    else:
        mod, params = relax.frontend.detach_params(mod)
        imported = tm.from_relax(mod, params)
        x = RNG.standard_normal(imported.model.input_shape).astype(np.float32)
        theirs = tvm_says(relax.transform.BindParams("main", named(mod, params))(mod), x)
        for got, want in zip(reference_says(imported, x), theirs, strict=True):
            assert relative_error(got, want) < 1e-5
    assert sorted(kinds(imported.model)) == sorted(kinds(tm.import_onnx(path).model))


def named(mod: Any, params: dict[str, Any]) -> dict[str, Any]:
    names = [param.name for param in mod["main"].params][1:]
    return dict(zip(names, params["main"], strict=True))


def test_parameters_are_given_by_name_and_name_their_layers() -> None:
    mod = module(
        lambda x, w, b: op.nn.relu(op.add(op.nn.conv2d(x, w), op.reshape(b, (1, 4, 1, 1)))),
        *(SHAPE, (4, 6, 1, 1), (4,)),
    )
    with pytest.raises(InvalidModelError, match=r"takes 3 tensors .* \(x, x1, x2\)"):
        tm.from_relax(mod)
    params = {"x1": RNG.random((4, 6, 1, 1), np.float32), "x2": np.zeros(4, np.float32)}
    found = tm.from_relax(mod, params | {"spare": np.zeros(1)})
    assert kinds(found.model) == ["Conv2d"]
    with pytest.raises(InvalidModelError, match="4x6x3x3"):
        tm.from_relax(mod, params | {"x1": np.zeros((4, 6, 3, 3), np.float32)})


def test_an_artifact_is_verified_against_the_module_that_is_given_again(tmp_path: Path) -> None:
    model = MODELS["v1"]()
    mod = written(model, initialize(model, 0))
    imported = tm.from_relax(mod)
    assert "Relax module" in repr(imported)
    path = tm.compile(imported).export(tmp_path / "net.so")
    manifest = tm.load(path).manifest
    assert manifest["model"] == {"name": "relax", "options": imported.model.options}
    assert manifest["weights"]["source"] == "Relax module"
    assert manifest["verification"]["relative"] < 1e-5
    assert tm.verify(path, model=tm.from_relax(mod)).passed
    with pytest.raises(InvalidModelError, match=r"tm\.from_relax\(mod, params\)"):
        tm.verify(path)
    told = command("verify", path)
    assert told.returncode == 2
    assert "from_relax" in told.stderr
    other = tm.from_relax(written(model, initialize(model, 1)))
    with pytest.raises(OnnxFileError, match="not what this artifact was compiled from"):
        tm.verify(path, model=other)
    with pytest.raises(WeightsError, match="weights of its own"):
        tm.compile(imported, weights="pretrained")
    assert tm.explain(imported).table().rows


def test_foreign_operators_and_several_outputs_compile() -> None:
    def build(x: Any) -> Any:
        y = op.nn.leakyrelu(op.nn.conv2d(x, weight(8, 6, 3, 3), padding=1), 0.1)
        small = op.nn.max_pool2d(y, 2, 2)
        wide = op.image.resize2d(small, (9, 11), method="nearest_neighbor")
        joined = op.nn.conv2d(op.concat([y, wide], 1), weight(4, 16, 1, 1))
        return relax.Tuple([activated(joined, "hardswish"), op.nn.gelu(small), x, small])

    mod = module(build)
    imported = check(mod, tolerance=1e-5)
    compiled = tm.compile(imported)
    assert compiled.manifest["verification"]["relative"] < 1e-5
    x = RNG.standard_normal(SHAPE).astype(np.float32)
    for got, want in zip(compiled.module(x), tvm_says(mod, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_an_input_stays_what_the_module_says(dtype: str) -> None:
    def build(x: Any) -> Any:
        scaled = op.divide(op.astype(x, "float32"), relax.const(58.0))
        return op.nn.conv2d(scaled, weight(8, 3, 3, 3), strides=2)

    mod = module(build, (1, 3, 9, 9), dtype=dtype)
    x = RNG.integers(0, 200, (1, 3, 9, 9)).astype(dtype)
    imported = check(mod, x)
    assert imported.model.input_dtype == dtype
    np.testing.assert_allclose(tm.compile(imported).module(x), tvm_says(mod, x)[0], rtol=1e-5)


def test_half_precision_is_computed_in_float32() -> None:
    def build(x: Any) -> Any:
        half = relax.const(RNG.standard_normal((4, 6, 1, 1)).astype(np.float16))
        return op.clip(op.nn.conv2d(x, half), 0, 6)

    imported = check(module(build, dtype="float16"), tolerance=4e-3)
    assert kinds(imported.model) == ["Cast", "Conv2d", "Cast"]


def _own_function() -> Any:
    builder = relax.BlockBuilder()
    inner, x = (relax.Var(name, relax.TensorType(SHAPE, "float32")) for name in "yx")
    with builder.function("other", [inner]):
        other = builder.emit_func_output(op.nn.relu(inner))
    with builder.function("main", [x]):
        builder.emit_func_output(relax.Call(other, [x]))
    return builder.get()


def _own_kernel() -> Any:
    from tvm import te, topi

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(SHAPE, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            twice = builder.emit_te(lambda a: te.compute(a.shape, lambda *i: 2 * a(*i)), x)
            output = builder.emit_output(builder.emit_te(topi.maximum, twice, 0.0))
        builder.emit_func_output(output)
    return builder.get()


def _open_batch() -> Any:
    from tvm import tirx

    return module(op.nn.relu, (tirx.Var("n", "int64"), 3, 8, 8))  # type: ignore[arg-type]


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a function": (_own_function, UnsupportedOperatorError, "'other'"),
    "a kernel": (_own_kernel, UnsupportedOperatorError, "kernel of its own"),
    "an open batch": (_open_batch, InvalidModelError, "BindSymbolicVars"),
    "an unknown operator": (
        lambda: module(lambda x: op.cumsum(x, 1)), UnsupportedOperatorError, "cumsum",
    ),
    "training": (
        lambda: module(lambda x: op.nn.batch_norm(x, *(weight(6) for _ in range(4)), 1)[0]),
        UnsupportedOperatorError, r"nn\.batch_norm.*training",
    ),
    "a mask": (
        lambda: module(lambda x: op.nn.dropout(x)[1]), UnsupportedOperatorError, "nn.dropout",
    ),
    "integers": (
        lambda: module(
            lambda x: op.nn.conv2d(x, relax.const(np.ones((2, 3, 1, 1), np.uint8))),
            (1, 3, 8, 8), dtype="uint8",
        ),
        UnsupportedOperatorError, "computes in uint8",
    ),
    "blocks": (
        lambda: module(
            lambda x: op.nn.max_pool2d(x, 2, layout="NCHW4c"), (1, 2, 8, 8, 4)
        ),
        UnsupportedOperatorError, "NCHW4c",
    ),
    "three dimensions": (
        lambda: module(op.nn.relu, (3, 8, 8)), InvalidModelError, "3 dimensions",
    ),
    "no module": (lambda: {"main": 1}, InvalidModelError, "no Relax module"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_taken_is_refused_by_name(case: str) -> None:
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        tm.from_relax(make())


def test_relay_is_in_the_other_environment() -> None:
    with pytest.raises(StackError, match=r"TVM 0\.19"):
        tm.from_relay(None)


def test_the_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "relay-relax.md").read_text()
    exec(text.split("```python\n")[1].split("```")[0], {})
    calls = tm.load("mine.so").manifest["calls"]
    assert [name for call in calls for name in call["layers"]] == ["conv1.clip", "mean_1"]

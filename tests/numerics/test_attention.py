"""Transformers inside of mobile networks: imported, compiled, and run as their files say."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.models.importer import import_onnx
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.layers import LpNormalization
from tvm_mobilenet.models.reference import relative_error
from tvm_mobilenet.operators.facts import OPERATORS

NATIVE = Path(tm.__file__).parent / "artifact" / "native"
PROGRAM = Path(__file__).parents[1] / "native" / "program.c"
TRIPLE = "aarch64-linux-gnu"


def numbers(net: Net, *values: int) -> str:
    return net.const(values, np.int64)


def linear(net: Net, x: str, inputs: int, outputs: int) -> str:
    product = net.op("MatMul", x, net.const(net.weight(outputs, inputs).T))
    return str(net.op("Add", product, net.const(net.rng.standard_normal(outputs))))


def normed(net: Net, x: str, channels: int, spelling: str) -> str:
    gamma, beta = (net.const(net.rng.uniform(0.5, 1.5, channels)) for _ in range(2))
    if spelling == "op":
        return str(net.op("LayerNormalization", x, gamma, beta, axis=-1))
    away = net.op("Sub", x, net.op("ReduceMean", x, axes=[-1]))
    squares = net.op("Pow", away, net.const(2)) if spelling == "pow" else net.op("Mul", away, away)
    raised = net.op("Add", net.op("ReduceMean", squares, axes=[-1]), net.const(1e-5))
    y = net.op("Div", away, net.op("Sqrt", raised))
    return str(net.op("Add", net.op("Mul", y, gamma), beta))


def heads(net: Net, x: str, shape: tuple[int, int, int], count: int, order: list[int]) -> list[str]:
    """Queries, keys and values of tokens (batch, tokens, channels)."""
    batch, tokens, channels = shape
    split = numbers(net, batch, tokens, 3, count, channels // count)
    turned = net.op("Transpose", net.op("Reshape", linear(net, x, channels, 3 * channels), split),
                    perm=order)  # fmt: skip
    return [net.op("Gather", turned, net.const(i, np.int64), axis=0) for i in range(3)]


def of_length_one(net: Net, x: str, *, expanded: bool) -> str:
    """A tensor over the norms of its last axis, as ``torch.nn.functional.normalize`` exports it."""
    norm, least = net.op("ReduceL2", x, axes=[-1], keepdims=1), net.const(1e-12)
    if not expanded:
        return str(net.op("Div", x, net.op("Max", norm, least)))
    return str(net.op("Div", x, net.op("Expand", net.op("Clip", norm, least), net.op("Shape", x))))


def mobilevit(net: Net, x: str, channels: int, side: int, spelling: str) -> str:
    """A MobileViT block (arXiv 2110.02178): windows of 2 x 2 pixels are unfolded and folded."""
    batch, half = net.shape[0], side // 2
    assert isinstance(batch, int)
    flat = numbers(net, batch * channels * half, 2, half, 2)
    t = net.op("Transpose", net.op("Reshape", x, flat), perm=[0, 2, 1, 3])
    t = net.op("Reshape", t, numbers(net, batch, channels, half * half, 4))
    shape = (4 * batch, half * half, channels)
    t = net.op("Reshape", net.op("Transpose", t, perm=[0, 3, 2, 1]), numbers(net, *shape))
    q, k, v = heads(net, normed(net, t, channels, spelling), shape, 2, [2, 0, 3, 1, 4])
    scale = net.const(0.6)
    keys = net.op("Mul", net.op("Transpose", k, perm=[0, 1, 3, 2]), scale)
    scores = net.op("MatMul", net.op("Mul", q, scale), keys)
    mixed = net.op("MatMul", net.op("Softmax", scores, axis=-1), v)
    mixed = net.op("Reshape", net.op("Transpose", mixed, perm=[0, 2, 1, 3]), numbers(net, *shape))
    t = net.op("Add", t, linear(net, mixed, channels, channels))
    wide = linear(net, normed(net, t, channels, spelling), channels, 2 * channels)
    wide = net.op("Mul", wide, net.op("Sigmoid", wide))
    t = net.op("Add", t, linear(net, wide, 2 * channels, channels))
    t = net.op("Reshape", t, numbers(net, batch, 4, half * half, channels))
    t = net.op("Reshape", net.op("Transpose", t, perm=[0, 3, 2, 1]),
               numbers(net, batch * channels * half, half, 2, 2))  # fmt: skip
    t = net.op("Reshape", net.op("Transpose", t, perm=[0, 2, 1, 3]),
               numbers(net, batch, channels, side, side))  # fmt: skip
    net.channels[t] = channels
    return str(t)


def edgenext(net: Net, x: str, channels: int, side: int, spelling: str) -> str:
    """Attention across channels (arXiv 2206.10589), then a product of pixels in NHWC."""
    shape = (1, side * side, channels)
    t = net.op("Transpose", net.op("Reshape", x, numbers(net, 1, channels, side * side)),
               perm=[0, 2, 1])  # fmt: skip
    q, k, v = heads(net, normed(net, t, channels, spelling), shape, 3, [2, 0, 3, 4, 1])
    q, k = of_length_one(net, q, expanded=True), of_length_one(net, k, expanded=False)
    scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
    scores = net.op("Mul", scores, net.const(net.rng.uniform(0.5, 2, (3, 1, 1))))
    mixed = net.op("MatMul", net.op("Softmax", scores, axis=-1), v)
    mixed = net.op("Reshape", net.op("Transpose", mixed, perm=[0, 3, 1, 2]), numbers(net, *shape))
    t = net.op("Add", t, linear(net, mixed, channels, channels))
    t = net.op("Reshape", t, numbers(net, 1, side, side, channels))
    y = linear(net, normed(net, t, channels, spelling), channels, 2 * channels)
    half, one, root = net.const(0.5), net.const(1), net.const(2**0.5)
    y = net.op("Mul", net.op("Mul", y, net.op("Add", net.op("Erf", net.op("Div", y, root)), one)),
               half)  # fmt: skip
    y = linear(net, y, 2 * channels, channels)
    y = net.op("Mul", y, net.const(net.rng.uniform(0.1, 1, channels)))
    y = net.op("Transpose", y, perm=[0, 3, 1, 2])
    net.channels[y] = channels
    return str(y)


def compiled(net: Net, path: Path, *outputs: str) -> tuple[tm.Compiled, float]:
    """Compile it, which verifies every layer; return the error of what it computes."""
    net.save(path, *outputs)
    made = tm.compile(path)
    x = np.random.default_rng(1).standard_normal(net.shape).astype(np.float32)
    got = made.module(x)
    want = ReferenceEvaluator(onnx.load(path)).run(None, {"image": x})
    got = got if isinstance(got, tuple) else (got,)
    return made, max(relative_error(a, b) for a, b in zip(got, want, strict=True))


def test_a_mobilevit_block(tmp_path: Path) -> None:
    net = Net((2, 8, 6, 6), opset=17)
    y = mobilevit(net, net.conv("image", 32), 32, 6, "op")
    made, error = compiled(net, tmp_path / "net.onnx", net.conv(y, 8))
    assert error < 1e-5
    operators = [call["operator"] for call in made.manifest["calls"]]
    ours = ("copies_in", "linear", "layer_norm", "product", "softmax_rows")
    assert [operators.count(name) for name in ours] == [1, 4, 2, 2, 1]
    assert operators.count("copies") + operators.count("copies_out") == 2
    layouts = ("plain_", "blocked_")
    assert {name for name in operators if not name.startswith(layouts)} <= OPERATORS.keys()


@pytest.mark.parametrize("spelling", ["pow", "mul"])
def test_an_edgenext_block(spelling: str, tmp_path: Path) -> None:
    net = Net((1, 8, 5, 5), opset=13)
    y = edgenext(net, net.conv("image", 24), 24, 5, spelling)
    path = net.save(tmp_path / "net.onnx", net.conv(y, 8))
    model = import_onnx(path).model
    assert sum(isinstance(layer, LayerNorm) for layer in model.layers) == 2
    assert sum(isinstance(layer, LpNormalization) for layer in model.layers) == 2
    if spelling == "pow":
        made, error = compiled(net, path, net.conv(y, 8))
        assert error < 1e-5
        operators = [call["operator"] for call in made.manifest["calls"]]
        assert operators.count("product") == operators.count("lp_normalization") == 2


def test_products_of_any_form(tmp_path: Path) -> None:
    net = Net((1, 4, 6, 6), opset=17)
    x = net.conv("image", 20)
    one = net.op("Reshape", x, numbers(net, 20, 36))
    other = net.op("Reshape", net.conv("image", 15, bias=True), numbers(net, 15, 36))
    added = net.op("Reshape", net.conv("image", 5), numbers(net, 15, 12))
    outputs = [
        net.op("Gemm", one, other, transB=1, alpha=0.5),
        net.op("Gemm", other, net.op("Slice", one, numbers(net, 0), numbers(net, 12)), added,
               transB=1, beta=2.0),
        net.op("Gemm", one, net.const(net.weight(20, 7)), transA=1),
        net.op("MatMul", net.const(net.weight(3, 5, 15)), other),
        net.op("MatMul", other, net.const(net.weight(4, 36, 9))),
        net.op("Einsum", net.op("Reshape", x, numbers(net, 4, 5, 6, 6)),
               net.op("Reshape", x, numbers(net, 4, 6, 5, 6)), equation="abcd,acef->aebf"),
        net.op("Einsum", one, other, equation="ij,kj->ki"),
        net.op("Softmax", net.op("Reshape", x, numbers(net, 4, 5, 36)), axis=1),
        net.op("Softmax", one, axis=0),
        net.op("LayerNormalization", net.op("Reshape", one, numbers(net, 2, 10, 36)),
               net.const(net.rng.uniform(0.5, 1.5, 36)), axis=2),
    ]  # fmt: skip
    made, error = compiled(net, tmp_path / "net.onnx", *outputs)
    assert error < 1e-5
    operators = [call["operator"] for call in made.manifest["calls"]]
    assert operators.count("product") >= 5
    assert operators.count("softmax_rows") == 2


def test_on_an_emulated_arm(tmp_path: Path) -> None:
    emulator, compiler = shutil.which("qemu-aarch64-static"), shutil.which(f"{TRIPLE}-gcc")
    if emulator is None or compiler is None:
        pytest.skip(f"no emulated ARM: apt install qemu-user-static gcc-{TRIPLE}")
    net = Net((1, 8, 6, 6), opset=17)
    y = mobilevit(net, net.conv("image", 24), 24, 6, "op")
    path = net.save(tmp_path / "net.onnx", net.op("Reshape", y, numbers(net, 1, 24 * 36)))
    board = tm.compile(path, target="rpi4", emit="a")
    archive = board.export(tmp_path / "libnet.a")
    x = np.random.default_rng(1).standard_normal(net.shape).astype(np.float32)
    x.tofile(tmp_path / "in.bin")
    options = ["-static", "-std=c11", "-D_ISOC11_SOURCE", "-pthread", f"-I{NATIVE}"]
    made = [str(PROGRAM), str(archive), "-lm", "-o", str(tmp_path / "program")]
    subprocess.run([compiler, *options, *made], check=True)
    files = [str(tmp_path / "in.bin"), str(tmp_path / "out.bin")]
    command = [emulator, str(tmp_path / "program"), "1", "own", *files]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
    (want,) = ReferenceEvaluator(onnx.load(path)).run(None, {"image": x})
    got = np.fromfile(tmp_path / "out.bin", np.float32).reshape(want.shape)
    assert relative_error(got, want) < 1e-5

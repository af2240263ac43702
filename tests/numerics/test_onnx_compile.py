"""Imported networks compile, are verified, and run as the built-in ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.compilation.report import report_of
from tvm_mobilenet.emit.relax.pipeline import lower
from tvm_mobilenet.machine import host
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.onnx_export import export_onnx
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.network.planning import plan_network


def compiled(net: Net, folder: Path, *outputs: str) -> tuple[Any, Any]:
    """Compile; what comes out is what onnx's evaluator says. Return it and the import."""
    imported = tm.import_onnx(net.save(folder / "net.onnx", *outputs))
    made = tm.compile(imported)
    x = np.random.default_rng(2).standard_normal(imported.model.input_shape).astype(np.float32)
    found = made.module(x)
    expected = imported.expected(x)
    for name, got in zip(
        imported.model.outputs, found if len(outputs) > 1 else [found], strict=True
    ):
        assert reference.relative_error(got, expected[name]) < 1e-5, name
    return made, imported


def test_a_trunk_with_another_head(tmp_path: Path) -> None:
    """Several outputs, one of which others read; TVM's kernels between ours, and named."""
    net = Net((1, 3, 24, 24))
    x = net.act(net.norm(net.conv("image", 12, 3, strides=[2, 2])), "hardswish", "late")
    y = net.add(net.conv(net.act(net.depthwise(x), "relu6", "clip"), 12), x)
    y = net.act(net.excite(net.act(y, "relu"), 4), "hardswish", "spelled")
    leaky = net.op("Softsign", y)
    dilated = net.conv(leaky, 6, 3, dilations=[2, 2], pads=[2] * 4)
    one, other = net.op("Split", y, net.const([5, 7], np.int64), axis=1, outputs=2)
    joined = net.op("Concat", dilated, one, other, axis=1)
    net.channels[joined] = 18
    logits = net.conv(joined, 5, bias=True)
    sizes = net.const([1, 5, 24, 24], np.int64)
    wide = net.op(
        "Resize", logits, net.const([0] * 4 + [1] * 4), "", sizes, mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
    )  # fmt: skip
    flat = net.op("Flatten", net.op("GlobalAveragePool", y))
    made, imported = compiled(net, tmp_path, wide, flat, leaky)

    outputs = [(record["shape"], record["layout"]) for record in made.manifest["outputs"]]
    assert outputs == [([1, 5, 24, 24], "NCHW"), ([1, 12], "NC"), ([1, 12, 12, 12], "NCHW")]
    named = {name for row in report_of(made.manifest).rows for name in row.layers}
    beside = {name for name in named if name.startswith("(")}
    assert named - beside == {layer.name for layer in imported.model.layers}
    assert beside - {"(layout)"} == {f"(part of {wide})"}
    foreign = {call["operator"] for call in made.manifest["calls"] if call["source"] == "fallback"}
    text = " ".join(foreign)
    assert all(op in text for op in ("Softsign", "Resize"))
    ours = [call["operator"] for call in made.manifest["calls"] if call["source"] != "fallback"]
    assert {"conv", "conv_blocked", "depthwise", "pointwise", "scale", "pool"} <= set(ours) | {
        "depthwise"
    }

    assert tm.verify(made.path).passed
    moved = tmp_path / "moved.onnx"
    (tmp_path / "net.onnx").rename(moved)
    with pytest.raises(tm.TvmMobilenetError, match="--model"):
        tm.verify(made.path)
    assert tm.verify(made.path, model=moved).passed
    net.save(moved, wide, flat)
    with pytest.raises(tm.TvmMobilenetError):
        tm.verify(made.path, model=moved)


def test_nhwc_and_views(tmp_path: Path) -> None:
    """The transposition at the way in is the convolution's; views in the middle and at the end."""
    net = Net((2, 12, 12, 3))
    x = net.op("Transpose", "image", perm=[0, 3, 1, 2])
    net.channels[x] = 3
    x = net.act(net.conv(x, 8, 3, auto_pad="SAME_UPPER", strides=[2, 2]), "relu")
    x = net.op("Reshape", net.depthwise(x), net.const([2, 8, 9, 4], np.int64))
    y = net.act(net.conv(x, 6), "hardsigmoid", "times")
    made, _ = compiled(net, tmp_path, net.op("Reshape", y, net.const([2, 6, -1], np.int64)))
    assert made.manifest["inputs"][0]["layout"] == "NHWC"
    assert made.manifest["preprocess"]["crop"] == 12


@pytest.mark.parametrize(
    "name",
    [*("v1", "v2", "v3-large", "v3-small"), *("v4-conv-small", "mnasnet-a1", "mobileone-s0")],
)
def test_imported_and_built_in_are_the_same_kernels(name: str, tmp_path: Path) -> None:
    """Exported and imported again: calls, layers, knobs, fusion, and the weights of each."""
    width = {} if "mobileone" in name else {"alpha": 0.35 if name == "v2" else 0.5}
    model = tm.build(name, resolution=64, **width)
    weights = initialize(model, 1)
    export_onnx(model, weights, tmp_path / "net.onnx")
    imported = tm.import_onnx(tmp_path / "net.onnx")
    ours = lower(plan_network(model, host()), weights)
    theirs = lower(plan_network(imported.model, host()), imported.weights)
    assert theirs.calls == ours.calls
    assert theirs.kernels == ours.kernels
    assert [c.choice for c in theirs.plan.calls] == [c.choice for c in ours.plan.calls]
    assert not [k for k in theirs.kernels.values() if k.source == "fallback"]
    assert all(np.array_equal(imported.weights[key], value) for key, value in weights.items())


@pytest.mark.parametrize("channels", [1, 8])
@pytest.mark.parametrize("again", [False, True])
def test_an_input_at_any_address(channels: int, again: bool, tmp_path: Path) -> None:
    """One channel is computed in vectors of pixels; another reader may load vectors as well."""
    net = Net((1, 3, 16, 16))
    outputs = [net.conv("image", channels, 3, bias=True)]
    outputs += [net.op("Softsign", "image")] * again
    module = tm.compile(net.save(tmp_path / "net.onnx", *outputs), verify=False).module
    room = np.random.default_rng(0).standard_normal(3 * 256 + 32).astype(np.float32)
    start = -room.ctypes.data // 4 % 16  # floats to a multiple of 64 bytes
    for offset in (0, 1, 4, 8):
        x = room[start + offset :][: 3 * 256].reshape(1, 3, 16, 16)
        found, wanted = module(x), module(x.copy())
        pairs = zip(found, wanted, strict=True) if again else [(found, wanted)]
        for got, want in pairs:
            np.testing.assert_array_equal(got, want)

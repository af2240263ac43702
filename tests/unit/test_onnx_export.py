"""The ONNX file: what is in it, and that ONNX Runtime reads the same network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tvm_mobilenet.errors import OutputError, WeightsError
from tvm_mobilenet.models import build, mobilenet_v1, reference
from tvm_mobilenet.models.importer import import_onnx
from tvm_mobilenet.models.initialization import LOGIT_DEVIATION
from tvm_mobilenet.models.layers import LpNormalization
from tvm_mobilenet.models.onnx_export import export_onnx, to_onnx
from tvm_mobilenet.models.spec import (
    Activate,
    Activation,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Model,
)
from tvm_mobilenet.models.weights import initialize

MODEL = mobilenet_v1(alpha=0.25, resolution=32, classes=10)


def test_graph_is_what_an_exporter_writes() -> None:
    exported = to_onnx(MODEL, initialize(MODEL))
    operators = Counter(node.op_type for node in exported.graph.node)
    assert operators == {
        "Conv": 27,
        "BatchNormalization": 27,
        "Clip": 27,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Gemm": 1,
        "Softmax": 1,
    }
    assert [(entry.domain, entry.version) for entry in exported.opset_import] == [("", 17)]
    names = {node.name for node in exported.graph.node}
    assert names >= {layer.name for layer in MODEL.layers}
    tensors = {output for node in exported.graph.node for output in node.output}
    assert tensors >= {layer.name for layer in MODEL.layers}


def test_parameters_keep_names_shapes_and_values() -> None:
    weights = initialize(MODEL)
    stored = {t.name: numpy_helper.to_array(t) for t in to_onnx(MODEL, weights).graph.initializer}
    assert set(stored) == {*MODEL.parameters, "relu6.min", "relu6.max"}
    for name, array in weights.items():
        np.testing.assert_array_equal(stored[name], array)


def test_input_and_output_are_declared() -> None:
    model = mobilenet_v1(0.25, 33, classes=7, batch=3)
    graph = to_onnx(model, initialize(model)).graph

    def declared(info: onnx.ValueInfoProto) -> tuple[str, tuple[int, ...]]:
        return info.name, tuple(d.dim_value for d in info.type.tensor_type.shape.dim)

    assert [declared(info) for info in graph.input] == [("input", (3, 3, 33, 33))]
    assert [declared(info) for info in graph.output] == [("softmax", (3, 7))]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(
            (name, {"alpha": alpha, "resolution": resolution, "batch": batch})
            for name in ("v1", "v2", "v3-large", "v3-small")
            for alpha, resolution, batch in ((1.0, 224, 1), (0.75, 97, 2))
        ),
        ("v4-conv-small", {"alpha": 0.5, "resolution": 65, "batch": 2}),
        ("efficientnet-lite0", {"resolution": 49}),
        ("mnasnet-a1", {"alpha": 0.5, "resolution": 33}),
        ("mobileone-s0", {"resolution": 33}),
    ],
)
def test_onnxruntime_agrees(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    model = build(name, **options)
    weights = initialize(model)
    path = tmp_path / "model.onnx"
    export_onnx(model, weights, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).uniform(-1, 1, model.input_shape).astype(np.float32)
    (got,) = session.run(None, {"input": x})
    assert reference.relative_error(got, reference.run(model, weights, x)) < 1e-5


@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "hardswish", "hardsigmoid"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch_norm", [None, 1e-5])
def test_every_epilogue_and_only_the_last_tensor_bears_the_name(
    activation: str, bias: bool, batch_norm: float | None
) -> None:
    layer = Conv2d(
        name="c",
        inputs=("input",),
        in_shape=(2, 4, 7, 6),
        out_channels=6,
        kernel=(3, 2),
        strides=(2, 1),
        padding=(1, 0, 2, 1),
        groups=2,
        bias=bias,
        batch_norm=batch_norm,
        activation=activation,  # type: ignore[arg-type]
    )
    model = Model(name="m", title="M", options={}, input_shape=layer.in_shape, layers=(layer,))
    weights = initialize(model)
    exported = to_onnx(model, weights)
    assert [node.output[0] for node in exported.graph.node].count("c") == 1
    session = onnxruntime.InferenceSession(
        exported.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(0).normal(0, 3, layer.in_shape).astype(np.float32)
    (got,) = session.run(None, {"input": x})
    assert reference.relative_error(got, reference.run(model, weights, x)) < 1e-6


def test_weights_are_checked() -> None:
    weights = initialize(MODEL)
    weights["conv1.weight"][0] = np.nan
    with pytest.raises(WeightsError, match=r"not finite: conv1\.weight"):
        to_onnx(MODEL, weights)


def test_unwritable_path(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        export_onnx(MODEL, initialize(MODEL), tmp_path / "no" / "v1.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("activation", "least"),
    [("relu", 0.0), ("relu6", 0.5), ("hardswish", 0.0), ("hardsigmoid", 0.0)],
)
def test_an_activation_and_a_normalization_come_back(
    activation: Activation, least: float, tmp_path: Path
) -> None:
    map_, row = (1, 4, 5, 6), (1, 4)
    layers = (
        Conv2d("c", ("input",), map_, 4, (1, 1)),
        Add("sum", ("c", "input"), map_),
        Activate("bent", ("sum",), map_, activation),
        GlobalAvgPool("pool", ("bent",), map_),
        LpNormalization("rows", ("pool",), row, least),
        Dense("scores", ("rows",), row, 3),
    )
    model = Model("m", "M", {}, map_, layers)
    weights = initialize(model)
    export_onnx(model, weights, tmp_path / "m.onnx")
    read = import_onnx(tmp_path / "m.onnx")
    assert read.model.layers == layers
    x = np.random.default_rng(0).normal(0, 2, map_)
    want = reference.run(model, weights, x)
    np.testing.assert_array_equal(reference.run(read.model, read.weights, x), want)
    assert reference.relative_error(read.expected(x)["scores"], want) < 1e-6


def test_weights_behind_a_normalization_give_the_usual_logits() -> None:
    layers = (
        GlobalAvgPool("pool", ("input",), (1, 4, 3, 3)),
        LpNormalization("rows", ("pool",), (1, 4)),
        Dense("scores", ("rows",), (1, 4), 1000),
    )
    model = Model("m", "M", {}, (1, 4, 3, 3), layers)
    x = np.random.default_rng(0).normal(size=model.input_shape)
    logits = reference.run(model, initialize(model), x)
    assert logits.std() == pytest.approx(LOGIT_DEVIATION, rel=0.1)

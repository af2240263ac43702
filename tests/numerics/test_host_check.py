"""What is read of an ONNX file is checked where it is compiled, also for another machine."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.cli.inspecting import verified
from tvm_mobilenet.compilation.relax import Relax
from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.models.network import network_from
from tvm_mobilenet.verify.artifact import sample_input
from tvm_mobilenet.verify.host_check import check_on_host


def network(folder: Path) -> Path:
    """Operators of TVM's, two of them the same, between layers of ours."""
    net = Net((1, 3, 12, 12))
    x = net.op("Softsign", net.conv("image", 8, 3, strides=[2, 2]))
    y = net.op("Softsign", net.conv(x, 8))
    joined = net.op("Concat", x, y, axis=1)
    net.channels[joined] = 16
    up = net.op("Resize", joined, "", net.const([1, 1, 2, 2]), mode="nearest",
                nearest_mode="floor", coordinate_transformation_mode="asymmetric")  # fmt: skip
    net.channels[up] = 16
    return net.save(folder / "net.onnx", net.conv(up, 4, bias=True))


def test_for_another_processor_and_unverified_it_is_checked_and_says_so(tmp_path: Path) -> None:
    path = network(tmp_path)
    made = tm.compile(tm.import_onnx(path), target="rpi4")
    assert made.manifest["verification"] is None
    assert made.manifest["host_check"] == {"layers": 7, "operators": 4, "unjudged": []}
    assert "checked here against the ONNX file: 7 layers, 4 of them TVM's" in verified(
        made.manifest
    )
    # Verification does all of it, and once is enough.
    assert "host_check" not in tm.compile(tm.import_onnx(path)).manifest


@pytest.mark.parametrize("target", ["rpi4", "opencl", "native"])
def test_a_wrong_operator_of_tvms_is_not_written(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its importer takes nearest for linear."""
    from tvm_mobilenet.emit.relax import emit, foreign, on_host

    right = foreign.import_operator

    def wrong(layer: Any, weights: Any) -> Any:
        if layer.operator == "Resize":
            model = onnx.load_model_from_string(layer.node)
            (mode,) = (a for a in model.graph.node[0].attribute if a.name == "mode")
            mode.s = b"linear"
            layer = dataclasses.replace(layer, node=model.SerializeToString())
        return right(layer, weights)

    monkeypatch.setattr(on_host, "import_operator", wrong)
    monkeypatch.setattr(emit, "import_operator", wrong)
    with pytest.raises(VerificationError, match="TVM's Resize of"):
        tm.compile(tm.import_onnx(network(tmp_path)), target=target, verify=False)


@pytest.mark.parametrize("spoil", ["weight", "stride", "order"])
def test_what_was_read_wrong_is_not_written(spoil: str, tmp_path: Path) -> None:
    imported = tm.import_onnx(network(tmp_path))
    model, weights = imported.model, dict(imported.weights)
    first, last = model.layers[0], model.layers[-1]
    if spoil == "weight":
        value = weights[f"{last.name}.weight"].copy()
        value.flat[3] *= np.float32(1.01)
        weights[f"{last.name}.weight"] = value
    elif spoil == "stride":
        first = dataclasses.replace(first, padding=(0, 0, 2, 2))
    layers = [first if one.name == first.name else one for one in model.layers]
    if spoil == "order":
        at = next(i for i, one in enumerate(layers) if getattr(one, "operator", "") == "Concat")
        layers[at] = dataclasses.replace(layers[at], inputs=layers[at].inputs[::-1])
    wrong = dataclasses.replace(
        imported, model=dataclasses.replace(model, layers=tuple(layers)), weights=weights
    )
    named = {"weight": last.name, "stride": first.name}.get(spoil, "")
    with pytest.raises(VerificationError, match=f"{named}.* is not what the ONNX file says"):
        check_on_host(network_from(wrong, None, 0), sample_input(model.input_shape), Relax())


def test_what_nobody_can_compute_goes_on_from_what_tvm_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvm_mobilenet.models import onnx_operators

    found = network_from(network(tmp_path), None, 0)
    names = {getattr(layer, "operator", ""): layer.name for layer in found.model.layers}

    def cannot(*_: Any) -> None:
        raise ValueError("not implemented")

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(onnx_operators._CORRECTED, "Resize", cannot)
    x = sample_input(found.model.input_shape)
    assert check_on_host(found, x, Relax())["unjudged"] == [names["Resize"]]
    last = found.model.layers[-1]
    weights = {**found.weights, f"{last.name}.bias": found.weights[f"{last.name}.bias"] + 1}
    with pytest.raises(VerificationError, match=f"layer {last.name} is not what"):
        check_on_host(dataclasses.replace(found, weights=weights), x, Relax())

"""What an artifact in integers was compiled from is found again: by float weights and ranges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integer_networks import quantized

import tvm_mobilenet as tm
from tvm_mobilenet.errors import InvalidModelError, ManifestError, OnnxFileError, WeightsError
from tvm_mobilenet.models import build
from tvm_mobilenet.models.network import Network, network_of
from tvm_mobilenet.models.onnx_qdq import write_qdq
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.quantized.remaking import decided
from tvm_mobilenet.models.weights import digest, initialize, save
from tvm_mobilenet.runtime import schema
from tvm_mobilenet.runtime.artifact import read_manifest
from tvm_mobilenet.runtime.schema_check import SchemaError, checker

MODEL = build("v3-small", alpha=0.5, resolution=32, classes=10)
"""With tables, pools, scales, residual sums that leave as float32."""

KEPT = ("block3.expand", "block4.se.reduce")


def manifest_of(network: Network) -> dict[str, Any]:
    """Return what a manifest says of a network, as it is read again."""
    said = {
        "model": network.model.describe(),
        "title": network.model.title,
        "weights": {"source": network.source, "sha256": digest(network.weights)},
        "quantized": decided(QuantizedModel(network.model, network.records), network.weights),
    }
    return dict(json.loads(json.dumps(said)))


def test_a_network_is_made_again() -> None:
    made = quantized(MODEL, 3, keep=KEPT)
    said = manifest_of(made)
    checker(schema.Quantized)(said["quantized"])
    found = network_of(said)
    assert (found.model, found.records, found.source) == (made.model, made.records, "seed:3")
    assert found.weights.keys() == made.weights.keys()
    for name, array in made.weights.items():
        np.testing.assert_array_equal(found.weights[name], array)
        assert found.weights[name].dtype == array.dtype
    assert network_of(said, given=made) is made


def test_a_network_of_pixels_is_made_again() -> None:
    """Mean and deviation are in the weights, and only the manifest tells them."""
    model = build("v1", alpha=0.25, resolution=32, classes=10)
    images = [np.random.default_rng(at).integers(0, 256, (3, 32, 32)) for at in range(4)]
    made, _ = tm.quantize(model, [x.astype(np.uint8) for x in images], pixels=True, method="mse")
    assert made.pixels.keys() == {"scale", "mean", "std"}
    said = manifest_of(made)
    said["quantized"]["pixels"] = json.loads(json.dumps(dict(made.pixels)))
    checker(schema.Quantized)(said["quantized"])
    found = network_of(said)
    assert (found.model, found.records) == (made.model, made.records)
    assert digest(found.weights) == digest(made.weights)
    said["quantized"]["pixels"]["mean"] = [0.5, 0.4, 0.4]
    with pytest.raises(WeightsError, match="not those of the artifact"):
        network_of(said)
    said["quantized"]["pixels"]["mean"] = [2.0, 0.4, 0.4]
    with pytest.raises(ManifestError, match="padding stands for pixels of 510"):
        network_of(said)
    del said["quantized"]
    with pytest.raises(InvalidModelError, match="does not say what mean and deviation"):
        network_of(said | {"calls": [{"operator": "qpixels"}]})


def test_other_weights_are_refused(tmp_path: Path) -> None:
    made = quantized(MODEL, 3)
    said = manifest_of(made)
    save(initialize(MODEL, 4), tmp_path / "w.npz")
    other = quantized(MODEL, 4)
    for options in ({"weights": tmp_path / "w.npz"}, {"given": other}):
        with pytest.raises(WeightsError, match="not those of the artifact"):
            network_of(said, **options)
    # The same elements at other scales are another network.
    scaled = {name: 2 * array for name, array in initialize(MODEL, 3).items()}
    with pytest.raises(WeightsError, match="their scales are others"):
        network_of(said, scaled)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("biases", "AAAA", "3 bytes of biases"),
        ("biases", "A", "padding|multiple of 4|data characters"),
        ("layers", {"no": {"output": ["uint8", 0.5, 0], "before": None}}, "'no' is no layer"),
        ("values", {}, "reads 'input', which is float32"),
        ("values", {"input": ["int8", 0.5, 200]}, "zero point 200"),
    ],
)
def test_what_makes_no_network_is_named(field: str, value: Any, says: str) -> None:
    said = manifest_of(quantized(MODEL, 3))
    said["quantized"][field] = value
    with pytest.raises(ManifestError, match=says) as caught:
        network_of(said)
    assert MODEL.title in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("biases", "not base64!"),
        ("values", {"input": ["float32", 0.5, 0]}),
        ("values", {"input": ["int8", 0.0, 0]}),
        ("values", {"input": ["int8", 0.5]}),
        ("layers", {"conv1": {"output": None}}),
        ("scales", "f" * 63),
    ],
)
def test_manifests_that_say_something_else_are_refused(field: str, value: Any) -> None:
    said = manifest_of(quantized(MODEL, 3))["quantized"] | {field: value}
    with pytest.raises(SchemaError):
        checker(schema.Quantized)(said)


def test_a_network_of_no_file_is_given_again(tmp_path: Path) -> None:
    weights = initialize(MODEL, 5)
    images = [np.random.default_rng(at).standard_normal((3, 32, 32)) for at in range(4)]
    network, _ = tm.quantize(MODEL, [x.astype(np.float32) for x in images], weights=weights)
    path = tm.compile(network, verify=False).export(tmp_path / "q.so")
    with pytest.raises(WeightsError, match="'arrays', which is no file"):
        tm.verify(path)
    tm.verify(path, weights).check()
    tm.verify(path, model=network).check()


def test_a_quantised_file_is_read_again(tmp_path: Path) -> None:
    write_qdq(quantized(build("v1", alpha=0.25, resolution=32, classes=10)), tmp_path / "q.onnx")
    path = tm.compile(tmp_path / "q.onnx", verify=False).export(tmp_path / "q.so")
    assert "quantized" not in read_manifest(path)
    tm.verify(path).check()
    (tmp_path / "q.onnx").rename(tmp_path / "moved.onnx")
    with pytest.raises(OnnxFileError, match="not there"):
        tm.verify(path)
    tm.verify(path, model=tmp_path / "moved.onnx").check()

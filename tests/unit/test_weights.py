"""Weights: seeded, round trips through both formats, and every bad file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tvm_mobilenet.errors import OutputError, WeightsError
from tvm_mobilenet.models import mobilenet_v1, reference
from tvm_mobilenet.models.weights import FORMATS, Weights, digest, initialize, load, save, validate

MODEL = mobilenet_v1(alpha=0.125, resolution=64, classes=10)


@pytest.fixture
def weights() -> Weights:
    return initialize(MODEL)


def test_initialisation_fits_the_model(weights: Weights) -> None:
    validate(MODEL, weights)
    assert list(weights) == list(MODEL.parameters)
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}


def test_same_seed_same_weights(weights: Weights) -> None:
    assert digest(initialize(MODEL, seed=0)) == digest(weights)
    assert digest(initialize(MODEL, seed=1)) != digest(weights)


def test_resolution_batch_and_padding_change_no_weight(weights: Weights) -> None:
    other = mobilenet_v1(0.125, 97, classes=10, batch=3, padding="symmetric")
    assert digest(initialize(other)) == digest(weights)


@pytest.mark.parametrize(
    ("alpha", "resolution", "seed"), [(1.0, 128, 0), (0.25, 224, 1), (0.5, 97, 2)]
)
def test_activations_neither_die_nor_saturate(alpha: float, resolution: int, seed: int) -> None:
    model = mobilenet_v1(alpha, resolution)
    rng = np.random.default_rng(seed)
    images = rng.uniform(-1, 1, (2, *model.input_shape))
    runs = [reference.run(model, initialize(model, seed), x, keep_layers=True) for x in images]
    for layer in model.layers[:-3]:
        values = runs[0][layer.name]
        assert 0.05 < np.mean(values == 0) < 0.35, layer.name
        assert 0.001 < np.mean(values == 6) < 0.10, layer.name
        assert 1.0 < values.std() < 3.0, layer.name
        assert 1.0 < values.mean() < 3.5, layer.name
    logits = [run["classifier"] for run in runs]
    assert 1.0 < logits[0].std() < 4.0
    assert reference.relative_error(logits[0], logits[1]) > 0.02
    top = runs[0]["softmax"].max()
    assert 10 / 1000 < top < 0.6


@pytest.mark.parametrize("suffix", FORMATS)
def test_round_trip(tmp_path: Path, weights: Weights, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    save(weights, path)
    again = load(path, MODEL)
    assert list(again) == list(weights)
    assert digest(again) == digest(weights)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_become_float32(
    tmp_path: Path, weights: Weights, suffix: str, dtype: type[np.floating]
) -> None:
    stored = {name: array.astype(dtype) for name, array in weights.items()}
    path = tmp_path / f"weights{suffix}"
    _store(stored, path)
    again = load(path, MODEL)
    for name, array in again.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, stored[name].astype(np.float32))


@pytest.mark.parametrize("suffix", FORMATS)
def test_saving_is_reproducible(tmp_path: Path, weights: Weights, suffix: str) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    save(weights, first)
    save(weights, second)
    assert first.read_bytes() == second.read_bytes()


def _store(weights: Weights, path: Path) -> None:
    if path.suffix == ".npz":
        with path.open("wb") as file:
            np.savez(file, **weights)  # type: ignore[arg-type]
    else:
        save_file(weights, path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_misfits_are_all_named_at_once(tmp_path: Path, weights: Weights, suffix: str) -> None:
    del weights["block3.dw.weight"]
    weights["extra"] = np.zeros(3, np.float32)
    weights["classifier.bias"] = np.zeros(11, np.float32)
    weights["conv1.weight"][0, 0, 0, 0] = np.nan
    weights["conv1.bn.beta"][1] = np.inf
    weights["block1.dw.bn.variance"][0] = -1
    path = tmp_path / f"weights{suffix}"
    _store(weights, path)
    with pytest.raises(WeightsError) as caught:
        load(path, MODEL)
    message = str(caught.value)
    assert str(path) in message
    assert "missing: block3.dw.weight" in message
    assert "unexpected: extra" in message
    assert "wrong shape: classifier.bias is (11,), not (10,)" in message
    assert "not finite: conv1.weight, conv1.bn.beta" in message
    assert "negative: block1.dw.bn.variance" in message


def test_long_lists_are_cut(weights: Weights) -> None:
    with pytest.raises(WeightsError, match=f"and {len(weights) - 6} more"):
        validate(MODEL, {})


def test_weights_that_are_no_floats(weights: Weights) -> None:
    weights["classifier.bias"] = np.array(["0"] * 10)
    with pytest.raises(WeightsError, match=r"not floating-point: classifier\.bias is <U1"):
        validate(MODEL, weights)


def test_overflow_of_single_precision_is_named(tmp_path: Path, weights: Weights) -> None:
    weights["classifier.bias"] = np.full(10, 1e300)
    _store(weights, tmp_path / "w.npz")
    with pytest.raises(WeightsError, match=r"not finite: classifier\.bias"):
        load(tmp_path / "w.npz", MODEL)


@pytest.mark.parametrize("suffix", FORMATS)
def test_integers_are_refused(tmp_path: Path, weights: Weights, suffix: str) -> None:
    weights["classifier.bias"] = np.zeros(10, np.int32)
    _store(weights, tmp_path / f"w{suffix}")
    with pytest.raises(WeightsError, match=r"classifier\.bias' has dtype int32"):
        load(tmp_path / f"w{suffix}", MODEL)


def test_bfloat16_is_refused(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(WeightsError):
        load(path, MODEL)


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_file(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(WeightsError, match=r"cannot read .*absent.*No such file"):
        load(tmp_path / f"absent{suffix}", MODEL)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("keep", [0, 7, 5000])
def test_truncated_file(tmp_path: Path, weights: Weights, suffix: str, keep: int) -> None:
    path = tmp_path / f"w{suffix}"
    save(weights, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="is no readable"):
        load(path, MODEL)


def test_flipped_byte_in_npz(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "w.npz"
    save(weights, path)
    content = bytearray(path.read_bytes())
    content[400] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is no readable"):
        load(path, MODEL)


def test_pickles_are_not_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (marker,))

    path = tmp_path / "w.npz"
    with path.open("wb") as file:
        np.savez(file, payload=np.array([Payload()], dtype=object))
    with pytest.raises(WeightsError, match="pickle"):
        load(path, MODEL)
    assert not marker.exists()


def test_single_array(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(WeightsError, match="holds a single array"):
        load(path, MODEL)


def test_unknown_suffix(tmp_path: Path, weights: Weights) -> None:
    with pytest.raises(WeightsError, match=r"use \.npz, \.safetensors, \.pth"):
        load(tmp_path / "w.h5", MODEL)
    with pytest.raises(OutputError, match=r"use \.npz or \.safetensors"):
        save(weights, tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", FORMATS)
def test_unwritable_path_leaves_nothing(tmp_path: Path, weights: Weights, suffix: str) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        save(weights, tmp_path / "no" / f"w{suffix}")
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        save(weights, folder)
    assert [file.name for file in tmp_path.iterdir()] == [folder.name]


def test_failed_write_keeps_the_old_file(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "w.npz"
    save(weights, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="could not convert"):
        save({"a": np.array(["text"])}, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["w.npz"]


def test_digest_depends_on_names_shapes_and_values_but_not_on_order() -> None:
    a, b = np.arange(4, dtype=np.float32), np.ones(2, np.float32)
    assert digest({"a": a, "b": b}) == digest({"b": b, "a": a.astype(np.float64)})
    others = [{"a": a}, {"b": a}, {"a": a.reshape(2, 2)}, {"a": a + 1}, {"a": a, "b": b}]
    assert len({digest(other) for other in others}) == len(others)
    assert digest({"a": a.reshape(2, 2).T}) != digest({"a": a.reshape(2, 2)})

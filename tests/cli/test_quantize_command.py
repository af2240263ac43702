"""``quantize`` and ``compile --dtype int8``: folders of images in, networks in integers out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import tvm_mobilenet as tm
from tvm_mobilenet.errors import InputError, QuantizationError
from tvm_mobilenet.quantization.images import sampled
from tvm_mobilenet.runtime.artifact import read_manifest
from tvm_mobilenet.runtime.recipe import RECIPES
from tvm_mobilenet.verify.artifact import sample_input

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = ("--alpha", "0.25", "--resolution", "32", "--classes", "10")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of five images."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for at in range(5):
        small = Image.fromarray(rng.integers(0, 256, (7, 9, 3)).astype(np.uint8))
        small.resize((60, 50), Image.Resampling.BICUBIC).save(folder / f"{at}.png")
    return folder


def test_an_artifact(run: Run, photographs: Path, tmp_path: Path) -> None:
    path = tmp_path / "q.so"
    done = run("quantize", "v1", *SMALL, "--images", photographs, "-o", path, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["images"] == 5
    assert told["logits"] > 15
    assert (told["judged"], told["kept"]) == (5, {"softmax": "never in integers"})
    stored = [call.get("stored") for call in read_manifest(path)["calls"]]
    assert set(stored) == {"uint8", None}
    assert tm.load(path)(sample_input((1, 3, 32, 32))).shape == (1, 10)
    again = run("verify", path, "--json")
    assert again.returncode == 0, again.stderr
    assert {row["alone"] for row in json.loads(again.stdout)["rows"][:-1]} == {0.0}
    timed = run("bench", path, "--against", "onnxruntime", "--rounds", 1, "--seconds", 0.02)
    assert timed.returncode == 0, timed.stderr
    assert "onnxruntime" in timed.stdout


def test_onnx(run: Run, photographs: Path, tmp_path: Path) -> None:
    """Onnxruntime's answer is ours, within some elements of the last map."""
    paths = tmp_path / "q.onnx", tmp_path / "q.so"
    for path in paths:
        done = run("quantize", "v1", *SMALL, "--images", photographs, "-o", path)
        assert done.returncode == 0, done.stderr
        assert "SQNR" in done.stdout
    x = sample_input((1, 3, 32, 32), 5)
    session = onnxruntime.InferenceSession(paths[0], providers=["CPUExecutionProvider"])
    theirs = session.run(None, {session.get_inputs()[0].name: x})[0]
    np.testing.assert_allclose(tm.load(paths[1])(x), theirs, atol=0.02)


def test_compile(run: Run, photographs: Path, tmp_path: Path) -> None:
    path = tmp_path / "q.so"
    options = ("--dtype", "int8", "--calibration", photographs)
    done = run("compile", "v1", *SMALL, *options, "-o", path)
    assert done.returncode == 0, done.stderr
    assert "qseparable" in done.stdout
    assert "verified" in done.stdout


def test_raw_pixels(run: Run, photographs: Path, tmp_path: Path) -> None:
    """The artifact takes an image's bytes, whatever its network was trained with."""
    path = tmp_path / "q.so"
    options = ("--images", photographs, "--preprocess", "tf", "--pixels", "--json")
    done = run("quantize", "v1", *SMALL, *options, "-o", path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["logits"] > 15
    manifest = read_manifest(path)
    assert manifest["inputs"][0]["dtype"] == manifest["preprocess"]["dtype"] == "uint8"
    shown = run("run", path, photographs / "0.png", "--json")
    assert shown.returncode == 0, shown.stderr
    x = sample_input((1, 3, 32, 32), dtype="uint8")
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    how = {"dtype": "int8", "calibration": photographs, "preprocess": "tf"}
    same = tm.compile(model, **how, pixels=True).module
    np.testing.assert_array_equal(tm.load(path)(x), same(x))
    want = tm.compile(model, **how).module((x / np.float32(127.5) - 1).astype(np.float32))
    np.testing.assert_allclose(tm.load(path)(x), want, atol=0.02)
    again = run("verify", path, "--json", "--save", tmp_path / "y.npy")
    assert again.returncode == 0, again.stderr
    assert {row["alone"] for row in json.loads(again.stdout)["rows"][:-1]} == {0.0}
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), same(x))


def test_what_kept_layers_are_is_the_targets_choice(run: Run, photographs: Path) -> None:
    options = ("v1", *SMALL, "--images", photographs, "--keep", "block1.dw", "--json")
    done = run("quantize", *options, "--method", "mse", "--target", "x86-64-v3")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stored"]["block1.dw"] == "float32"
    done = run("quantize", *options, "--keep-as", "bfloat16", "--target", "rpi4")
    assert done.returncode == 2
    assert "'rpi4' has no instruction that we multiply bfloat16 by" in done.stderr


def test_layers_in_float(photographs: Path) -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    network, report = tm.quantize(model, photographs, keep=["block1.dw"])
    assert report.kept == {"block1.dw": "asked for", "softmax": "never in integers"}
    assert "block1.dw" not in network.records
    _, alone = tm.quantize(model, photographs)
    steps: list[tuple[int, int, str]] = []
    _, better = tm.quantize(
        model, photographs, min_sqnr=alone.logits + 1, progress=lambda *step: steps.append(step)
    )
    assert better.logits >= alone.logits + 1
    assert "budget" in better.kept.values()
    assert all(0 <= done < total for done, total, _ in steps)
    rounds = [text for done, _, text in steps if done == 0]
    assert rounds[:4] == [
        "reading",
        "observing the float network",
        "correcting biases",
        "measuring what it cost",
    ]
    assert rounds.count("reading") == rounds.count("observing the float network") == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"images": "/nowhere"}, "no folder"),
        ({"keep": ["block1.dv"]}, "near it are block1.dw"),
        ({"min_sqnr": 1000.0}, "every layer in float32"),
        ({"method": "best"}, "mse"),
        ({"images": [np.zeros((3, 32, 32), np.float32)] * 3}, "too few"),
        (
            {"images": [np.zeros((3, 32, 32), np.float32)] * 4, "pixels": True},
            "an image is float32",
        ),
        ({"keep": ["conv1"], "pixels": True}, "'conv1' takes pixels"),
        ({"preprocess": RECIPES["none"] | {"mean": [300.0] * 3}, "pixels": True}, "from 0 to 255"),
        ({"images": [np.full((3, 32, 32), np.nan, np.float32)] * 4}, "nan"),
        ({"images": [np.ones((3, 32, 32), np.float32)] * 4}, "one colour"),
        ({"samples": 3}, "3 samples are too few"),
        ({"min_agreement": 88.0}, "0 to 1"),
        ({"min_sqnr": float("nan")}, "not a number"),
    ],
)
def test_what_cannot_be_quantised(photographs: Path, options: dict[str, object], says: str) -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    given: dict[str, object] = {"images": photographs} | options
    with pytest.raises(QuantizationError, match=says):
        tm.quantize(model, **given)


@pytest.mark.parametrize("odd", [np.zeros((32, 32, 3)), "photo.png"])
def test_arrays_that_are_no_images(odd: object) -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    with pytest.raises(InputError, match="an image"):
        tm.quantize(model, [odd] * 4)


def test_which_images_are_taken_follows_from_the_seed(photographs: Path) -> None:
    """Five images, of which a seed takes four."""
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    weights = tm.quantize(model, photographs, samples=4)[0].weights
    again = tm.quantize(model, photographs, samples=4)[0].weights
    for name, array in weights.items():
        np.testing.assert_array_equal(array, again[name])
    assert sampled(range(100), 10, 1) != sampled(range(100), 10, 2)
    assert sampled(range(100), 10, 1) == sorted(sampled(range(100), 10, 1))


@pytest.mark.parametrize("name", ["q.h", "nowhere/q.onnx", "."])
def test_what_cannot_be_written_is_refused_at_once(run: Run, tmp_path: Path, name: str) -> None:
    """Before images are read: there are none."""
    done = run("quantize", "v1", *SMALL, "--images", tmp_path / "none", "-o", tmp_path / name)
    assert done.returncode == 2
    assert "images" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_images_of_one_colour(tmp_path: Path) -> None:
    for at in range(4):
        Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / f"{at}.png")
    with pytest.raises(QuantizationError, match="one colour"):
        tm.quantize(tm.mobilenet_v1(alpha=0.25, resolution=32), tmp_path)


def test_what_compile_refuses(run: Run, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing is to be calibrated"):
        tm.compile("v1", calibration=photographs)
    with pytest.raises(QuantizationError, match="no images"):
        tm.compile("v1", dtype="int8")
    with pytest.raises(InputError, match="pixels are asked for"):
        tm.compile("v1", dtype="int8", pixels=True)
    done = run("compile", "v1", "--dtype", "int8", "-o", tmp_path / "q.so")
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])

"""``tvm-mobilenet evaluate`` on a few images: what it answers, refuses, and continues."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tvm_mobilenet as tm
from tvm_mobilenet.errors import (
    ImageError,
    InputError,
    LabelsError,
    OnnxFileError,
    StateError,
    TvmMobilenetError,
)
from tvm_mobilenet.runtime import load_image

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of noise."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("evaluate") / "flat"
    folder.mkdir()
    random = np.random.default_rng(3)
    for at in range(6):
        pixels = random.integers(0, 256, (100, 120, 3), np.uint8) // (at + 1)
        Image.fromarray(pixels).save(folder / f"{at}.png")
    return folder


@pytest.fixture(scope="module")
def answers(artifact: Path, flat: Path) -> dict[str, list[int]]:
    """Classes of each image, likeliest first, without the code under test."""
    module = tm.load(artifact)
    recipe = module.manifest["preprocess"]
    return {
        path.name: np.argsort(-module(load_image(path, recipe))[0], kind="stable").tolist()
        for path in sorted(flat.iterdir())
    }


@pytest.fixture(scope="module")
def sorted_folder(tmp_path_factory: pytest.TempPathFactory, flat: Path, answers: dict) -> Path:
    """Two images in the folder of their first guess, two of their third, two of their last."""
    folder = tmp_path_factory.mktemp("evaluate") / "sorted"
    for at, (name, order) in enumerate(answers.items()):
        place = folder / str(order[(0, 0, 2, 2, 9, 9)[at]])
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(flat / name, place)
    return folder


def classifier(path: Path, classes: int) -> Path:
    """An ONNX file that weighs the means of the channels."""
    weights = np.arange(3 * classes, dtype=np.float32).reshape(3, classes) % 7
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 96, 96])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def test_accuracy_by_folders(run: Run, artifact: Path, sorted_folder: Path) -> None:
    done = run("evaluate", artifact, sorted_folder, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["images"] == 6
    assert found["artifact"]["top1"] == pytest.approx(2 / 6)
    assert found["artifact"]["top5"] == pytest.approx(4 / 6)
    assert found["artifact"]["images_per_second"] > 0
    assert "class numbers" in found["labels"]
    assert found["reference"] is None
    assert sum(one["wrong"] for one in found["confusions"]) == 4


def test_the_table_fits(run: Run, artifact: Path, sorted_folder: Path) -> None:
    done = run("evaluate", artifact, sorted_folder, "--against", artifact, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "33.33%" in done.stdout
    assert "exact" in done.stdout


def test_a_page_and_its_state(run: Run, artifact: Path, flat: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    first = run("evaluate", artifact, flat, "--html", page, "--json")
    assert first.returncode == 0, first.stderr
    assert "small.so" in page.read_text()
    again = run("evaluate", artifact, flat, "--html", page, "--json")
    assert json.loads(again.stdout)["resumed"] == 6


def test_labels_from_a_file(
    artifact: Path, flat: Path, answers: dict[str, list[int]], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    rows = [f"{name},class {order[0]}" for name, order in list(answers.items())[:4]]
    labels.write_text("\n".join(["path,class", *rows]))
    report = tm.evaluate(artifact, flat, labels=labels)
    assert (report.images, report.artifact.top1) == (4, 1.0)
    assert "class names" in report.labels


def test_against_onnx(artifact: Path, flat: Path, answers: dict, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = classifier(tmp_path / "other.onnx", 10)
    module, session = tm.load(artifact), onnxruntime.InferenceSession(path)
    signal = noise = same = 0.0
    for name in answers:
        x = load_image(flat / name, module.manifest["preprocess"])
        got, ref = module(x).astype(float), session.run(None, {"x": x})[0].astype(float)
        signal, noise = signal + (ref**2).sum(), noise + ((ref - got) ** 2).sum()
        same += got.argmax() == ref.argmax()
    report = tm.evaluate(artifact, flat, against=path)
    assert report.agreement == pytest.approx(same / 6)
    if report.sqnr_db is None:  # the artifact ends in softmax, the file does not
        (row,) = module(x)
        assert row.sum() == pytest.approx(1, abs=1e-3)
    else:
        assert report.sqnr_db == pytest.approx(10 * np.log10(signal / noise))


def test_full_batches_and_the_rest(
    artifact: Path, flat: Path, tmp_path: Path, answers: dict[str, list[int]]
) -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=96, classes=10, batch=4)
    four = tm.compile(model, seed=7, verify=False).export(tmp_path / "four.so")
    state = tmp_path / "seen.jsonl"
    report = tm.evaluate(four, flat, against=artifact, state=state)
    assert (report.images, report.agreement) == (6, 1.0)
    assert report.sqnr_db is not None
    assert report.sqnr_db > 80
    lines = [json.loads(line) for line in state.read_text().splitlines()[1:]]
    got = {line["image"]: [at for at, _ in line["got"]] for line in lines}
    assert got == {name: order[:5] for name, order in answers.items()}


def test_continues_after_a_cut(artifact: Path, flat: Path, tmp_path: Path) -> None:
    state = tmp_path / "seen.jsonl"
    whole = tm.evaluate(artifact, flat, state=state, against=artifact)
    lines = state.read_bytes().splitlines(keepends=True)
    assert len(lines) == 7
    state.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    told: list[int] = []
    again = tm.evaluate(
        artifact, flat, state=state, against=artifact, progress=lambda done, *_: told.append(done)
    )
    assert (again.resumed, again.images, told) == (3, 6, [4, 5, 6])
    assert again.agreement == whole.agreement == 1.0
    assert len(state.read_bytes().splitlines()) == 7


def test_a_state_of_something_else(artifact: Path, flat: Path, tmp_path: Path) -> None:
    state = tmp_path / "seen.jsonl"
    tm.evaluate(artifact, flat, state=state)
    before = state.read_bytes()
    with pytest.raises(StateError, match="against"):
        tm.evaluate(artifact, flat, state=state, against=artifact)
    assert state.read_bytes() == before
    for other in (b"my notes\n", b"my notes, without an end of line", b"[]\n", b'{"a": 1}\n'):
        state.write_bytes(other)
        with pytest.raises(StateError, match="no state"):
            tm.evaluate(artifact, flat, state=state)
        assert state.read_bytes() == other


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ("0.png,10", "no class 10"),
        ("0.png,teapot", "'teapot'"),
        ("0.png,1\n1.png,class 2", "several ways"),
        ("0.png,n01440764", "WordNet"),
        ("0.png", "columns"),
        ("0.png,1\n0.png,2", "twice"),
        ("none.png,1", "no file"),
        ("", "no labels"),
    ],
)
def test_wrong_labels(artifact: Path, flat: Path, tmp_path: Path, labels: str, error: str) -> None:
    path, state = tmp_path / "labels.csv", tmp_path / "state"
    path.write_text(labels)
    with pytest.raises(LabelsError, match=error):
        tm.evaluate(artifact, flat, labels=path, state=state)
    assert not state.exists()


def test_wrong_folders(artifact: Path, flat: Path, photograph: Path, tmp_path: Path) -> None:
    def refused(folder: Path, error: type[TvmMobilenetError], text: str) -> None:
        with pytest.raises(error, match=text):
            tm.evaluate(artifact, folder)

    refused(photograph, ImageError, "is a file")
    refused(tmp_path / "none", ImageError, "does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", ImageError, "no image")
    mixed = tmp_path / "mixed"
    shutil.copytree(flat, mixed / "3")
    shutil.copy(photograph, mixed)
    refused(mixed, LabelsError, "no class's folder")


def test_wrong_references(artifact: Path, flat: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match="11 classes"):
        tm.evaluate(artifact, flat, against=classifier(tmp_path / "other.onnx", 11))
    (tmp_path / "bad.onnx").write_text("no model")
    with pytest.raises(OnnxFileError, match=r"bad\.onnx"):
        tm.evaluate(artifact, flat, against=tmp_path / "bad.onnx")


def test_images_that_do_not_decode(
    run: Run, artifact: Path, photograph: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    page = tmp_path / "page.html"
    done = run("evaluate", artifact, tmp_path, "--html", page)
    assert done.returncode == 2
    assert "cut.jpg" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cut.jpg"]
    shutil.copy(photograph, tmp_path)
    done = run("evaluate", artifact, tmp_path)
    assert done.returncode == 1
    assert "skipped" in done.stderr
    assert "1 images" in done.stdout


def test_needs_no_tvm(artifact: Path, flat: Path) -> None:
    code = (
        "import sys, pathlib; from tvm_mobilenet.evaluation.evaluate import evaluate;"
        "evaluate(*map(pathlib.Path, sys.argv[1:]));"
        "assert not {'tvm', 'tvm_ffi'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, artifact, flat], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

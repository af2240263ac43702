"""``tvm-mobilenet run`` as a person uses it: files, folders, pipes, and images that are none."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.errors import InputError
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.runtime import load_image, preprocess_for
from tvm_mobilenet.runtime.classifier import check_images

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def piped(content: bytes, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "tvm_mobilenet", *map(str, arguments)],
        input=content,
        capture_output=True,
        check=False,
        timeout=600,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photograph: Path) -> Path:
    """A folder with two photographs, one of them deeper, and two files that are none."""
    from PIL import Image

    root = tmp_path_factory.mktemp("run") / "photos"
    (root / "deep").mkdir(parents=True)
    image = Image.open(photograph)
    image.save(root / "a.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "deep/b.bmp")
    (root / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    (root / "notes.txt").write_text("not meant")
    return root


def test_one_image(run: Run, artifact: Path, photograph: Path) -> None:
    shown = run("run", artifact, photograph, "--top", 3)
    assert shown.returncode == 0, shown.stderr
    assert re.search(rf"{re.escape(str(photograph))}  \(\d+\.\d\d ms\)", shown.stdout)
    assert len(re.findall(r"class \d+ +\d+\.\d\d %", shown.stdout)) == 3
    assert "random" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert shown.stderr == ""


def test_a_folder_with_an_image_that_is_none(run: Run, artifact: Path, folder: Path) -> None:
    shown = run("run", artifact, folder, "--top", 2)
    assert shown.returncode == 1
    assert shown.stderr.startswith(f"skipped: {folder}/cut.jpg cannot be read as an image")
    assert "notes.txt" not in shown.stdout + shown.stderr
    assert re.search(r"a\.png +\d+\.\d\d +class \d+ +\d+\.\d\d %", shown.stdout)
    assert len(re.findall(r"class \d+ +\d+\.\d\d %", shown.stdout)) == 4
    assert re.search(
        r"2 images: \d+\.\d\d ms each in the network, \d+ a second; with", shown.stdout
    )


def test_json_lists_what_was_read_and_what_was_not(
    run: Run, artifact: Path, folder: Path, photograph: Path
) -> None:
    shown = run("run", artifact, photograph, folder, folder / "absent.png", "--json")
    assert shown.returncode == 1
    data = json.loads(shown.stdout)
    named = [entry["image"] for entry in data["images"]]
    assert named == [str(photograph), f"{folder}/a.png", f"{folder}/deep/b.bmp"]
    assert [entry["image"] for entry in data["skipped"]] == [
        f"{folder}/cut.jpg",
        f"{folder}/absent.png",
    ]
    assert "No such file" in data["skipped"][1]["error"]
    first, same, flipped = (entry["top"] for entry in data["images"])
    assert first == same
    assert first != flipped
    for top in (first, flipped):
        probabilities = [entry["probability"] for entry in top]
        assert len(probabilities) == 5
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0 < sum(probabilities) <= 1 + 1e-6
        assert all(entry["class"] == f"class {entry['index']}" for entry in top)
    assert data["ms_per_image"] > 0
    assert 0 < data["images_per_second"] < 1e3 / data["ms_per_image"]


def test_standard_input(artifact: Path, folder: Path) -> None:
    listed = piped(f"{folder}/a.png\n{folder}/deep\n".encode(), "run", artifact, "-", "--json")
    assert listed.returncode == 0, listed.stderr
    images = json.loads(listed.stdout)["images"]
    assert [entry["image"] for entry in images] == [f"{folder}/a.png", f"{folder}/deep/b.bmp"]
    image = piped((folder / "a.png").read_bytes(), "run", artifact, "-", "--json")
    assert image.returncode == 0, image.stderr
    (only,) = json.loads(image.stdout)["images"]
    assert (only["image"], only["top"]) == ("-", images[0]["top"])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["cut.jpg"], "error: {}/cut.jpg cannot be read as an image"),
        (["cut.jpg", "absent.png"], "error: none of 2 images could be read"),
        (["a.png", "--batch", "2"], "error: the artifact takes 1 images a call, not 2"),
    ],
)
def test_nothing_classified(
    run: Run, artifact: Path, folder: Path, images: list[str], message: str
) -> None:
    given = [folder / name if name.endswith(("g", "t")) else name for name in images]
    failed = run("run", artifact, *given)
    assert failed.returncode == 2
    assert message.format(folder) in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout == ""


def test_a_batch_is_filled_with_what_can_be_read(run: Run, folder: Path, tmp_path: Path) -> None:
    """Five images, one of them none, in calls of three."""
    compiled = tm.compile(mobilenet_v1(0.25, 32, classes=10, batch=3), verify=False)
    artifact = compiled.export(tmp_path / "three.so")
    a, b = folder / "a.png", folder / "deep/b.bmp"
    shown = run("run", artifact, a, b, folder / "cut.jpg", b, a, "--json", "--top", 10)
    assert shown.returncode == 1, shown.stderr
    recipe = compiled.manifest["preprocess"]
    x = np.concatenate([load_image(path, recipe) for path in (a, b, b)])
    expected = compiled.module(x)
    images = json.loads(shown.stdout)["images"]
    assert len(images) == 4
    for entry, scores in zip(images, expected[[0, 1, 1, 0]], strict=True):
        found = {one["index"]: one["probability"] for one in entry["top"]}
        np.testing.assert_allclose([found[i] for i in range(10)], scores, rtol=1e-6)
    fewer = run("run", artifact, a, b, "--batch", 1, "--json", "--top", 10)
    assert [entry["top"] for entry in json.loads(fewer.stdout)["images"]] == [
        entry["top"] for entry in images[:2]
    ]


def test_arrays_go_in_and_outputs_come_out(run: Run, artifact: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((3, 3, 96, 96), np.float32)
    np.save(tmp_path / "x.npy", x[:2])
    np.savez(tmp_path / "x.npz", x=x[2:])
    module = tm.load(artifact, threads=1)
    expected = np.concatenate([module(x[at : at + 1]) for at in range(3)])
    options = ("--threads", 1, "--top", 1, "--csv")
    shown = run("run", artifact, tmp_path / "x.npy", tmp_path / "x.npz", *options,
                "--save", tmp_path / "y.npy")  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == f"written: {tmp_path}/y.npy\n"
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
    rows = list(csv.DictReader(io.StringIO(shown.stdout)))
    named = [f"{tmp_path}/x.npy[0]", f"{tmp_path}/x.npy[1]", f"{tmp_path}/x.npz[0]"]
    assert [row["image"] for row in rows] == named
    assert [int(row["index"]) for row in rows] == expected.argmax(axis=1).tolist()
    compared = run("verify", artifact, "--input", tmp_path / "x.npz", "--save", tmp_path / "v.npz")
    assert compared.returncode == 0, compared.stderr
    with np.load(tmp_path / "v.npz") as saved:
        np.testing.assert_allclose(saved["softmax"], expected[2:], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "{0}/wide.npy"), "wide.npy: input 'x' is float32 of shape (1, 3, 96, 97)"),
        (("run", "{0}/one.npy", "{0}/photo.png"), "one.npy is an array, and not all of the others"),
        (("run", "{0}/one.npy", "--save", "{0}/y.txt"), "end it in .npy or .npz"),
        (("run", "{0}/one.npy", "--csv", "--json"), "--json and --csv ask for two answers"),
        (("verify", "--input", "{0}/two.npy"), "two.npy holds more than the 1 a call"),
        (("bench", "--batch", "4"), "takes 1 image a call, not 4"),
    ],
)
def test_arrays_that_do_not_fit(
    run: Run, artifact: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    np.save(tmp_path / "one.npy", np.zeros((1, 3, 96, 96), np.float32))
    np.save(tmp_path / "two.npy", np.zeros((2, 3, 96, 96), np.float32))
    np.save(tmp_path / "wide.npy", np.zeros((1, 3, 96, 97), np.float32))
    command, *rest = (argument.format(tmp_path) for argument in arguments)
    failed = run(command, artifact, *rest)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list(tmp_path.glob("y.*"))


def test_several_outputs_of_a_network_that_does_not_classify(run: Run, tmp_path: Path) -> None:
    net = Net((2, 3, 8, 8))
    first = net.conv("image", 4, 3)
    second = net.conv(net.act(first, "relu"), 6)
    imported = tm.import_onnx(net.save(tmp_path / "net.onnx", second, first))
    compiled = tm.compile(imported, verify=False)
    artifact = compiled.export(tmp_path / "net.so")
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 8), np.float32)
    np.save(tmp_path / "x.npy", x)
    shown = run("run", artifact, tmp_path / "x.npy", "--save", tmp_path / "y.npz", "--json")
    assert shown.returncode == 0, shown.stderr
    (whole, part) = compiled.module(x[:2]), compiled.module(np.concatenate([x[2:], x[2:]]))
    with np.load(tmp_path / "y.npz") as found:
        names = [output["name"] for output in compiled.manifest["outputs"]]
        assert list(found) == names
        for name, one, other in zip(names, whole, part, strict=True):
            np.testing.assert_array_equal(found[name], np.concatenate([one, other[:1]]))
    told = json.loads(shown.stdout)["outputs"]
    assert [row["shape"] for row in told] == [[3, 6, 8, 8], [3, 4, 8, 8]]
    assert run("run", artifact, tmp_path / "x.npy", "--save", tmp_path / "y.npy").returncode == 2


@pytest.mark.parametrize(
    ("image", "scores"),
    [((1, 1, 28, 28), (1, 10)), ((1, 3, 32, 64), (1, 10)), ((1, 3, 32, 32), (1, 8, 4, 4))],
)
def test_a_network_that_classifies_no_images(
    image: tuple[int, ...], scores: tuple[int, ...]
) -> None:
    module = types.SimpleNamespace(
        inputs=[{"shape": list(image)}],
        outputs=[{"shape": list(scores)}],
        manifest={"title": "mine.onnx", "preprocess": preprocess_for(32)},
    )
    with pytest.raises(InputError, match=r"mine\.onnx does not classify images: from 1x"):
        check_images(module)  # type: ignore[arg-type]

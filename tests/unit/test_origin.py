"""An artifact steers nothing: what its manifest names is never fetched, and never waited for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvm_mobilenet.errors import OnnxFileError, TargetError, WeightsError
from tvm_mobilenet.machine import TargetSpec, host
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.models.checkpoints import hub, pretrained
from tvm_mobilenet.models.network import network_of
from tvm_mobilenet.models.weights import digest, from_source, initialize, save

MODEL = mobilenet_v1(alpha=0.125, resolution=32, classes=10)


def manifest(source: str, **weights: str) -> dict[str, Any]:
    told = {"source": source, "sha256": digest(initialize(MODEL, 3)), **weights}
    return {"model": MODEL.describe(), "title": MODEL.title, "weights": told}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> Any:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(hub, "fetch", refuse)
    monkeypatch.setattr(pretrained, "download_wheel", refuse)
    monkeypatch.setenv(pretrained.CACHE, str(tmp_path / "cache"))


def test_a_seed_and_a_file_of_this_machine_are_found_again(tmp_path: Path) -> None:
    weights = initialize(MODEL, 3)
    save(weights, tmp_path / "w.npz")
    for source in ("seed:3", str(tmp_path / "w.npz")):
        found = network_of(manifest(source))
        assert all(np.array_equal(found.weights[name], weights[name]) for name in weights)


@pytest.mark.parametrize("source", ["hf-hub:evil/x", "hf-hub:evil/x; rm -rf ~", "pretrained"])
def test_nothing_is_fetched_because_a_file_says_so(source: str) -> None:
    with pytest.raises(WeightsError, match="not fetched because a file says so") as caught:
        network_of(manifest(source))
    quoted = source if source.isidentifier() or " " not in source else f"'{source}'"
    assert f"--weights {quoted}, or weights={source!r}" in str(caught.value)


def test_what_was_asked_for_is_fetched() -> None:
    with pytest.raises(AssertionError, match="something was fetched"):
        network_of(manifest("seed:3"), "hf-hub:mine/x")


def test_cached_weights_of_this_package_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    file = tmp_path / "cache" / "mobilenet_v2-b0353104.pth"
    file.write_bytes(b"other than the published file")
    assert not pretrained.is_cached()
    digested = hashlib.sha256(file.read_bytes()).hexdigest()
    ((name, known),) = pretrained.PUBLISHED.items()
    import dataclasses

    monkeypatch.setitem(pretrained.PUBLISHED, name, dataclasses.replace(known, sha256=digested))
    assert pretrained.is_cached()


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
        lambda path: None,
    ],
    ids=["pipe", "folder", "device", "loop", "missing"],
)
def test_only_regular_files_are_opened(make: Callable[[Path], object], tmp_path: Path) -> None:
    for name in ("w.npz", "w.pth", "m.onnx"):
        make(tmp_path / name)
    for name in ("w.npz", "w.pth"):
        with pytest.raises(WeightsError, match=r"no file of this machine\n.*--weights"):
            network_of(manifest(str(tmp_path / name)))
    options = {"path": str(tmp_path / "m.onnx"), "sha256": "0" * 64}
    with pytest.raises(OnnxFileError, match=r"not there\n.*--model"):
        network_of({"model": {"name": "onnx", "options": options}})


@pytest.mark.parametrize(
    "source", ["w.npz", "../w.npz", "./w.npz", "arrays", "", "a\0b", "seed:-1"]
)
def test_what_is_no_absolute_path_is_not_looked_for(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for folder in (tmp_path, tmp_path / "here"):
        save(initialize(MODEL, 3), folder / "w.npz")
    with pytest.raises(WeightsError, match="no file of this machine"):
        network_of(manifest(source))


def test_other_weights_at_that_path_are_refused(tmp_path: Path) -> None:
    save(initialize(MODEL, 4), tmp_path / "w.npz")
    with pytest.raises(WeightsError, match="not those of the artifact"):
        network_of(manifest(str(tmp_path / "w.npz")))


@pytest.mark.parametrize("seed", ["seed:", "seed:x", "seed:1e3", "seed:²", "seed:" + "9" * 5000])
def test_seeds_that_are_none_are_named(seed: str) -> None:
    with pytest.raises(WeightsError, match="is no seed") as caught:
        from_source(seed, MODEL)
    assert len(str(caught.value)) < 300


def test_an_onnx_file_is_hashed_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"anything")
    monkeypatch.setattr("tvm_mobilenet.models.network.import_onnx", None)
    options = {"path": str(path), "sha256": "0" * 64, "batch": None, "resolution": None}
    with pytest.raises(OnnxFileError, match="not the file that this artifact was compiled from"):
        network_of({"model": {"name": "onnx", "options": options}})


@pytest.mark.parametrize("size", ["4", 0, -1, True, 2**40, [1], 1.5])
def test_sizes_of_an_onnx_file_are_checked(size: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"anything")
    known = hashlib.sha256(b"anything").hexdigest()
    options = {"path": str(path), "sha256": known, "batch": size, "resolution": None}
    for given in (None, path):
        with pytest.raises(OnnxFileError, match="says that batch of its ONNX file"):
            network_of({"model": {"name": "onnx", "options": options}}, given=given)


@pytest.mark.parametrize(
    "change",
    [
        {"triple": "armv7/../../tmp/x-linux-gnueabihf"},
        {"triple": "x86_64-linux-gnu --help"},
        {"cpu": "znver4 -load=/tmp/x.so"},
        {"features": ["+avx2", "--plugin=/tmp/x.so"]},
        {"cores": 0},
        {"lanes": 0},
        {"isa": ["avx2"]},
        {"needs": None},
        {"gpu": {"kind": ["cuda"]}, "dtype": ["float32"]},
    ],
)
def test_a_target_that_compilers_should_not_see_is_refused(change: dict[str, Any]) -> None:
    """`bench` and `profile` compile the kernel that measures the peak for what a manifest says."""
    with pytest.raises(TargetError):
        TargetSpec.from_dict({**host().to_dict(), **change})

"""Files spliced and mutated with fixed seeds: each is right, or refused by a name, and soon."""

from __future__ import annotations

import contextlib
import io
import random
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import splices
import torch_save

import tvm_mobilenet as tm
from tvm_mobilenet.compilation.report import report_of
from tvm_mobilenet.errors import TvmMobilenetError, WeightsError
from tvm_mobilenet.models.checkpoints.torch_files import read_state_dict
from tvm_mobilenet.models.weights import Weights, initialize, load
from tvm_mobilenet.runtime.artifact import read_manifest

MODEL = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
X = np.random.default_rng(0).standard_normal(MODEL.input_shape, np.float32)
SOON_S = 10.0
"""Of one file, on a machine that has other things to do."""


def has_opencl() -> bool:
    from tvm_mobilenet.errors import NoGpuError
    from tvm_mobilenet.runtime.opencl_device import devices

    try:
        return bool(devices())
    except NoGpuError:
        return False


@pytest.mark.parametrize("target", ["native", "opencl"])
def test_spliced_manifests(target: str, tmp_path: Path) -> None:
    """200 of each: what passes computes what the file did before, whatever else it says."""
    if target == "opencl" and not has_opencl():
        pytest.skip("this machine has no OpenCL device")
    path = tmp_path / "whole.so"
    tm.compile(MODEL, target=target, verify=False, records=False).export(path)
    content, manifest = path.read_bytes(), read_manifest(path)
    expected = tm.load(path)(X)
    rng, ends = random.Random(0), Counter[str]()
    for number in range(200):
        other = tmp_path / f"{number}.so"  # a name of its own: loaders may know the last one
        if not splices.write(other, content, splices.spliced(manifest, rng)):
            ends["too large"] += 1
            continue
        start = time.monotonic()
        ends[_end_of(other, expected)] += 1
        other.unlink()
        assert time.monotonic() - start < SOON_S, number
    assert ends["wrong"] == 0, ends
    # Neither is everything let through, nor is everything refused.
    assert ends["right"] >= 5, ends
    assert ends["ManifestError"] >= 100, ends


def _end_of(path: Path, expected: Any) -> str:
    """Use an artifact in every way that reads its manifest; any other error than ours escapes."""
    try:
        module = tm.load(path)
        y = module(X)
        report_of(module.manifest)
    except TvmMobilenetError as error:
        return type(error).__name__
    with contextlib.suppress(TvmMobilenetError):  # it may say that it is of other layers
        tm.verify(module)
    same = isinstance(y, np.ndarray) and y.shape == expected.shape
    return "right" if same and np.allclose(y, expected, atol=1e-5) else "wrong"


def _mutated(data: bytes, rng: random.Random) -> bytes:
    """Flip, overwrite, cut out, double or swap a few bytes; more often near the ends."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not changed:
            break
        at = rng.choice((rng.randrange(len(changed)), max(0, len(changed) - rng.randrange(1, 900))))
        size = rng.randint(1, 24)
        match rng.randrange(5):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + size] = rng.choice((b"\0", b"\xff", b"\x7f")) * size
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = changed[at : at + size]
            case _:
                other = rng.randrange(len(changed))
                changed[at : at + size] = changed[other : other + size]
    return bytes(changed)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return initialize(MODEL)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_mutated_npz(save: Callable[..., None], weights: Weights, tmp_path: Path) -> None:
    """250 of each: what is read is what was saved, bit for bit, since a checksum says so."""
    stream = io.BytesIO()
    save(stream, **weights)
    data, rng, read = stream.getvalue(), random.Random(1), 0
    path = tmp_path / "w.npz"
    for number in range(250):
        path.write_bytes(_mutated(data, rng))
        start = time.monotonic()
        try:
            found = load(path, MODEL)
        except WeightsError:
            found = {}
        if found:
            read += 1
            assert list(found) == list(weights)
            assert all(np.array_equal(found[name], weights[name]) for name in weights), number
        assert time.monotonic() - start < SOON_S, number
    # Fields that nobody reads, such as the times of files, can change.
    assert read < 60


def _repacked(data: bytes, rng: random.Random) -> bytes:
    """Mutate what the files of an archive hold; their checksums are right again."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, _mutated(content, rng) if name == chosen and content else content)
    return stream.getvalue()


def test_mutated_pth() -> None:
    """300 of both formats, some with mended checksums: whole arrays of the names that are told."""
    arrays = {f"layer{i}.weight": np.full((4, 3, 2, 2), i, np.float32) for i in range(12)}
    whole = torch_save.state_dict(arrays)
    rng, refused = random.Random(2), 0
    zipped, legacy = torch_save.zipped(whole), torch_save.legacy(whole)
    for number in range(300):
        data = (_mutated(zipped, rng), _repacked(zipped, rng), _mutated(legacy, rng))[number % 3]
        start = time.monotonic()
        try:
            found = read_state_dict(data, "w.pth")
        except WeightsError:
            refused += 1
        else:
            assert all(isinstance(array, np.ndarray) for array in found.values())
        assert time.monotonic() - start < SOON_S, number
    assert 200 < refused < 300

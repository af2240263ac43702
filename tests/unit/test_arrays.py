"""NumPy's files in and out: what fits is read example by example, the rest is named."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_mobilenet.errors import InputError, OutputError
from tvm_mobilenet.runtime.arrays import check_savable, examples, save_outputs
from tvm_mobilenet.runtime.inputs import Expected

EXPECTED = Expected({"name": "x", "shape": [2, 3, 4, 4], "dtype": "float32", "layout": "NCHW"})
X = np.random.default_rng(0).standard_normal((5, 3, 4, 4), np.float32)


def npy(folder: Path, array: Any, **options: Any) -> Path:
    np.save(folder / "x.npy", array, **options)
    return folder / "x.npy"


def read(path: Path) -> np.ndarray:
    return np.stack([*examples(path, EXPECTED)])


def test_any_number_of_examples(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(npy(tmp_path, X)), X)
    np.testing.assert_array_equal(read(npy(tmp_path, X[3])), X[3:4])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_with_one_array_or_one_of_the_name(save: Any, tmp_path: Path) -> None:
    save(tmp_path / "one.npz", anything=X)
    np.testing.assert_array_equal(read(tmp_path / "one.npz"), X)
    save(tmp_path / "two.npz", x=X, labels=np.arange(5))
    np.testing.assert_array_equal(read(tmp_path / "two.npz"), X)
    save(tmp_path / "none.npz", a=X, b=X)
    with pytest.raises(InputError, match=r"of its arrays \(a, b\) which is the input"):
        read(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (X.astype(np.float64), "float64 of shape"),
        (X.astype(">f4"), "f4 of shape"),
        ((X * 9).astype(np.uint8), "uint8 of shape"),
        (X.transpose(0, 2, 3, 1).copy(), "shape"),
        (X[:, :2], "shape"),
        (X[:0], "at least one example"),
        (np.float32(1), "shape"),
        (np.asfortranarray(X), "Fortran"),
        (np.array([{"a": 1}], object), "object"),
    ],
)
def test_what_does_not_fit_is_named(array: Any, words: str, tmp_path: Path) -> None:
    path = npy(tmp_path, array, allow_pickle=True)
    with pytest.raises(InputError, match=words) as caught:
        read(path)
    assert caught.value.what.startswith(str(path))
    assert caught.value.remedy


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "absent.npy")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "folder.npy")
    for name in ("text.npy", "text.npz"):
        (tmp_path / name).write_text("no array")
        with pytest.raises(InputError, match="is no array"):
            read(tmp_path / name)
    whole = npy(tmp_path, X).read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-3])
    with pytest.raises(InputError, match="middle of an example"):
        read(tmp_path / "cut.npy")


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"shape": shape, "fortran_order": False, "descr": "<f4"}
    )
    return file.getvalue()


def test_a_file_that_claims_more_than_there_is_costs_an_example_of_memory(tmp_path: Path) -> None:
    """4 TB by its header: the first examples come, then the truth."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header((2**33, 3, 4, 4)) + bytes(4 * 48 * 3))
    found = examples(path, EXPECTED)
    assert [next(found).shape for _ in range(3)] == [(3, 4, 4)] * 3
    with pytest.raises(InputError, match="middle of an example"):
        next(found)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_changed_bytes_are_read_or_named(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    suffix = data.draw(st.sampled_from([".npy", ".npz"]))
    file = io.BytesIO()
    (np.save if suffix == ".npy" else np.savez_compressed)(file, X)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(content), 400) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = folder / f"changed{suffix}"
    path.write_bytes(content)
    # Whatever else is raised, fails.
    with contextlib.suppress(InputError):
        assert read(path).shape[1:] == (3, 4, 4)


# What is written.


def test_outputs_come_back_by_name(tmp_path: Path) -> None:
    outputs = {"file": X, "a/b:0": np.arange(3), "self": np.float32(2)}
    save_outputs(tmp_path / "out.npz", outputs)
    with np.load(tmp_path / "out.npz") as found:
        assert set(found) == set(outputs)
        for name, array in outputs.items():
            np.testing.assert_array_equal(found[name], array)
    save_outputs(tmp_path / "out.npy", {"y": X})
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), X)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npy", "out.npz"]


@pytest.mark.parametrize(
    ("name", "outputs", "words"),
    [
        ("out.txt", ["y"], r"end it in \.npy or \.npz"),
        ("out.npy", ["y", "z"], "2 outputs: y, z"),
        ("none/out.npy", ["y"], "cannot write"),
    ],
)
def test_what_cannot_be_written_is_refused_before(
    name: str, outputs: list[str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match=words):
        check_savable(tmp_path / name, outputs)

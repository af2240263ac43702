"""Files that would unpack to more than a model can take, or work for ever: refused at once."""

from __future__ import annotations

import io
import os
import struct
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch_save

from tvm_mobilenet.errors import WeightsError
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.models.checkpoints.reading import read_arrays
from tvm_mobilenet.models.checkpoints.torch_files import read_state_dict
from tvm_mobilenet.models.weights import initialize, load

MODEL = mobilenet_v1(alpha=0.125, resolution=32, classes=10)


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < 5


def archive(path: Path, *members: tuple[str, bytes], packed: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packed) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def npy(shape: str, dtype: str = "<f4", content: bytes = b"", fortran: bool = False) -> bytes:
    head = f"{{'descr': {dtype!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    head = head.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A quarter of a gigabyte of zeros in a megabyte, under a name that fits."""
    zeros = io.BytesIO()
    with (
        zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("conv1.weight.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy("(62500000,)"))
        for _ in range(60):
            member.write(bytes(1 << 22))
    path = tmp_path / "bomb.npz"
    path.write_bytes(zeros.getvalue())
    start = time.process_time()
    with pytest.raises(WeightsError, match=r"would unpack to 251658\d+ bytes.*at most"):
        load(path, MODEL)
    assert time.process_time() - start < 0.2  # no byte of it was unpacked


def test_a_bomb_of_many_arrays(tmp_path: Path) -> None:
    members = [(f"a{i}.npy", npy("(1000000,)", content=bytes(4_000_000))) for i in range(40)]
    with pytest.raises(WeightsError, match="would unpack to"):
        load(archive(tmp_path / "w.npz", *members), MODEL)


def test_what_fits_is_read_however_it_is_packed(tmp_path: Path) -> None:
    weights = initialize(MODEL)
    doubles = {name: array.astype(np.float64) for name, array in weights.items()}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "w.npz", **doubles)
        found = load(tmp_path / "w.npz", MODEL)
        assert all(np.array_equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    "content",
    [
        npy("(3,)", content=bytes(8)),
        npy("(2,)", content=bytes(12)),
        npy("(-1,)", content=bytes(4)),
        npy("(1 << 62, 1 << 62)"),
        npy("(4611686018427387904, 4)"),
        npy("(2.0,)", content=bytes(8)),
        npy("(1,)", "|O", bytes(8)),
        npy("(1,)", "<U2", bytes(8)),
        npy("(1,)", "<c8", bytes(8)),
        npy("[1]", content=bytes(4)),
        npy("(" * 3000),
        npy("()", "f4", bytes(3)),
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f",
        b"",
        b"\x80\x02}.",
    ],
)
def test_headers_that_lie_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"w\.npz' is no readable \.npz"):
        read_arrays(archive(tmp_path / "w.npz", ("a.npy", content)))


def test_orders_types_and_scalars_come_back(tmp_path: Path) -> None:
    arrays = {
        "f": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "n": np.array(7), "h": np.ones(3, np.float16), "e": np.zeros((0, 3)),
    }  # fmt: skip
    np.savez(tmp_path / "w.npz", **arrays)
    found = read_arrays(tmp_path / "w.npz")
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    assert found["f"].flags.writeable


def test_odd_archives_are_refused(tmp_path: Path) -> None:
    path, content = tmp_path / "w.npz", npy("(1,)", content=bytes(4))
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(path, ("a.npy", content), ("a.npy", content))
    with pytest.raises(WeightsError, match="two arrays of one name"):
        read_arrays(path)
    archive(path, ("a.npy", content), ("a", content))
    with pytest.raises(WeightsError, match="two arrays of one name"):
        read_arrays(path)
    archive(path, ("a.npy", content), packed=zipfile.ZIP_LZMA)
    with pytest.raises(WeightsError, match=r"packed as numpy\.savez does not"):
        read_arrays(path)


@pytest.mark.parametrize("ending", [".npz", ".pth", ".safetensors"])
def test_only_regular_files_are_opened(ending: str, tmp_path: Path) -> None:
    pipe, folder, device = (tmp_path / f"{kind}{ending}" for kind in ("pipe", "folder", "zero"))
    os.mkfifo(pipe)
    folder.mkdir()
    device.symlink_to("/dev/zero")
    for path, words in ((pipe, "no regular"), (device, "no regular"), (folder, "a folder")):
        with pytest.raises(WeightsError, match=words):
            read_arrays(path)
    sparse = tmp_path / f"sparse{ending}"
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(WeightsError, match="more than the weights of any MobileNet"):
        read_arrays(sparse)


def zip_of(program: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("w/data.pkl", program)
    return stream.getvalue()


NESTED = b"\x80\x02)" + b"q\x00h\x00\x86" * 60
"""A pair of one pair twice, sixty deep: its hash would take 2**60 steps."""
SAME_HASH = b"".join(
    b"\x8a\x0c" + ((2**61 - 1) * (i + 2**30)).to_bytes(12, "little") + b"N" for i in range(20_000)
)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"\x80\x02}" + NESTED[2:] + b"Ns.", "a tuple where a name belongs"),
        (b"\x80\x02}(" + NESTED[2:] + b"Nu.", "a tuple where a name belongs"),
        (
            b"\x80\x02ccollections\nOrderedDict\n]" + NESTED[2:] + b"N\x86a\x85R.",
            "a tuple where a name belongs",
        ),
        (b"\x80\x02}(" + SAME_HASH + b"u.", "a int where a name belongs"),
        (b"\x80\x02" + b")" * (1 << 20) + b".", "more steps than"),
        # A list of many pairs, given to a dictionary again and again.
        (
            b"\x80\x02ccollections\nOrderedDict\nq\x01](" + b"NN\x86" * 2000 + b"eq\x02"
            + b"h\x01h\x02\x85R" * 2000 + b".",
            "a NoneType where a name belongs",
        ),
        (
            b"\x80\x02ccollections\nOrderedDict\nq\x01](" + b"K\x01N\x86" * 5000 + b"eq\x02"
            + b"h\x01h\x02\x85R" * 50_000 + b".",
            "more steps than",
        ),
        # A dictionary that holds itself, where a checkpoint holds its state dict.
        (b"\x80\x02}q\x00X\x0a\0\0\0state_dicth\x00s.", "no tensor"),
        (b"\x80\x02]q\x00h\x00a.", "no state dict"),
        (b"\x80\x02}K\x01a.", "appends to what is no list"),
        (b"\x80\x02]K\x01K\x02s.", "no dictionary"),
        (b"\x80\x02K\x01)R.", "calls what is no function"),
        (b"\x80\x02ccollections\nOrderedDict\n" + b"(" + b"N" * 100 + b"tR.", "no arguments"),
        (b"\x80\x02]}b.", "no OrderedDict"),
        (b"\x80\x02K\x01(\x86.", "behind a mark"),
        (b"\x80\x02\x86.", "no readable"),
        (b"\x80\x02h\x07.", "no readable"),
        (b"\x80\x02ctorch\nFloatStorage\nQ.", "no storage"),
        (b"\x80\x04NN\x93.", "a name that is no text"),
    ],
)  # fmt: skip
def test_pickles_do_a_fixed_amount_of_work(program: bytes, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        read_state_dict(zip_of(program), "w.pth")


def test_the_file_of_the_report_is_small() -> None:
    """309 bytes that never ended."""
    assert len(zip_of(b"\x80\x02}" + NESTED[2:] + b"Ns.")) < 500


def test_an_ordered_dict_of_pairs_is_read_as_python_2_wrote_it() -> None:
    program, storages = torch_save.pickled({"x": torch_save.tensor(np.ones(2, np.float32), "0")})
    body = program[program.index(b"X\x01\x00\x00\x00x") : -2].removesuffix(b"s")
    pairs = b"\x80\x02ccollections\nOrderedDict\n]" + body + b"\x86a\x85R."
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("w/data.pkl", pairs)
        file.writestr("w/data/0", storages[0].raw)
    assert read_state_dict(stream.getvalue(), "w.pth")["x"].tolist() == [1, 1]


def test_names_that_become_one_are_refused() -> None:
    one = {name: torch_save.tensor(np.ones(1, np.float32), name) for name in ("a", "module.a")}
    with pytest.raises(WeightsError, match="a tensor twice"):
        read_state_dict(torch_save.zipped(one), "w.pth")


def test_messages_stay_short_whatever_the_file_says() -> None:
    name = "n" * 1_000_000
    data = torch_save.zipped({name: 3, "x": torch_save.tensor(np.ones(1, np.float32), "0")})
    with pytest.raises(WeightsError) as caught:
        read_state_dict(data, "w.pth")
    assert len(str(caught.value)) < 1000

"""State dicts of torch.save without torch: both formats, and every file made to mislead."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch_save

from tvm_mobilenet.errors import WeightsError
from tvm_mobilenet.models.checkpoints.reading import read_arrays
from tvm_mobilenet.models.checkpoints.torch_files import read_state_dict

RNG = np.random.default_rng(0)
ARRAYS = {
    "a.weight": RNG.normal(size=(4, 3, 2, 2)).astype(np.float32),
    "a.running_var": RNG.normal(size=5).astype(np.float64),
    "a.num_batches_tracked": np.array(7),
    "b": RNG.normal(size=(3, 2)).astype(np.float16).T,  # not contiguous
    "empty": np.zeros((0, 3), np.float32),
}
FORMATS: list[Callable[[Any], bytes]] = [torch_save.zipped, torch_save.legacy]
formats = pytest.mark.parametrize("written", FORMATS, ids=["zip", "legacy"])


def read(data: bytes) -> dict[str, Any]:
    return read_state_dict(data, "w.pth")


@formats
def test_arrays_come_back(written: Callable[[Any], bytes]) -> None:
    found = read(written(torch_save.state_dict(ARRAYS)))
    assert list(found) == list(ARRAYS)
    for name, array in found.items():
        assert array.dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(array, ARRAYS[name])


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_later_pickle_protocols(protocol: int) -> None:
    found = read(torch_save.zipped(torch_save.state_dict(ARRAYS), protocol=protocol))
    np.testing.assert_array_equal(found["b"], ARRAYS["b"])


@formats
def test_bfloat16_becomes_float32(written: Callable[[Any], bytes]) -> None:
    bits = np.array([0x3F80, 0xC040], np.uint16)  # 1 and -3
    found = read(written({"x": torch_save.tensor(bits, "0", kind="BFloat16Storage")}))
    np.testing.assert_array_equal(found["x"], np.array([1, -3], np.float32))


@formats
@pytest.mark.parametrize("key", ["state_dict", "model", "model_ema"])
def test_a_training_checkpoint_holds_it(written: Callable[[Any], bytes], key: str) -> None:
    inner = {f"module.{name}": value for name, value in torch_save.state_dict(ARRAYS).items()}
    optimizer = {"state": {0: {"momentum": torch_save.tensor(np.ones(2, np.float32), "m")}}}
    found = read(written({"epoch": 3, "lr": 0.1, key: inner, "optimizer": optimizer}))
    assert list(found) == list(ARRAYS)


@formats
def test_storages_may_be_shared(written: Callable[[Any], bytes]) -> None:
    storage = torch_save.tensor(np.arange(6, dtype=np.float32), "0").arguments[0]
    views = {
        "x": torch_save.Tensor(storage, (2,), (1,), 1),
        "y": torch_save.Tensor(storage, (2, 2), (2, 1), 2),
    }
    found = read(written(views))
    np.testing.assert_array_equal(found["x"], [1, 2])
    np.testing.assert_array_equal(found["y"], [[2, 3], [4, 5]])


class Runs:
    """Runs a command when a pickle of it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@formats
def test_a_malicious_pickle_is_not_run(written: Callable[[Any], bytes], tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "w.pth"
    path.write_bytes(
        written({"x": torch_save.tensor(np.ones(1, np.float32), "0"), "y": Runs(marker)})
    )
    with pytest.raises(WeightsError, match=r"names '\w+\.system', which has no place") as caught:
        read_arrays(path)
    assert "nothing was run" in str(caught.value)
    assert str(path) in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_bare_malicious_pickle_is_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(WeightsError):
        read(pickle.dumps(Runs(marker), protocol))
    assert not marker.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"(S'touch x'\nios\nsystem\n.",
        b"\x80\x02ctorch\nFloatStorage\n(X\x01\x00\x00\x00aK\x01tb.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__)s\x86b.",
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
        b"\x80\x04\x8c\x0ctorch._utils\x8c\x06__dir__\x93.",
    ],
    ids=["eval", "inst", "build", "setattr", "newobj", "dotted", "other"],
)
def test_tricks_of_pickles_are_refused(program: bytes) -> None:
    with pytest.raises(WeightsError):
        read(program)


def zip_of(program: bytes, **files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("w/data.pkl", program)
        for name, content in files.items():
            archive.writestr(f"w/data/{name}", content)
    return stream.getvalue()


NESTED = b"\x80\x02)" + b"q\x00h\x00\x86" * 60
"""A pair of one pair twice, sixty deep: in words it would take 2**60 characters."""


@pytest.mark.parametrize(
    "program",
    [
        NESTED + b"Q.",
        NESTED + b"q\x00(X\x07\0\0\0storagectorch\nFloatStorage\nh\x00X\x03\0\0\0cpuK\x01tQ.",
        NESTED
        + b"q\x00(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0aX\x03\0\0\0cpuh\x00tQ.",
    ],
    ids=["id", "key", "count"],
)
def test_what_is_nested_is_not_put_into_words(program: bytes) -> None:
    with pytest.raises(WeightsError):
        read(zip_of(program))


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # LONG_BINPUT: room for two thousand million objects
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",  # a text of 4 EiB
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"].",  # a frame of as much
        b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
        b"\x80\x02X\xff\xff\xff\xffx.",
    ],
    ids=["memo", "text", "frame", "nested", "short"],
)
def test_pickles_that_claim_much_take_little(program: bytes) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with pytest.raises(WeightsError):
        read(zip_of(program))
    assert time.perf_counter() - start < 5
    # KiB on Linux.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@formats
@pytest.mark.parametrize(
    ("shape", "strides", "count"),
    [
        ((3,), (1,), 2),
        ((2,), (1 << 60,), 2),
        ((1 << 40, 1 << 40), (0, 0), 2),
        ((-1,), (1,), 2),
        ((2,), (-1,), 2),
        ((2.0,), (1,), 2),
        ((2,), (1, 1), 2),
        ((2,), (1,), 1 << 50),
        ((2,), (1,), 3),
        ((2,), (1,), -1),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    written: Callable[[Any], bytes], shape: Any, strides: Any, count: int
) -> None:
    storage = torch_save.Storage("0", "FloatStorage", bytes(8), count)
    with pytest.raises(WeightsError, match=r"w\.pth"):
        read(written({"x": torch_save.Tensor(storage, shape, strides)}))


@formats
def test_many_views_of_one_storage_are_no_bomb(written: Callable[[Any], bytes]) -> None:
    storage = torch_save.tensor(np.zeros(100_000, np.float32), "0").arguments[0]
    views = {str(i): torch_save.Tensor(storage, (100_000,), (1,)) for i in range(500)}
    with pytest.raises(WeightsError, match="larger than the file"):
        read(written(views))


@formats
def test_a_file_cut_off_anywhere(written: Callable[[Any], bytes]) -> None:
    data = written(torch_save.state_dict(ARRAYS))
    for length in range(0, len(data) - 1, max(1, len(data) // 60)):
        with pytest.raises(WeightsError):
            read(data[:length])


@formats
def test_flipped_bits_end_in_an_error_or_in_arrays(written: Callable[[Any], bytes]) -> None:
    data = written(torch_save.state_dict(ARRAYS))
    rng = np.random.default_rng(1)
    for at in rng.integers(0, len(data), 300):
        changed = bytearray(data)
        changed[at] ^= 1 << rng.integers(0, 8)
        try:
            found = read(bytes(changed))
        except WeightsError:
            continue
        assert all(isinstance(array, np.ndarray) for array in found.values())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no readable"),
        (b"\0" * 257 + b"ustar" + b"\0" * 250, "tar format"),
        (torch_save.zipped({}, compression=zipfile.ZIP_DEFLATED), "compressed archive"),
        (zip_of(b"\x80\x02}.", **{"../constants.pkl": b""}), "no state dict"),
        (torch_save.zipped([1, 2]), "holds no state dict"),
        (torch_save.zipped({"x": torch_save.tensor(np.ones(1, np.float32), "0"), "n": 3}), "'n'"),
        (pickle.dumps({"x": 1}, 2), "none that torch.save wrote"),
        (pickle.dumps(np.ones(3), 2), "nothing was run"),
    ],
)
def test_other_files_are_named(data: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        read(data)


def test_a_torchscript_program_is_named() -> None:
    stream = io.BytesIO(torch_save.zipped({}))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("weights/constants.pkl", b"")
    with pytest.raises(WeightsError, match="TorchScript"):
        read(stream.getvalue())

"""A small network through either door: what goes in, what comes out, what it tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_network import (
    CHANNELS,
    SIZE,
    WEIGHT,
    assert_right,
    example,
    manifest,
)

from tvm_mobilenet.errors import ArtifactError, InputError
from tvm_mobilenet.runtime import Loaded, artifact, load
from tvm_mobilenet.runtime.inputs import aligned_empty
from tvm_mobilenet.runtime.instrument import unblocked
from tvm_mobilenet.runtime.module import Module


def test_the_output_is_right_fresh_and_writable(module: Loaded) -> None:
    x = example()
    first = module(x)
    kept = first.copy()
    second = module(-2 * x)
    assert_right(first, x)
    assert_right(second, -2 * x)
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, second)
    second[:] = 7
    assert_right(module(x), x)


def test_what_the_module_says_of_itself(module: Loaded, path: Path) -> None:
    assert module.manifest == artifact.read_manifest(path)
    assert module.title == "Tiny"
    assert module.inputs[0]["shape"] == [1, 3, SIZE, SIZE]
    assert module.outputs[0]["name"] == "y"
    assert "Tiny" in repr(module)


@pytest.mark.parametrize("offset", range(0, 64, 4))
def test_any_alignment_is_right(module: Loaded, offset: int) -> None:
    """An address that vector loads cannot take would end the process."""
    x = example()
    raw = aligned_empty((x.nbytes + 64,), np.uint8)
    shifted = raw[offset : offset + x.nbytes].view(np.float32).reshape(x.shape)
    shifted[:] = x
    assert_right(module(shifted), x)


def read_at(module: Loaded, x: Any) -> int:
    """The address that a call reads this input from."""
    module(x)
    if isinstance(module, Module):
        return int(module._idle[-1].inputs[0])
    return int(module._binding.staging.tensor(x).data_ptr())


def test_aligned_input_is_read_in_place(module: Loaded) -> None:
    x = example()
    read_only = x.view()
    read_only.flags.writeable = False
    assert read_at(module, x) == x.ctypes.data
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0" or isinstance(module, Module):
        assert read_at(module, read_only) == x.ctypes.data
    assert_right(module(read_only), x)


def test_other_strides_are_copied(module: Loaded) -> None:
    x = example()
    nhwc_in_memory = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for other in (nhwc_in_memory, x[:, :, ::-1], np.broadcast_to(x[:, :1], x.shape)):
        assert read_at(module, other) != other.ctypes.data
        assert_right(module(other), other)


def test_output_goes_into_a_callers_array(module: Loaded) -> None:
    x = example(7)
    y = np.full((1, CHANNELS), np.nan, np.float32)
    assert module(x, out=y) is y
    assert_right(y, x)
    for out in ((y,), [y]):
        y[...] = np.nan
        assert module(x, out=out) is out
        assert_right(y, x)
    odd = np.empty(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    odd[...] = x
    assert_right(module(odd), x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: np.empty((1, CHANNELS + 1), np.float32), "float32 of shape"),
        (lambda _: np.empty((1, CHANNELS), np.float64), "float64 of shape"),
        (lambda _: np.empty((1, 2 * CHANNELS), np.float32)[:, ::2], "not C-contiguous"),
        (lambda _: np.broadcast_to(np.float32(0), (1, CHANNELS)), "not C-contiguous"),
        (lambda _: np.frombuffer(bytes(4 * CHANNELS), np.float32)[None], "read-only"),
        (
            lambda _: np.empty(4 * CHANNELS + 1, np.uint8)[1:].view(np.float32)[None],
            "at an address that is none",
        ),
        (lambda x: x.reshape(-1)[:CHANNELS][None], "in the input's memory"),
        (lambda _: [0.0] * CHANNELS, f"{CHANNELS} arrays"),
        (lambda _: "y", "a str"),
    ],
)
def test_what_no_output_fits_into_is_refused(module: Loaded, make, words: str) -> None:
    x = example()
    with pytest.raises(InputError, match=words):
        module(x, out=make(x))


class Foreign:
    """An array of another library: nothing but DLPack."""

    def __init__(self, x: np.ndarray, device: tuple[int, int] = (1, 0), error: str = "") -> None:
        self.x, self.device, self.error = x, device, error

    def __dlpack__(self, **options: object) -> object:
        if self.error:
            raise BufferError(self.error)
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def test_dlpack_is_read_in_place(module: Loaded) -> None:
    import tvm_ffi

    x = example()
    for foreign in (Foreign(x), tvm_ffi.from_dlpack(x)):
        assert read_at(module, foreign) == x.ctypes.data
        assert_right(module(foreign), x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: x.astype(np.float64), r"is float64 .* expected float32.*\n.*astype"),
        (lambda x: (x * 9).astype(np.uint8), "is uint8"),
        (lambda x: x[0], r"batch axis is missing: give x\[None\]"),
        (lambda x: x.transpose(0, 2, 3, 1), "this is NHWC"),
        (lambda x: x[0].transpose(1, 2, 0), "one image, HWC"),
        (lambda x: np.repeat(x, 4, axis=0), "compile it with batch=4"),
        (lambda x: x[:, :, :8, :8], f"scale the images to {SIZE} × {SIZE}"),
        (lambda x: x.ravel(), r"give shape \(1, 3, 12, 12\)"),
        (lambda x: x.tolist(), "is a list"),
        (lambda x: None, "is a NoneType"),
        (lambda x: "photo.jpg", "is a str"),
        (lambda x: Foreign(x, device=(2, 0)), "is on cuda"),
        (lambda x: Foreign(x, device=(99, 0)), "is on DLPack device 99"),
        (lambda x: Foreign(x, error="requires grad"), r"requires grad[\s\S]*detach"),
        (lambda x: Foreign(x.astype(np.float64)), "is float64"),
    ],
)
def test_what_does_not_fit_is_refused(module: Loaded, make, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        module(make(example()))
    assert "input 'x'" in caught.value.what
    assert "expected float32 of shape (1, 3, 12, 12) (NCHW)" in caught.value.what


def test_a_batch_model_says_so_to_one_image(path: Path, tmp_path: Path) -> None:
    from tvm_mobilenet.runtime.inputs import Expected

    record = {"name": "x", "shape": [8, 3, 4, 4], "dtype": "float32", "layout": "NCHW"}
    with pytest.raises(InputError, match="8 images at a time: compile it with batch=1"):
        Expected(record).check((1, 3, 4, 4), np.dtype(np.float32))


def test_the_trace_is_in_plain_layout(module: Loaded) -> None:
    x = example()
    pointwise, pool = module.trace(x)
    assert pointwise.call["layers"] == ["pointwise"]
    want = np.einsum("oc,nchw->nohw", WEIGHT, x)
    assert pointwise.output.shape == want.shape
    np.testing.assert_allclose(pointwise.output, want, atol=1e-5)
    assert_right(pool.output, x)
    assert_right(module(x), x)


def test_unblocking_equals_its_definition() -> None:
    blocked = np.arange(2 * 2 * 6 * 4, dtype=np.float32).reshape(2, 2, 6, 4)
    plain = unblocked(blocked, {"layout": "NCHWc", "shape": [2, 7, 2, 3], "block": 4})
    for n, c, h, w in np.ndindex(plain.shape):
        assert plain[n, c, h, w] == blocked[n, c // 4, h * 3 + w, c % 4]


def test_the_profile_has_every_kernel(module: Loaded) -> None:
    profile = module.profile(example(), repeats=5)
    assert [call["kernel"] for call, _ in profile.calls] == ["pointwise_kernel", "pool_kernel"]
    assert all(0 < span < 1e5 for _, span in profile.calls)
    assert 0 < profile.total < 1e5


def test_a_manifest_that_lists_other_kernels_is_noticed(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.so"
    other.write_bytes(path.read_bytes())
    calls = manifest()["calls"]
    artifact.write_manifest(other, {**manifest(), "calls": [*calls, calls[0]]})
    with pytest.raises(ArtifactError, match="ran 2 kernels, its manifest lists 3"):
        load(other).trace(example())


def test_plain_tvm_loads_the_same_file(path: Path) -> None:
    import tvm

    machine = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    x = example()
    assert_right(machine["main"](tvm.runtime.tensor(x)).numpy(), x)

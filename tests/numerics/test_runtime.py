"""A small network through TVM's runtime library: what goes in, what comes out, what it tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_network import (
    SIZE,
    WEIGHT,
    assert_right,
    example,
    manifest,
)

from tvm_mobilenet.errors import ArtifactError, InputError
from tvm_mobilenet.runtime import artifact, load
from tvm_mobilenet.runtime.inputs import aligned_empty
from tvm_mobilenet.runtime.instrument import unblocked
from tvm_mobilenet.runtime.module import Module


def test_the_output_is_right_fresh_and_writable(module: Module) -> None:
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


def test_what_the_module_says_of_itself(module: Module, path: Path) -> None:
    assert module.manifest == artifact.read_manifest(path)
    assert module.title == "Tiny"
    assert module.inputs[0]["shape"] == [1, 3, SIZE, SIZE]
    assert module.outputs[0]["name"] == "y"
    assert "Tiny" in repr(module)


@pytest.mark.parametrize("offset", range(0, 64, 4))
def test_any_alignment_is_right(module: Module, offset: int) -> None:
    """An address that vector loads cannot take would end the process."""
    x = example()
    raw = aligned_empty((x.nbytes + 64,), np.uint8)
    shifted = raw[offset : offset + x.nbytes].view(np.float32).reshape(x.shape)
    shifted[:] = x
    assert_right(module(shifted), x)


def test_aligned_input_is_read_in_place(module: Module) -> None:
    module(example())
    x = example()
    read_only = x.view()
    read_only.flags.writeable = False
    staging = module._binding.staging
    assert staging.tensor(x).data_ptr() == x.ctypes.data
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        assert staging.tensor(read_only).data_ptr() == x.ctypes.data
    assert_right(module(read_only), x)


def test_other_strides_are_copied(module: Module) -> None:
    x = example()
    module(x)
    staging = module._binding.staging
    nhwc_in_memory = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for other in (nhwc_in_memory, x[:, :, ::-1], np.broadcast_to(x[:, :1], x.shape)):
        assert staging.tensor(other).data_ptr() != other.ctypes.data
        assert_right(module(other), other)


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


def test_dlpack_is_read_in_place(module: Module) -> None:
    import tvm_ffi

    x = example()
    module(x)
    staging = module._binding.staging
    for foreign in (Foreign(x), tvm_ffi.from_dlpack(x)):
        assert staging.tensor(foreign).data_ptr() == x.ctypes.data
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
def test_what_does_not_fit_is_refused(module: Module, make, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        module(make(example()))
    assert "input 'x'" in caught.value.what
    assert "expected float32 of shape (1, 3, 12, 12) (NCHW)" in caught.value.what


def test_a_batch_model_says_so_to_one_image(path: Path, tmp_path: Path) -> None:
    from tvm_mobilenet.runtime.inputs import Expected

    record = {"name": "x", "shape": [8, 3, 4, 4], "dtype": "float32", "layout": "NCHW"}
    with pytest.raises(InputError, match="8 images at a time: compile it with batch=1"):
        Expected(record).check((1, 3, 4, 4), np.dtype(np.float32))


def test_the_trace_is_in_plain_layout(module: Module) -> None:
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


def test_the_profile_has_every_kernel(module: Module) -> None:
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

"""From whatever array a caller has to a tensor that a kernel may read.

Compiled kernels load whole vector registers from addresses that they take to be
aligned, and TVM does not check that they are: a misaligned address ends the
process. So alignment is settled here, by a copy where need be.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from tvm_mobilenet.errors import InputError

# TVM's kAllocAlignment, which its code generator relies on for every buffer.
_ALIGNMENT = 64
# DLPack device types whose memory the processor reads: plain, and pinned by CUDA or ROCm.
_HOST_DEVICES = (1, 3, 11)
_DEVICES = {2: "cuda", 4: "opencl", 7: "vulkan", 8: "metal", 10: "rocm", 15: "webgpu"}
_CHANNELS = (1, 3, 4)
# DLPack before 1.0 cannot say that memory is read-only, and NumPy speaks 1.0 since 2.1.
_LENDS_READ_ONLY = tuple(map(int, np.__version__.split(".")[:2])) >= (2, 1)


class Expected:
    """What a model takes, and the words for what it was given instead.

    Parameters
    ----------
    record : mapping
        ``name``, ``shape``, ``dtype``, ``layout`` from the manifest, and
        ``alignment`` in bytes (64 if absent).
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.name = str(record["name"])
        self.shape = tuple(int(size) for size in record["shape"])
        self.dtype = np.dtype(record["dtype"])
        self.layout = str(record["layout"])
        self.alignment = int(record.get("alignment", _ALIGNMENT))

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.shape} ({self.layout}) on the CPU"

    def refuse(self, given: str, remedy: str) -> InputError:
        """Return the error for input that is `given`."""
        return InputError(f"input {self.name!r} is {given}, expected {self}", remedy)

    def check(self, shape: tuple[int, ...], dtype: object) -> None:
        """Raise InputError unless shape and dtype fit."""
        if dtype != self.dtype:
            raise self.refuse(
                f"{dtype} of shape {shape}", f"convert it: x.astype(numpy.{self.dtype})"
            )
        if shape != self.shape:
            raise self.refuse(f"{dtype} of shape {shape}", self._shape_hint(shape))

    def array(self, x: Any) -> Any:
        """View what a caller gave, an object with ``__dlpack__``, as an array; check it.

        Raises
        ------
        InputError
            What `x` is does not fit.
        """
        if not isinstance(x, np.ndarray):
            x = self._foreign(x)
        if x.dtype != self.dtype or x.shape != self.shape:
            self.check(x.shape, x.dtype)
        return x

    def _foreign(self, x: Any) -> Any:
        """View the memory of another library's array as NumPy's."""
        if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
            raise self.refuse(
                f"a {type(x).__name__}", "give a NumPy array, or an array that speaks DLPack"
            )
        device = int(x.__dlpack_device__()[0])
        if device not in _HOST_DEVICES:
            name = _DEVICES.get(device, f"DLPack device {device}")
            raise self.refuse(f"on {name}", "copy it to the CPU first, e.g. x.cpu()")
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise self.refuse(
                f"a {type(x).__name__} that does not lend its memory ({error})",
                f"give a plain {self.dtype} array, e.g. x.detach()",
            ) from error

    def _shape_hint(self, shape: tuple[int, ...]) -> str:
        want = self.shape
        if self.layout == "NCHW" and len(want) == 4:
            batch, channels, height, width = want
            if shape == (batch, height, width, channels):
                return "this is NHWC: give numpy.ascontiguousarray(x.transpose(0, 3, 1, 2))"
            if batch == 1 and shape == want[1:]:
                return "the batch axis is missing: give x[None]"
            if batch == 1 and shape == (height, width, channels):
                return "this is one image, HWC: give x.transpose(2, 0, 1)[None]"
            if len(shape) == 4 and shape[1:] == want[1:]:
                return f"the model takes {batch} images at a time: compile it with batch={shape[0]}"
            if len(shape) == 4 and shape[1] in _CHANNELS and shape[2:] != want[2:]:
                return f"scale the images to {height} × {width}, or compile another resolution"
        return f"give shape {want}"


class Staging:
    """Makes tensors of inputs; owns one aligned buffer, so use it from one thread.

    Parameters
    ----------
    expected : Expected
        What the model takes.
    ffi : module
        ``tvm_ffi``.
    """

    def __init__(self, expected: Expected, ffi: ModuleType) -> None:
        self._expected = expected
        self._from_dlpack = ffi.from_dlpack
        self._buffer: Any = None
        self._tensor: Any = None

    def tensor(self, x: Any) -> Any:
        """Return a tensor that holds `x`: its own memory if possible, else a copy.

        Parameters
        ----------
        x : ndarray or object with ``__dlpack__``
            The input.

        Raises
        ------
        InputError
            What `x` is does not fit.
        """
        expected = self._expected
        x = expected.array(x)
        # Asking TVM is quicker than asking NumPy, whose code the last call has pushed out of
        # every cache: 24 → 9 µs.
        try:
            return self._from_dlpack(
                x, require_alignment=expected.alignment, require_contiguous=True
            )
        except (BufferError, RuntimeError, ValueError):
            return self._lent_or_copied(x)

    def _lent_or_copied(self, x: Any) -> Any:
        """Return a tensor of what TVM does not take as it is: read-only, or not in place."""
        expected = self._expected
        read_only = x.flags.c_contiguous and not x.flags.writeable
        aligned = x.__array_interface__["data"][0] % expected.alignment == 0
        if read_only and aligned and _LENDS_READ_ONLY:
            return self._from_dlpack(x.__dlpack__(max_version=(1, 0)))
        if self._buffer is None:
            self._buffer = aligned_empty(expected.shape, expected.dtype, expected.alignment)
            self._tensor = self._from_dlpack(self._buffer)
        np.copyto(self._buffer, x)
        return self._tensor


def check_output(array: Any, record: Mapping[str, Any], x: Any) -> None:
    """Refuse what an output cannot be written into.

    Parameters
    ----------
    array : object
        What a caller gave.
    record : mapping
        ``name``, ``shape`` and ``dtype`` of the output, from the manifest.
    x : object
        The input of the same call, whose memory it may not be.

    Raises
    ------
    InputError
        No array of this shape and type, or not one in one piece that can be written to.
    """
    wanted = f"output {record['name']!r} is {record['dtype']} of shape {tuple(record['shape'])}"
    if not isinstance(array, np.ndarray):
        problem = f"a {type(array).__name__}"
    elif array.dtype != record["dtype"] or array.shape != tuple(record["shape"]):
        problem = f"{array.dtype} of shape {array.shape}"
    elif not (array.flags.c_contiguous and array.flags.writeable):
        problem = "read-only" if array.flags.c_contiguous else "not C-contiguous"
    elif not array.flags.aligned:
        problem = "at an address that is none of its type"
    elif isinstance(x, np.ndarray) and np.may_share_memory(array, x):
        problem = "in the input's memory"
    else:
        return
    raise InputError(f"{wanted}, and out is {problem}", "give out=numpy.empty(shape, dtype)")


def noise(record: Mapping[str, Any]) -> Any:
    """Return an input to time a model with: as pixels after normalisation, or as bytes.

    Parameters
    ----------
    record : mapping
        ``shape`` and ``dtype`` from the manifest.

    Returns
    -------
    ndarray
        Has that shape and type: numbers of mean 0 and deviation 1, or whole ones of 0 to 255.
    """
    random, dtype = np.random.default_rng(0), np.dtype(record["dtype"])
    if dtype.kind != "f":
        return random.integers(0, 256, record["shape"]).astype(dtype)
    return random.standard_normal(record["shape"], np.float32).astype(dtype, copy=False)


def aligned_empty(shape: tuple[int, ...], dtype: Any, alignment: int = _ALIGNMENT) -> Any:
    """Return an uninitialised C-contiguous array whose address is a multiple of `alignment`."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + alignment, np.uint8)
    start = -raw.__array_interface__["data"][0] % alignment
    return raw[start : start + size].view(dtype).reshape(shape)

"""An artifact's C interface (``artifact/native/tvm_mobilenet.h``), called through ctypes."""

from __future__ import annotations

import _ctypes
import ctypes
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_char_p, c_int32, c_int64, c_size_t, c_void_p
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from tvm_mobilenet.errors import AbiError, ArtifactError, CpuFeatureError, ManifestError

VERSION = 1
"""The version of the interface that is spoken here: ``TVM_MOBILENET_VERSION``."""

_WRONG_PROCESSOR = 7

TYPES = (
    *("float32", "float16", "bfloat16", "int8", "uint8", "int32", "int64"),
    *("bool", "float64", "int16", "uint16", "uint32", "uint64"),
)
"""``tvm_mobilenet_type``, by number."""


class _Options(ctypes.Structure):
    _fields_ = (("threads", c_int32), ("parallel_for", c_void_p), ("user", c_void_p))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("name", c_char_p),
        ("layout", c_char_p),
        ("shape", ctypes.POINTER(c_int64)),
        ("rank", c_int32),
        ("type", c_int32),
        ("bytes", c_size_t),
        ("alignment", c_size_t),
        ("scale", ctypes.c_float),
        ("zero_point", c_int32),
    )


class Observation(ctypes.Structure):
    """``tvm_mobilenet_observation``."""

    _fields_ = (
        ("kernel", c_char_p),
        ("data", c_void_p),
        ("shape", ctypes.POINTER(c_int64)),
        ("rank", c_int32),
        ("type", c_int32),
        ("regions", c_int32),
        ("ns", c_int64),
        ("regions_ns", c_int64),
        ("longest_ns", c_int64),
        ("work_ns", c_int64),
    )

    def array(self) -> Any:
        """View what the kernel wrote; a later kernel may write there too."""
        shape = self.shape[: self.rank]
        dtype = np.dtype(TYPES[self.type])
        memory = (ctypes.c_char * (math.prod(shape) * dtype.itemsize)).from_address(self.data)
        return np.frombuffer(memory, dtype).reshape(shape)


OBSERVER = ctypes.CFUNCTYPE(None, c_void_p, c_int32, ctypes.POINTER(Observation))


class _Loaded:
    """Unloads a library when the last of those who need its code has let go.

    Counted by hand: of what the collector finds in a circle, it calls the finalizers in any order.
    """

    def __init__(self, handle: int) -> None:
        self._handle, self._holders = handle, 0

    def hold(self) -> None:
        self._holders += 1

    def let_go(self) -> None:
        self._holders -= 1
        if not self._holders and not sys.is_finalizing():
            _ctypes.dlclose(self._handle)


class NativeLibrary:
    """The functions of an artifact that is loaded; unloaded when nobody holds this.

    Parameters
    ----------
    name : str
        Under which the system's loader finds the file.
    prefix : str
        What the functions' names begin with.
    """

    def __init__(self, name: str, prefix: str) -> None:
        self._library = ctypes.CDLL(name, os.RTLD_NOW | os.RTLD_LOCAL)
        self.loaded = _Loaded(self._library._handle)
        self.loaded.hold()
        self._prefix = prefix
        pointer, number = c_void_p, c_int32
        self.run = self.function("run", number, pointer, pointer, pointer)
        self.run_observed = self.function("run_observed", number, *[pointer] * 4, OBSERVER, pointer)
        self.repeat = self.function("repeat", number, *[pointer] * 3, number, number, pointer)
        self.create = self.function("create", number, pointer, pointer)
        self.destroy = self.function("destroy", None, pointer)
        self.error = self.function("error", c_char_p, pointer)
        self.pool_create = self.function("pool_create", number, number, pointer)
        self.pool_destroy = self.function("pool_destroy", None, pointer)
        self.pool_share = _address(self.function("pool_share", None))
        self.calls: int = self.function("calls", number)()

    def __del__(self) -> None:
        if hasattr(self, "loaded"):
            self.loaded.let_go()

    def check(self, manifest: Mapping[str, Any], where: str) -> None:
        """Compare what the code says of itself with what its manifest says.

        Raises
        ------
        AbiError
            The interface is of another version.
        ManifestError
            Inputs, outputs or kernels differ.
        """
        version = self.function("version", c_int32)()
        if version != VERSION:
            raise AbiError(
                f"{where} has version {version} of the C interface, and {VERSION} is known here",
                "compile it again, or load it with the version that compiled it",
            )
        said = [[_told(tensor) for tensor in manifest[role]] for role in ("inputs", "outputs")]
        is_so = said == [self._tensors("input"), self._tensors("output")]
        if not is_so or len(manifest["calls"]) != self.calls:
            raise ManifestError(
                f"the manifest of {where} contradicts its code: inputs, outputs or kernels differ",
                "compile the model again",
            )

    def failed(self, status: int, where: str, context: int | None = None) -> ArtifactError:
        """Return the error for a status other than 0."""
        text = self.function("text", c_char_p, c_int32)(status).decode()
        if status == _WRONG_PROCESSOR:
            return CpuFeatureError(f"{where}: {text}", "compile it with --target native there")
        detail = self.error(context).decode(errors="replace") if context else ""
        return ArtifactError(
            f"{where} failed: {detail or text}",
            "compile the model again; if that fails too, please report the artifact",
        )

    def function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """Return the function ``<prefix>_<name>``, by its types in ctypes."""
        try:
            function = self._library[f"{self._prefix}_{name}"]
        except AttributeError as error:
            raise OSError(f"it has no function {self._prefix}_{name}") from error
        function.restype, function.argtypes = result, arguments
        return function

    def _tensors(self, role: str) -> list[tuple[list[int], str]]:
        count = self.function(f"{role}s", c_int32)()
        describe = self.function(role, ctypes.POINTER(_Tensor), c_int32)
        found = (describe(number).contents for number in range(count))
        return [(t.shape[: t.rank], TYPES[t.type]) for t in found]


def _address(function: Any) -> int | None:
    return ctypes.cast(function, c_void_p).value


def _told(tensor: Mapping[str, Any]) -> tuple[list[int], str]:
    return list(tensor["shape"]), tensor["dtype"]


class Pool:
    """Threads that contexts of all libraries share; ended when nobody holds this."""

    def __init__(self, library: NativeLibrary, threads: int, where: str) -> None:
        self._library = library  # whose code the threads run
        made = c_void_p()
        status = library.pool_create(threads, ctypes.byref(made))
        if status:
            raise library.failed(status, where)
        self._end = library.pool_destroy
        library.loaded.hold()
        self.address = made.value
        self.share = library.pool_share

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._end(self.address)
            self._library.loaded.let_go()


_pools: WeakValueDictionary[int, Pool] = WeakValueDictionary()


def pool_of(library: NativeLibrary, threads: int, where: str) -> Pool:
    """Return the pool of so many threads, one for all modules of this process."""
    pool = _pools.get(threads)
    # Of several threads that come here at once, the first one's pool stays.
    return pool or _pools.setdefault(threads, Pool(library, threads, where))


class Context:
    """What one call at a time needs: activations, and where its inputs and outputs are.

    Attributes
    ----------
    inputs, outputs : ctypes arrays
        Addresses, set before each run.
    at : tuple of int
        Addresses of the context and of these two, as ``run`` takes them.
    """

    def __init__(
        self, library: NativeLibrary, threads: int, counts: Sequence[int], where: str
    ) -> None:
        self._library = library
        self._pool = pool_of(library, threads, where) if threads > 1 else None
        options = _Options(threads)
        if self._pool is not None:
            options.parallel_for, options.user = self._pool.share, self._pool.address
        made = c_void_p()
        status = library.create(ctypes.byref(options), ctypes.byref(made))
        if status:
            raise library.failed(status, where)
        library.loaded.hold()
        self.inputs, self.outputs = ((c_void_p * count)() for count in counts)
        self.at = (made.value, ctypes.addressof(self.inputs), ctypes.addressof(self.outputs))

    def __del__(self) -> None:
        if hasattr(self, "at"):
            self._library.destroy(self.at[0])
            self._library.loaded.let_go()

"""One kernel, loaded by its C interface and called on arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int32, c_void_p
from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.artifact.native_header import PREFIX
from tvm_mobilenet.runtime.native_library import Context, NativeLibrary


class _Turn(ctypes.Structure):
    _fields_ = (("inputs", c_void_p), ("outputs", c_void_p))


class Turns:
    """Sets of arguments that calls of a kernel take in turns.

    Parameters
    ----------
    turns : sequence of sequence of ndarray
        For each set the inputs, then the output; at a cache line each, or the kernel gets copies.
    """

    def __init__(self, turns: Sequence[Sequence[NDArray[Any]]]) -> None:
        self._arrays = turns
        self._addresses = [_addresses(arrays) for arrays in turns]
        self.count = len(turns)
        self.table = (_Turn * self.count)()
        for turn, addresses in zip(self.table, self._addresses, strict=True):
            turn.inputs = ctypes.addressof(addresses)
            turn.outputs = turn.inputs + ctypes.sizeof(c_void_p) * (len(addresses) - 1)


class LoadedKernel:
    """What ``write_kernel`` wrote, on a number of threads; unloaded when nobody holds this.

    All kernels of a process that run on as many threads share their pool.

    Raises
    ------
    OSError
        The system's loader refused it.
    ArtifactError
        The processor lacks its instructions, or there is no memory for it.
    """

    def __init__(self, path: str, threads: int) -> None:
        self._path = path
        self._library = NativeLibrary(path, PREFIX)
        self._context = Context(self._library, threads, (0, 0), path)
        self._run = self._library.function(
            "turns", c_int32, c_void_p, c_void_p, c_int32, c_int32, c_int32
        )

    def __call__(self, turns: Turns, first: int = 0, times: int = 1) -> None:
        """Call it so many times in C, beginning with a set of arguments."""
        context = self._context.at[0]
        if status := self._run(context, turns.table, turns.count, first, times):
            raise self._library.failed(status, self._path, context)


def _addresses(arrays: Sequence[NDArray[Any]]) -> Any:
    return (c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))

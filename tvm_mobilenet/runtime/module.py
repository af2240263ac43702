"""An artifact as a Python callable, through its C interface: NumPy is all that it needs.

A call takes a context that no other call uses and gives it back, so any number of Python threads
may call at once; contexts share one pool of threads. Calls release Python's global lock.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import ArtifactError
from tvm_mobilenet.machine.quota import usable_cores
from tvm_mobilenet.runtime.inputs import aligned_empty
from tvm_mobilenet.runtime.library import Code, open_library
from tvm_mobilenet.runtime.loaded import Device, LoadedArtifact, Visit
from tvm_mobilenet.runtime.native_kernels import NativeKernels
from tvm_mobilenet.runtime.native_library import OBSERVER, Context, NativeLibrary, Observation
from tvm_mobilenet.runtime.private import PrivateCopy

_LARGE = 1 << 16
"""Bytes of an output that is worth an aligned array: any other is copied where it must be."""


class Module(LoadedArtifact[NativeKernels]):
    """A loaded artifact whose kernels run on the processor.

    The input is read in place if it is C-contiguous and aligned as :attr:`inputs` states (a
    MobileNet's first convolution takes any address of a float32), else copied first.
    """

    def __init__(self, path: str, manifest: dict[str, Any], code: Code, threads: int) -> None:
        super().__init__(path, manifest, threads)
        self._library: NativeLibrary = code.module
        self._outputs = [_maker(tensor) for tensor in manifest["outputs"]]
        self._idle: list[Context] = []
        # More are not in use at once for long, and each has activations of its own.
        self._most_idle = usable_cores()
        self._code = code  # last, as it goes last: contexts hold the library too

    @classmethod
    def open(
        cls, path: str, manifest: dict[str, Any], copy: PrivateCopy, threads: int, device: Device
    ) -> Module:
        """Load what :meth:`check` has let pass."""
        prefix = manifest["c_interface"]["prefix"]
        key = f"c:{manifest['sha256']}"
        code = open_library(path, key, copy, lambda name: NativeLibrary(name, prefix))
        code.module.check(manifest, path)
        return cls(path, manifest, code, threads)

    def _call(self, x: Any) -> Any:
        outputs = [make() for make in self._outputs]
        self._call_into(x, outputs)
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    def _call_into(self, x: Any, outputs: Sequence[NDArray[Any]]) -> None:
        x = self._contiguous(x)  # held until the run is over
        context = self._bound(x, outputs)
        self._finish(context, self._library.run(*context.at))

    def _contiguous(self, x: Any) -> NDArray[Any]:
        found: NDArray[Any] = self._input.array(x)
        flags = found.flags
        return found if flags.c_contiguous and flags.aligned else found.copy()

    def _visit(self, x: Any, visit: Visit) -> None:
        x = self._contiguous(x)
        outputs = [make() for make in self._outputs]
        context = self._bound(x, outputs)
        calls = self.manifest["calls"]
        raised: list[BaseException] = []

        def observe(_user: Any, number: int, found: Any) -> None:
            # What leaves a callback is printed by ctypes, and lost.
            try:
                if not raised:
                    self._check_kernel(calls[number], found.contents)
                    visit(calls[number], found.contents.array())
            except BaseException as error:
                raised.append(error)

        found = (Observation * self._library.calls)()
        observer = OBSERVER(observe)
        status = self._library.run_observed(*context.at, found, observer, None)
        self._finish(context, status)
        if raised:
            raise raised.pop()  # not kept: it holds this frame

    def _held(self, x: Any) -> NativeKernels:
        x = np.array(self._input.array(x), order="C")  # what a caller changes later is not seen
        outputs = [make() for make in self._outputs]
        kernels = NativeKernels(self._code, self._bound(x, outputs), (x, *outputs), self.path)
        kernels.replay()
        return kernels

    def _bound(self, x: Any, outputs: Sequence[NDArray[Any]]) -> Context:
        """Take a context that is not in use, and tell it where a call's arrays are."""
        try:
            context = self._idle.pop()
        except IndexError:
            context = Context(self._library, self.threads, (1, len(self._outputs)), self.path)
        context.inputs[0] = _address(x)
        for number, array in enumerate(outputs):
            context.outputs[number] = _address(array)
        return context

    def _finish(self, context: Context, status: int) -> None:
        if status:
            raise self._library.failed(status, self.path, context.at[0])
        if len(self._idle) < self._most_idle:
            self._idle.append(context)

    def _check_kernel(self, call: dict[str, Any], found: Observation) -> None:
        if found.kernel.decode() != call["kernel"]:
            raise ArtifactError(
                f"{self.path} ran {found.kernel.decode()!r} where its manifest lists "
                f"{call['kernel']!r}",
                "compile the model again",
            )


def _maker(tensor: Mapping[str, Any]) -> Callable[[], NDArray[Any]]:
    """Return what makes an array for an output."""
    shape, dtype = tuple(tensor["shape"]), np.dtype(tensor["dtype"])
    large = math.prod(shape) * dtype.itemsize > _LARGE
    return partial(aligned_empty if large else np.empty, shape, dtype)


def _address(array: Any) -> int:
    """Return where an array's memory is; by way of its buffer in half the time."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except TypeError:  # it is read-only
        address: int = array.__array_interface__["data"][0]
        return address

"""The kernels of a loaded network, one by one, without the virtual machine between them.

One run under the instrument tells with which buffers the network calls each of
them. Called again with the same, in order, they are the network: the same
memory plan, the same caches. Called again and again, one is alone.
"""

from __future__ import annotations

import ctypes
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from tvm_mobilenet.runtime.library import Code, loaded_library
from tvm_mobilenet.runtime.threads import use_threads

# TVMParallelGroupEnv and TVMBackendParallelLaunch of include/tvm/runtime/c_backend_api.h, and
# the artifact's pointer to the latter, which TVM fills in as it loads the file.
_LAUNCH_POINTER = "__TVMBackendParallelLaunch"
_CPU = 1


class _Group(ctypes.Structure):
    _fields_ = (("sync_handle", ctypes.c_void_p), ("num_task", ctypes.c_int32))


_TASK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Group), ctypes.c_void_p)
_LAUNCH = ctypes.CFUNCTYPE(ctypes.c_int, _TASK, ctypes.c_void_p, ctypes.c_int)


@dataclass(frozen=True, slots=True)
class Split:
    """How a kernel's parallel regions divide their work among threads.

    Attributes
    ----------
    regions : int
        Parallel regions that one call enters; 0 for a kernel on one thread.
    work_us : float
        All threads' parts, added up.
    longest_us : float
        The longest part of each region, added up: what the regions would take if
        handing out and joining cost nothing.
    pool_us : float
        What they take beyond.
    """

    regions: int
    work_us: float
    longest_us: float
    pool_us: float


@dataclass(frozen=True, slots=True)
class _Bound:
    """One call of a kernel with the network's own buffers."""

    name: str
    function: Any
    arguments: tuple[Any, ...]


def library_of(executable: Any, calls: Sequence[tuple[str, tuple[Any, ...]]]) -> Any:
    """Find the host code that holds the kernels called, among what an executable imports."""
    names = {name for name, _ in calls}
    return next(part for part in executable.imports if all(map(part.implements_function, names)))


class Kernels:
    """Every call of a network, ready to be made again.

    From :meth:`tvm_mobilenet.runtime.loaded.LoadedArtifact.kernels`; to be used by the Python
    thread that made it. Kernels do not change their inputs, so any may be called
    any number of times.

    Parameters
    ----------
    code : Code
        The artifact, which stays loaded as long as these.
    library : ffi module
        That holds the kernels by name.
    ffi : module
        ``tvm_ffi``.
    calls : sequence of (str, tuple)
        Name and arguments, in the order of execution.
    threads : int
        Threads that one kernel uses.
    device : int
        DLPack's type of the device that they run on: 1 for the processor, 2 for CUDA.
    """

    def __init__(
        self,
        code: Code,
        library: Any,
        ffi: ModuleType,
        calls: Sequence[tuple[str, tuple[Any, ...]]],
        threads: int,
        *,
        device: int = _CPU,
    ) -> None:
        self._device = device
        self._library = library
        self._ffi = ffi
        self._threads = threads
        self._calls = [
            _Bound(name, library.get_function(name), arguments) for name, arguments in calls
        ]
        self._code = code  # last, as it goes last: functions hold it too

    def __len__(self) -> int:
        return len(self._calls)

    def replay(self) -> list[float]:
        """Run the network once, kernel after kernel.

        Returns
        -------
        list of float
            Microseconds of each, of which about 0.3 are the call from Python.
        """
        use_threads(self._ffi, self._threads)
        clock = time.perf_counter
        marks = []
        for call in self._calls:
            start = clock()
            call.function(*call.arguments)
            marks.append(clock() - start)
        return [mark * 1e6 for mark in marks]

    def alone(self, position: int, repeats: int = 9, milliseconds: int = 4) -> float:
        """Time one kernel again and again on the same buffers, from C++.

        Parameters
        ----------
        position : int
            Which call of the network.
        repeats : int
            Means to take the median of.
        milliseconds : int
            Least time that each of them is over.

        Returns
        -------
        float
            Microseconds.
        """
        use_threads(self._ffi, self._threads)
        call = self._calls[position]
        evaluator = self._ffi.get_global_func("runtime.RPCTimeEvaluator")
        # Device 0 of its type; one call at first, more until a repeat takes `milliseconds`; no
        # pauses, nothing flushed, nothing called before (python/tvm/runtime/module.py).
        timer = evaluator(
            self._library, call.name, self._device, 0, 1, repeats, milliseconds, 100, 0, 1, 0, ""
        )
        seconds = struct.unpack(f"@{repeats}d", bytes(timer(*call.arguments)))
        return float(np.median(seconds)) * 1e6

    def split(self, position: int, repeats: int = 9) -> Split:
        """Time the part of each thread, one after another on this one.

        Every part runs twice in a row and the second time counts: what it reads
        is in this processor's caches by then, as it would be on its own.

        Parameters
        ----------
        position : int
            Which call of the network.
        repeats : int
            Calls to take the medians of.

        Notes
        -----
        While this runs, calls of the same artifact from other Python threads are
        right but run on one thread.
        """
        call = self._calls[position]
        runs: list[list[list[float]]] = []
        for _ in range(repeats):
            runs.append([])
            with self._launching(runs[-1].append):
                call.function(*call.arguments)
        if not runs[0]:
            return Split(0, 0.0, 0.0, 0.0)
        parts = np.median(np.array(runs), axis=0) * 1e6
        longest = float(parts.max(axis=1).sum())
        return Split(len(parts), float(parts.sum()), longest, self.alone(position) - longest)

    @contextmanager
    def _launching(self, tell: Callable[[list[float]], object]) -> Iterator[None]:
        """Let parallel regions run in turn on the caller, and tell the seconds of their parts."""
        me, clock = threading.get_ident(), time.perf_counter

        def launch(task: Any, data: Any, wanted: int) -> int:
            count = wanted or self._threads
            group = _Group(None, count)
            seconds, status = [], 0
            for number in range(count):
                status |= task(number, group, data)
                start = clock()
                status |= task(number, group, data)
                seconds.append(clock() - start)
            if threading.get_ident() == me:
                tell(seconds)
            return status

        callback = _LAUNCH(launch)
        with loaded_library(self._code.name) as library:
            if library is None or not hasattr(library, _LAUNCH_POINTER):
                yield  # no kernel of this network has a parallel region
                return
            pointer = ctypes.c_void_p.in_dll(library, _LAUNCH_POINTER)
            before = pointer.value
            # Not ctypes.cast, which ties a knot: then these kernels would wait for the collector.
            pointer.value = ctypes.c_void_p.from_buffer(callback).value
            try:
                yield
            finally:
                pointer.value = before

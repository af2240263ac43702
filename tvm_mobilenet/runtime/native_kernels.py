"""The kernels of a loaded network, one by one, timed by the C code that calls them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tvm_mobilenet.runtime.kernels import Split
from tvm_mobilenet.runtime.library import Code
from tvm_mobilenet.runtime.native_library import OBSERVER, Context, NativeLibrary, Observation


def alone(repeat: Callable[[int], int], repeats: int, milliseconds: int) -> float:
    """Time something again and again; return the median of some means, microseconds.

    Parameters
    ----------
    repeat : callable
        Does it so many times, and returns nanoseconds.
    repeats : int
        Means to take the median of.
    milliseconds : int
        Least time that each of them is over.
    """
    times = 1
    while (ns := repeat(times)) < milliseconds * 1e6 / 4:
        times *= 2
    times = max(1, round(times * milliseconds * 1e6 / ns))
    return float(np.median([repeat(times) / times for _ in range(repeats)])) / 1e3


class NativeKernels:
    """Every call of a network on buffers of its own, ready to be made again.

    From :meth:`tvm_mobilenet.runtime.Module.kernels`; to be used by one thread at a time.

    Parameters
    ----------
    code : Code
        The artifact, which stays loaded as long as these.
    context : Context
        Bound to inputs and outputs.
    arrays : sequence of ndarray
        These, which live as long.
    where : str
        What messages call the artifact.
    """

    def __init__(self, code: Code, context: Context, arrays: Sequence[Any], where: str) -> None:
        self._library: NativeLibrary = code.module
        self._context, self._arrays, self._where = context, arrays, where
        self._found = (Observation * len(self))()
        self._code = code  # last, as it goes last

    def __len__(self) -> int:
        return self._library.calls

    def replay(self) -> list[float]:
        """Run the network once; return the microseconds of each kernel."""
        self._check(self._library.run_observed(*self._context.at, self._found, OBSERVER(), None))
        return [found.ns / 1e3 for found in self._found]

    def alone(self, position: int, repeats: int = 9, milliseconds: int = 4) -> float:
        """Time one kernel again and again on the same buffers.

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
        return alone(lambda times: self._repeat(position, times).ns, repeats, milliseconds)

    def split(self, position: int, repeats: int = 9) -> Split:
        """Time the parts of each thread.

        Parameters
        ----------
        position : int
            Which call of the network.
        repeats : int
            Calls to take the medians of, after one that does not count.
        """
        self._repeat(position, 1)
        found = [self._repeat(position, 1) for _ in range(repeats)]
        medians = np.median([(o.work_ns, o.longest_ns, o.regions_ns) for o in found], axis=0)
        work, longest, regions = (float(ns) / 1e3 for ns in medians)
        return Split(found[0].regions, work, longest, regions - longest)

    def _repeat(self, position: int, times: int) -> Observation:
        found = Observation()
        at = self._context.at
        self._check(self._library.repeat(*at, position, times, ctypes.byref(found)))
        return found

    def _check(self, status: int) -> None:
        if status:
            raise self._library.failed(status, self._where, self._context.at[0])

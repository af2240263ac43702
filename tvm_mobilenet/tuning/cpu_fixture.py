"""Candidates on the processor of this machine."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.machine import LINE_BYTES
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.tuning.generation import Kernel, generation
from tvm_mobilenet.tuning.sampling import (
    CONTROLS,
    GUARD,
    WARM_UP_S,
    blank,
    calls_of_a_sample,
    copies_of,
    judge,
)
from tvm_mobilenet.verify.cases import case_of


class CpuFixture:
    """See :class:`~tvm_mobilenet.tuning.fixture.Fixture`."""

    at_a_time = 1

    def __init__(self, request: Mapping[str, Any]) -> None:
        work, self._threads = Workload.from_dict(request["work"]), request["threads"]
        self._key, self._case = work.key, case_of(work)
        data, *weights = self._case.inputs
        # Guards on both sides of what a candidate may write.
        self._guarded = _aligned(self._case.want.size + 2 * GUARD, self._case.dtype)
        self._out = self._guarded[GUARD:-GUARD].reshape(self._case.want.shape)
        copies = range(copies_of(weights, request["cold_bytes"]))
        self._inputs = [[_copied(array) for array in weights] for _ in copies]
        self._data = _copied(data)
        turns = [[self._data, *arrays, self._out] for arrays in self._inputs]
        self._turns, self._next = generation().turns(turns), 0
        self.control = _control(request["control"], self._threads, request["lanes"])

    def load(self, path: str) -> _Candidate:
        """Return the candidate of a shared object."""
        return _Candidate(self, generation().load(path, self._key, self._threads))

    def run(self, kernel: Kernel, times: int) -> None:
        """Call a candidate so many times, the weights in turns."""
        kernel(self._turns, self._next, times)
        self._next = (self._next + times) % len(self._inputs)

    def check(self, kernel: Kernel) -> float:
        """Run a candidate once; return its largest relative error."""
        self._guarded[...] = blank(self._case)
        kernel(self._turns, 0, 1)
        inputs = (self._data, *self._inputs[0])
        if not all(map(np.array_equal, inputs, self._case.inputs)):
            raise VerificationError("it wrote into its inputs")
        return judge(self._case, self._guarded)


class _Candidate:
    """See :class:`~tvm_mobilenet.tuning.fixture.Candidate`."""

    def __init__(self, fixture: CpuFixture, kernel: Kernel) -> None:
        self._fixture, self._kernel = fixture, kernel

    def check(self) -> float:
        return self._fixture.check(self._kernel)

    def warm(self) -> tuple[float, int]:
        begin = time.perf_counter()
        done = 0
        while time.perf_counter() - begin < WARM_UP_S or done < 3:
            self._fixture.run(self._kernel, 1)
            done += 1
        once = (time.perf_counter() - begin) / done
        return once, calls_of_a_sample(once)

    def samples(self, count: int, number: int) -> list[float]:
        return [self._sample(count) for _ in range(number)]

    def _sample(self, count: int) -> float:
        begin = time.perf_counter()
        self._fixture.run(self._kernel, count)
        return (time.perf_counter() - begin) / count


@functools.lru_cache(maxsize=1)
def _control(path: str, threads: int, lanes: int) -> Callable[[], float]:
    """Return what times the control kernel: the least of some calls, seconds."""
    from tvm_mobilenet.bench.peak import CHAINS

    kernel = generation().load(path, "main", threads)
    x, y = _aligned(lanes), _aligned(threads * CHAINS * lanes).reshape(threads, CHAINS, lanes)
    x.fill(0.999)
    y.fill(0.0)
    turns = generation().turns([[x, y]])

    def run() -> float:
        times = []
        for _ in range(CONTROLS):
            begin = time.perf_counter()
            kernel(turns, 0, 1)
            times.append(time.perf_counter() - begin)
        return min(times)

    return run


_PAGE = 4096
_places = itertools.count()


def _aligned(count: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Return numbers at the start of a cache line, each array at another place in its page.

    At one place, loads would wait for stores to addresses that differ by a multiple of a page.
    """
    size = np.dtype(dtype).itemsize * count
    space = np.empty(size + 2 * _PAGE, np.uint8)
    line = 17 * next(_places) % (_PAGE // LINE_BYTES)
    begin = -space.ctypes.data % _PAGE + LINE_BYTES * line
    return space[begin : begin + size].view(dtype)


def _copied(array: NDArray[Any]) -> NDArray[Any]:
    copy = _aligned(array.size, array.dtype).reshape(array.shape)
    copy[...] = array
    return copy

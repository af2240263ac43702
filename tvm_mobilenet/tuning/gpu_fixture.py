"""Candidates on a GPU of this machine, timed by the GPU's own clock.

Runs in a worker process that measures; the compiler is not loaded there.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.host import processor_name
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.tuning.sampling import CONTROLS, calls_of_a_sample, check_finite, copies_of
from tvm_mobilenet.verify.kernel_case import KernelCase, kernel_case

Array = NDArray[Any]

_GUARD = 4096
"""Bytes behind an output, which a candidate must leave alone."""

_PATTERN = 0xFF
"""What fills those, and an output before it is written: NaN, as float32 and as float16."""

_MOST_CALLS = 1024


class Runs(Protocol):
    """A candidate's launches on one or several sets of buffers, in turns."""

    def seconds(self, count: int) -> float:
        """Run so many calls one after the other; return the mean of one, on the GPU."""
        ...


class Processor(Protocol):
    """A GPU, as far as timing needs it.

    Attributes
    ----------
    name : str
        As its driver calls it.
    """

    name: str

    def upload(self, array: Array) -> Any:
        """Return a buffer with this content."""
        ...

    def write(self, buffer: Any, array: Array) -> None:
        """Replace a buffer's content."""
        ...

    def read(self, buffer: Any, array: Array) -> None:
        """Wait for all that runs, and copy a buffer's content."""
        ...

    def runs(self, content: Mapping[str, Any], buffers: Sequence[Sequence[Any]]) -> Runs:
        """Load a candidate's code.

        Parameters
        ----------
        content : mapping
            As :func:`tvm_mobilenet.tuning.gpu_build.write_candidate` wrote it.
        buffers : sequence of sequence
            What its launches' numbers stand for, in each turn.

        Raises
        ------
        GpuArchitectureError, GpuDriverError
            It cannot be launched here.
        """
        ...


class GpuFixture:
    """See :class:`~tvm_mobilenet.tuning.fixture.Fixture`."""

    at_a_time = 1

    def __init__(self, request: Mapping[str, Any]) -> None:
        target = json.dumps(request["target"])
        self._gpu = gpu = _processor(target)
        self.case: KernelCase = kernel_case(Workload.from_dict(request["work"]))
        first, *weights = self.case.inputs
        data, copies = gpu.upload(first), range(copies_of(weights, request["cold_bytes"]))
        self._turns = [[data, *map(gpu.upload, weights)] for _ in copies]
        self._out: Any = None
        self._blank = np.empty(0, np.uint8)
        self.control = _control(request["control"], target)

    def load(self, path: str) -> _Candidate:
        """Return the candidate that :func:`tvm_mobilenet.tuning.gpu_build.write_candidate` wrote.

        Raises
        ------
        GpuArchitectureError, GpuDriverError
            It cannot be launched here.
        """
        content = json.loads(Path(path).read_text())
        dtype, shape = np.dtype(content["dtype"]), tuple(content["shape"])
        if self._out is None:
            size = math.prod(shape) * dtype.itemsize
            self._blank = np.full(size + _GUARD, _PATTERN, np.uint8)
            self._out = self._gpu.upload(self._blank)
        scratch = [self._gpu.upload(np.zeros(size, np.uint8)) for size in content["scratch"]]
        buffers = [[*inputs, self._out, *scratch] for inputs in self._turns]
        runs = self._gpu.runs(content, buffers)
        once = self._gpu.runs(content, buffers[:1])

        def check() -> float:
            return self._check(once, dtype, shape)

        return _Candidate(runs, check)

    def _check(self, once: Runs, dtype: Any, shape: tuple[int, ...]) -> float:
        self._gpu.write(self._out, self._blank)
        once.seconds(1)
        found = np.empty_like(self._blank)
        self._gpu.read(self._out, found)
        if (found[-_GUARD:] != _PATTERN).any():
            raise VerificationError("it wrote outside its output")
        out = found[:-_GUARD].view(dtype).reshape(shape)
        check_finite(out)
        return self.case.error(out)


class _Candidate:
    """See :class:`~tvm_mobilenet.tuning.fixture.Candidate`."""

    def __init__(self, runs: Runs, check: Callable[[], float]) -> None:
        self._runs, self.check = runs, check

    def warm(self) -> tuple[float, int]:
        self._runs.seconds(3)
        once = self._runs.seconds(3)
        return once, min(calls_of_a_sample(once), _MOST_CALLS)

    def samples(self, count: int, number: int) -> list[float]:
        return [self._runs.seconds(count) for _ in range(number)]


def open_processor(target: TargetSpec) -> Processor:
    """Open the GPU of this machine that a target is for.

    Raises
    ------
    NoGpuError, GpuArchitectureError, GpuDriverError
        It is not here, or another one is.
    """
    if target.the_gpu.kind == "cuda":
        from tvm_mobilenet.tuning.gpu_cuda import CudaProcessor

        return CudaProcessor(target)
    from tvm_mobilenet.tuning.gpu_opencl import OpenClProcessor

    return OpenClProcessor(target)


def machine_of(target: TargetSpec) -> str:
    """Return the name of what measures for a target here: the processor, or the GPU.

    Raises
    ------
    NoGpuError, GpuDriverError
        There is no GPU that is driven.
    GpuArchitectureError
        It is another.
    """
    if target.gpu is None:
        return processor_name()
    if target.gpu.kind == "cuda":
        from tvm_mobilenet.tuning.gpu_cuda import gpu_of

        return gpu_of(target)
    from tvm_mobilenet.runtime.opencl_device import find_device

    return str(find_device().name)


@functools.lru_cache(maxsize=1)
def _processor(target: str) -> Processor:
    return open_processor(TargetSpec.from_dict(json.loads(target)))


@functools.lru_cache(maxsize=1)
def _control(path: str, target: str) -> Callable[[], float]:
    """Return what times the control kernel: the least of some calls, seconds."""
    gpu = _processor(target)
    content = json.loads(Path(path).read_text())
    buffer = gpu.upload(np.zeros(content["shape"], np.float32))
    runs = gpu.runs(content, [[buffer]])
    return lambda: min(itertools.starmap(runs.seconds, [(1,)] * CONTROLS))

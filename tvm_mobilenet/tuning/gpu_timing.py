"""Time a candidate on a GPU: right first, then warm, beside a control, with weights from afar.

As :mod:`~tvm_mobilenet.tuning.timing` does on processors, by the GPU's own clock. Runs in a
member that measures; the compiler is not loaded there.
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

from tvm_mobilenet.errors import GpuArchitectureError, GpuDriverError, VerificationError
from tvm_mobilenet.kernel_case import KernelCase, kernel_case
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.target.host import processor_name
from tvm_mobilenet.tuning.sampling import (
    CONTROLS,
    MOST_COPIES,
    SAMPLE_S,
    NotANumberError,
    beside,
    repeated,
)

Array = NDArray[Any]

_GUARD = 4096
"""Bytes behind an output, which a candidate must leave alone."""

_PATTERN = 0xFF
"""Of those and of an output before it is written: NaN, as float32 and as float16."""

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


class _Stand:
    """The buffers that the candidates of one workload are run on."""

    def __init__(self, fields: Mapping[str, Any], cold_bytes: int, gpu: Processor) -> None:
        self.work, self._gpu = Workload.from_dict(fields), gpu
        self.case: KernelCase = kernel_case(self.work)
        first, *weights = self.case.inputs
        size = sum(array.nbytes for array in weights)
        copies = min(max(math.ceil(cold_bytes / size), 1), MOST_COPIES) if size else 1
        data = gpu.upload(first)
        self._turns = [[data, *map(gpu.upload, weights)] for _ in range(copies)]
        self._out: Any = None
        self._blank = np.empty(0, np.uint8)

    def load(self, path: str) -> tuple[Runs, Callable[[], float]]:
        """Return what times a candidate, and what checks it: its largest relative error."""
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
            self._gpu.write(self._out, self._blank)
            once.seconds(1)
            found = np.empty_like(self._blank)
            self._gpu.read(self._out, found)
            if (found[-_GUARD:] != _PATTERN).any():
                raise VerificationError("it wrote outside its output")
            out = found[:-_GUARD].view(dtype).reshape(shape)
            if not np.isfinite(out).all():
                raise NotANumberError(f"{np.count_nonzero(~np.isfinite(out))} numbers are none")
            return self.case.error(out)

        return runs, check


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Check one candidate, and time it; see :func:`tvm_mobilenet.tuning.timing.measure`."""
    about = json.dumps(request["target"])
    stand = _stand(json.dumps([request["work"], request["cold_bytes"], request["target"]]))
    try:
        runs, check = stand.load(request["path"])
        error = check()
        timed = beside(_control(request["control"], about), lambda: _timed(runs, request["best"]))
        check()
    except (GpuArchitectureError, GpuDriverError) as error:
        return {"outcome": "unbuildable", "note": f"{type(error).__name__}: {error.what}"[:400]}
    except NotANumberError as error:
        return {"outcome": "nan", "note": error.what}
    except VerificationError as error:
        return {"outcome": "wrong", "note": error.what}
    return {"outcome": "ok", "error": error, **timed}


def compare(request: Mapping[str, Any]) -> dict[str, Any]:
    """Time candidates in turns; see :func:`tvm_mobilenet.tuning.timing.compare`."""
    stand = _stand(json.dumps([request["work"], request["cold_bytes"], request["target"]]))
    every = [stand.load(path)[0] for path in request["paths"]]
    counts = [_warm(runs)[1] for runs in every]
    samples: list[list[float]] = [[] for _ in every]
    for turn in range(request["rounds"]):
        for i in range(len(every)):
            at = (i + turn) % len(every)
            every[at].seconds(max(counts[at] // 4, 1))  # the caches are its own
            samples[at].append(every[at].seconds(counts[at]))
    return {"samples": samples}


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


def _timed(runs: Runs, best: float | None) -> tuple[float, int, float]:
    once, count = _warm(runs)
    return repeated(lambda number: [runs.seconds(count) for _ in range(number)], once, best, 1)


def _warm(runs: Runs) -> tuple[float, int]:
    """Return seconds of a warm call, and how many make a sample."""
    runs.seconds(3)
    once = runs.seconds(3)
    return once, min(max(math.ceil(SAMPLE_S / once), 1), _MOST_CALLS)


@functools.lru_cache(maxsize=1)
def _processor(target: str) -> Processor:
    return open_processor(TargetSpec.from_dict(json.loads(target)))


@functools.lru_cache(maxsize=1)
def _stand(about: str) -> _Stand:
    work, cold_bytes, target = json.loads(about)
    return _Stand(work, cold_bytes, _processor(json.dumps(target)))


@functools.lru_cache(maxsize=1)
def _control(path: str, target: str) -> Callable[[], float]:
    """Return what times the control kernel: the least of some calls, seconds."""
    gpu = _processor(target)
    content = json.loads(Path(path).read_text())
    buffer = gpu.upload(np.zeros(content["shape"], np.float32))
    runs = gpu.runs(content, [[buffer]])
    return lambda: min(itertools.starmap(runs.seconds, [(1,)] * CONTROLS))

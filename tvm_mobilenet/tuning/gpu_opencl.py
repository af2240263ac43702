"""Candidates on an OpenCL device of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.runtime.opencl_device import build, check_device, find_device, named_errors
from tvm_mobilenet.runtime.opencl_launches import Launches

Array = NDArray[Any]

_WHERE = "the candidate"


class OpenClProcessor:
    """An OpenCL device; see :class:`tvm_mobilenet.tuning.gpu_fixture.Processor`."""

    def __init__(self, target: TargetSpec) -> None:
        self._device = find_device()
        self.name = str(self._device.name)
        self._target = target.to_dict()
        import pyopencl as cl

        with named_errors(self.name):
            self._context = cl.Context([self._device])
            self._queue = cl.CommandQueue(self._context)

    def upload(self, array: Array) -> Any:
        """Return a buffer with this content."""
        import pyopencl as cl

        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        with named_errors(_WHERE):
            return cl.Buffer(self._context, flags, hostbuf=array)

    def write(self, buffer: Any, array: Array) -> None:
        """Replace a buffer's content."""
        import pyopencl as cl

        with named_errors(_WHERE):
            cl.enqueue_copy(self._queue, buffer, array)

    def read(self, buffer: Any, array: Array) -> None:
        """Copy a buffer's content; :class:`_Runs` have waited for their own."""
        import pyopencl as cl

        with named_errors(_WHERE):
            cl.enqueue_copy(self._queue, array, buffer)

    def runs(self, content: Mapping[str, Any], buffers: Sequence[Sequence[Any]]) -> _Runs:
        """Load a candidate's code."""
        plan = {
            "calls": [{"launches": content["launches"]}],
            "buffers": [{"bytes": buffer.size} for buffer in buffers[0]],
        }
        ends: dict[str, Any] = {"inputs": [], "outputs": []}  # kernels read and write float32
        check_device(self._device, {"plan": plan, "target": self._target, **ends}, _WHERE)
        kernels = build(self._context, content["source"], _WHERE)
        launches = [
            {**launch, "buffers": [number + turn * len(own) for number in launch["buffers"]]}
            for turn, own in enumerate(buffers)
            for launch in content["launches"]
        ]
        flat = [buffer for own in buffers for buffer in own]
        every = Launches(self._context, kernels, launches, flat)
        return _Runs(every, len(content["launches"]), flat)


class _Runs:
    """See :class:`tvm_mobilenet.tuning.gpu_fixture.Runs`."""

    def __init__(self, every: Launches, of_a_call: int, buffers: Sequence[Any]) -> None:
        self._every, self._of_a_call, self._at = every, of_a_call, 0
        self._kept = buffers  # a kernel's arguments are not counted as uses

    def seconds(self, count: int) -> float:
        """Run so many calls; return the mean time of one, by the device's clock."""
        total, left = 0.0, count * self._of_a_call
        with named_errors(_WHERE):
            while left:
                end = min(self._at + left, len(self._every))
                total += sum(self._every.timed(self._at, end))
                left -= end - self._at
                self._at = end % len(self._every)
        return total / count * 1e-6

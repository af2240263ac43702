"""Kernels of a compiled program with their buffers, ready to be launched in order."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tvm_mobilenet.errors import GpuArchitectureError, ManifestError
from tvm_mobilenet.runtime.elf import AGAIN

_making = threading.Lock()
"""pyopencl generates Python for every kernel, and two threads that do the same warn."""


class Launches:
    """A list of launches that can be made again and again, from one Python thread.

    Parameters
    ----------
    context : pyopencl.Context
        Made for one device.
    kernels : mapping of str to pyopencl.Kernel
        Compiled; each launch gets a copy of its own with its arguments.
    launches : sequence of mapping
        ``kernel``, ``buffers`` (numbers), ``grid``, ``block``: as a launch plan has them.
    buffers : sequence of pyopencl.Buffer
        By number.

    Attributes
    ----------
    queue : pyopencl.CommandQueue
        In order.

    Raises
    ------
    GpuArchitectureError
        A kernel takes so many registers that a block of it does not fit the device.
    ManifestError
        A kernel is not among those compiled.
    """

    def __init__(
        self,
        context: Any,
        kernels: Mapping[str, Any],
        launches: Sequence[Mapping[str, Any]],
        buffers: Sequence[Any],
    ) -> None:
        import pyopencl as cl

        self._enqueue = cl.enqueue_nd_range_kernel
        timing = cl.command_queue_properties.PROFILING_ENABLE
        self.queue = cl.CommandQueue(context)
        self._timing = cl.CommandQueue(context, properties=timing)  # some drivers are slower so
        with _making:
            self._all = [_ready(context, kernels, launch, buffers) for launch in launches]

    def __len__(self) -> int:
        return len(self._all)

    def run(self, first: int = 0, last: int | None = None) -> None:
        """Enqueue launches, all or those from `first` to before `last`."""
        enqueue, queue = self._enqueue, self.queue
        for kernel, threads, block in self._all[first:last]:
            enqueue(queue, kernel, threads, block)

    def timed(self, first: int = 0, last: int | None = None) -> list[float]:
        """Run launches and return the microseconds of each on the device, by its own clock."""
        self.queue.finish()
        events = [
            self._enqueue(self._timing, kernel, threads, block)
            for kernel, threads, block in self._all[first:last]
        ]
        self._timing.finish()
        return [(event.profile.end - event.profile.start) / 1e3 for event in events]


def _ready(
    context: Any, kernels: Mapping[str, Any], launch: Mapping[str, Any], buffers: Sequence[Any]
) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    import pyopencl as cl

    block = tuple(launch["block"])
    if launch["kernel"] not in kernels:
        raise ManifestError(f"the plan launches {launch['kernel']!r}, which is not compiled", AGAIN)
    kernel = cl.Kernel(kernels[launch["kernel"]].program, launch["kernel"])
    device = context.devices[0]
    fits = kernel.get_work_group_info(cl.kernel_work_group_info.WORK_GROUP_SIZE, device)
    if math.prod(block) > fits:
        raise GpuArchitectureError(
            f"{launch['kernel']} has {math.prod(block)} threads in a block, and as {device.name} "
            f"compiles it, {fits} fit",
            "compile for a preset of such a device: see `tvm-mobilenet targets`",
        )
    for place, number in enumerate(launch["buffers"]):
        kernel.set_arg(place, buffers[number])
    threads = tuple(g * b for g, b in zip(launch["grid"], block, strict=True))
    return kernel, threads, block

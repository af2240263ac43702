"""A compiled OpenCL artifact as a Python callable: source, weights and a list of launches.

TVM is not needed to run it, neither its compiler nor its runtime library.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.artifact.sources import section_name
from tvm_mobilenet.errors import GpuError, ManifestError, NoGpuError
from tvm_mobilenet.runtime.elf import AGAIN, read_section
from tvm_mobilenet.runtime.loaded import Device, OnDevice, Visit
from tvm_mobilenet.runtime.opencl_device import build, check_device, find_device, named_errors
from tvm_mobilenet.runtime.opencl_kernels import OpenClKernels
from tvm_mobilenet.runtime.opencl_launches import Launches
from tvm_mobilenet.runtime.private import PrivateCopy


class _Session(threading.local):
    """What one thread needs for a call: maps and a queue of its own."""

    launches: Launches | None = None
    buffers: list[Any]


class OpenClModule(OnDevice[OpenClKernels]):
    """A loaded OpenCL artifact: threads share the weights, each has its own maps and queue.

    Attributes
    ----------
    device : pyopencl.Device
        What it runs on.
    """

    def __init__(self, path: str, manifest: dict[str, Any], copy: PrivateCopy, device: Any) -> None:
        super().__init__(path, manifest, 1)
        self.device = device
        self._plan = manifest["plan"]
        self._session = _Session()
        self._process = os.getpid()
        with named_errors(path):
            import pyopencl as cl

            self._context = cl.Context([device])
            section = read_section(copy.file, Path(path), section_name("source"))
            source = section.decode(errors="replace")
            self._kernels = build(self._context, source, path)
            blob = read_section(copy.file, Path(path), section_name("weights"))
            self._weights = self._upload(memoryview(blob))
        # Only now is it known what registers the kernels take.
        self._bound()

    @classmethod
    def check(cls, manifest: Mapping[str, Any], where: str, device: Device = None) -> None:
        """Refuse what no OpenCL device here can run, or not the one that is asked for."""
        _device_for(manifest, where, device)

    @classmethod
    def open(
        cls, path: str, manifest: dict[str, Any], copy: PrivateCopy, threads: int, device: Device
    ) -> OpenClModule:
        """Load what :meth:`check` has let pass."""
        return cls(path, manifest, copy, _device_for(manifest, path, device))

    @property
    def device_name(self) -> str:
        """The device, as its driver calls it."""
        return str(self.device.name)

    def _call(self, x: Any) -> Any:
        with named_errors(self.path):
            launches = self._bound()
            self._feed(launches, x)
            launches.run()
            return self._fetch(launches)

    def launch(self) -> None:
        """Run the model on the input of this thread's last call; the output stays there."""
        with named_errors(self.path):
            self._bound().run()

    def synchronize(self) -> None:
        """Wait until the device is done."""
        with named_errors(self.path):
            self._bound().queue.finish()

    def _visit(self, x: Any, visit: Visit) -> None:
        import pyopencl as cl

        with named_errors(self.path):
            launches = self._bound()
            self._feed(launches, x)
            position = 0
            for record, call in zip(self.manifest["calls"], self._plan["calls"], strict=True):
                launches.run(position, position + len(call["launches"]))
                position += len(call["launches"])
                output = np.empty(call["shape"], call["dtype"])
                cl.enqueue_copy(launches.queue, output, self._session.buffers[call["output"]])
                visit(record, output.astype(np.float32))

    def _held(self, x: Any) -> OpenClKernels:
        self(x)
        counts = [len(call["launches"]) for call in self._plan["calls"]]
        return OpenClKernels(self.path, self._bound(), counts)

    def _upload(self, blob: memoryview) -> dict[int, Any]:
        """Put the weights on the device, each in a buffer of its own."""
        import pyopencl as cl

        flags = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR
        for number, record in enumerate(self._plan["buffers"]):
            if record["kind"] == "weights" and record["offset"] + record["bytes"] > len(blob):
                raise ManifestError(
                    f"the manifest of {self.path} contradicts itself: plan.buffers[{number}] ends "
                    f"beyond the {len(blob)} bytes of weights",
                    AGAIN,
                )
        return {
            number: cl.Buffer(
                self._context,
                flags,
                hostbuf=blob[record["offset"] : record["offset"] + record["bytes"]],
            )
            for number, record in enumerate(self._plan["buffers"])
            if record["kind"] == "weights"
        }

    def _bound(self) -> Launches:
        """Return this thread's launches, on maps of its own."""
        import pyopencl as cl

        if self._process != os.getpid():
            raise GpuError(
                f"{self.path} was loaded before this process was forked, and a driver's state "
                "does not survive that",
                "load it in the process that calls it",
            )
        if self._session.launches is None:
            flags = cl.mem_flags.READ_WRITE
            self._session.buffers = [
                self._weights.get(number) or cl.Buffer(self._context, flags, record["bytes"])
                for number, record in enumerate(self._plan["buffers"])
            ]
            order = [launch for call in self._plan["calls"] for launch in call["launches"]]
            self._session.launches = Launches(
                self._context, self._kernels, order, self._session.buffers
            )
        return self._session.launches

    def _feed(self, launches: Launches, x: Any) -> None:
        import pyopencl as cl

        array = np.ascontiguousarray(self._input.array(x))
        cl.enqueue_copy(launches.queue, self._session.buffers[0], array, is_blocking=False)

    def _fetch(self, launches: Launches) -> Any:
        import pyopencl as cl

        found: list[NDArray[Any]] = []
        for record, number in zip(self.manifest["outputs"], self._plan["outputs"], strict=True):
            output = np.empty(record["shape"], record["dtype"])
            cl.enqueue_copy(launches.queue, output, self._session.buffers[number])
            found.append(output)
        return tuple(found) if len(found) > 1 else found[0]


def _device_for(manifest: Mapping[str, Any], where: str, choice: Device) -> Any:
    kind = manifest["target"]["gpu"]["kind"]
    if kind != "opencl":
        raise NoGpuError(
            f"{where} holds kernels for {kind}, and this package launches OpenCL only",
            "read its source and plan with `tvm-mobilenet inspect`, or compile with "
            "--target opencl",
        )
    device = find_device(choice)
    check_device(device, manifest, where)
    return device

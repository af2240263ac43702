"""An OpenCL device: found, checked against what kernels need, and its errors by name."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tvm_mobilenet.common.distributions import extra
from tvm_mobilenet.errors import (
    GpuArchitectureError,
    GpuDriverError,
    GpuError,
    GpuMemoryError,
    NoGpuError,
)

VARIABLE = "TVM_MOBILENET_OPENCL"
"""Environment variable that says which device: a number, or a part of its name."""

_HALVES = "cl_khr_fp16"
_INSTALL = (
    "install the driver of your GPU, or PoCL, which is OpenCL on the processor: "
    "pip install 'tvm-mobilenet[pocl]' (x86-64), or Debian: apt install pocl-opencl-icd"
)


def devices() -> list[Any]:
    """List the OpenCL devices of this machine: GPUs first, then as the drivers list them.

    Raises
    ------
    NoGpuError
        There is no pyopencl, no platform, or no device.
    """
    try:
        import pyopencl as cl
    except (ImportError, OSError) as error:
        raise NoGpuError(
            f"OpenCL artifacts need the Python package pyopencl: {error}",
            f"pip install {extra('opencl', 'opencl')}",
        ) from error
    try:
        platforms = cl.get_platforms()
    except cl.Error as error:
        raise NoGpuError(f"this machine has no OpenCL platform: {error}", _INSTALL) from error
    found = []
    for platform in platforms:
        try:
            found += platform.get_devices()
        except cl.Error:  # how some drivers say that there is none
            continue
    if not found:
        names = ", ".join(platform.name for platform in platforms)
        raise NoGpuError(
            f"this machine has no OpenCL device; its platforms: {names or 'none'}", _INSTALL
        )
    return sorted(found, key=lambda device: not device.type & cl.device_type.GPU)


def find_device(choice: str | int | None = None) -> Any:
    """Choose a device.

    Parameters
    ----------
    choice : str or int, optional
        Its number in :func:`devices`, or a part of its name; without, what
        ``$TVM_MOBILENET_OPENCL`` says, or the first.

    Raises
    ------
    NoGpuError
        There is none, or none such.
    """
    found = devices()
    wanted = str(choice if choice is not None else os.environ.get(VARIABLE, "")).strip()
    if not wanted:
        return found[0]
    if wanted.isdecimal() and int(wanted) < len(found):
        return found[int(wanted)]
    named = [device for device in found if wanted.lower() in device.name.lower()]
    if wanted.isdecimal() or not named:
        names = ", ".join(f"{number}: {device.name}" for number, device in enumerate(found))
        raise NoGpuError(
            f"there is no OpenCL device {wanted!r} here; there are {names}",
            f"give a number or a part of a name, as device= or in ${VARIABLE}",
        )
    return named[0]


def check_device(device: Any, manifest: Mapping[str, Any], where: str) -> None:
    """Refuse a device that lacks something that an artifact's launches need.

    Parameters
    ----------
    device : pyopencl.Device
        From :func:`find_device`.
    manifest : mapping
        With a launch plan.
    where : str
        What messages call the artifact.

    Raises
    ------
    GpuArchitectureError
        float16, threads of a block, or local memory.
    GpuMemoryError
        Memory for the weights and maps.
    """
    plan = manifest["plan"]
    launches = [launch for call in plan["calls"] for launch in call["launches"]]
    # Maps and weights, or what an ONNX file takes and gives.
    ends = {tensor["dtype"] for tensor in (*manifest["inputs"], *manifest["outputs"])}
    halves = "float16" in ends | {manifest["target"].get("dtype")}
    if halves and _HALVES not in device.extensions.split():
        raise GpuArchitectureError(
            f"{where} computes with float16, and {device.name} does not (no {_HALVES})",
            "compile it with --dtype float32, from a model whose input and outputs are float32",
        )
    limits = device.max_work_item_sizes
    for launch in launches:
        threads = launch["block"][0] * launch["block"][1] * launch["block"][2]
        fits = all(n <= limit for n, limit in zip(launch["block"], limits, strict=False))
        if threads > device.max_work_group_size or not fits:
            raise GpuArchitectureError(
                f"{launch['kernel']} of {where} has {threads} threads in a block; {device.name} "
                f"takes {device.max_work_group_size}, {' × '.join(map(str, limits))}",
                "compile for a preset of such a device: see `tvm-mobilenet targets`",
            )
        if launch["shared"] > device.local_mem_size:
            raise GpuArchitectureError(
                f"{launch['kernel']} of {where} needs {launch['shared']} bytes of local memory; "
                f"{device.name} has {device.local_mem_size}",
                "compile for a preset of such a device: see `tvm-mobilenet targets`",
            )
    sizes = [buffer["bytes"] for buffer in plan["buffers"]]
    if sum(sizes) > device.global_mem_size or max(sizes) > device.max_mem_alloc_size:
        raise GpuMemoryError(
            f"{where} needs {sum(sizes) >> 20} MiB on the device, {max(sizes) >> 20} in one piece; "
            f"{device.name} has {device.global_mem_size >> 20}, "
            f"{device.max_mem_alloc_size >> 20} in one piece",
            "compile it with a smaller batch",
        )


def build(context: Any, source: str, where: str) -> dict[str, Any]:
    """Compile device source.

    Parameters
    ----------
    context : pyopencl.Context
        Made for the device that shall run it.
    source : str
        OpenCL C: all kernels.
    where : str
        What messages call it.

    Returns
    -------
    dict of str to pyopencl.Kernel
        By name. They hold arguments: what runs in several threads copies them.

    Raises
    ------
    GpuDriverError
        The driver refused it; its log is in the message.
    """
    import pyopencl as cl

    try:
        with warnings.catch_warnings():
            # That the driver said something about code that it took.
            warnings.simplefilter("ignore", cl.CompilerWarning)
            program = cl.Program(context, source).build()
        return {kernel.function_name: kernel for kernel in program.all_kernels()}
    except cl.Error as error:
        device = context.devices[0]
        raise GpuDriverError(
            f"the driver of {device.name} ({device.driver_version}) cannot compile {where}: "
            f"{str(error).strip()[:_LOG]}",
            "update the driver; please report the artifact and the device",
        ) from error


_LOG = 2000
"""Characters of a build log that a message holds."""


@contextmanager
def named_errors(where: str) -> Iterator[None]:
    """Give OpenCL's errors names of ours.

    Raises
    ------
    GpuMemoryError
        The device's memory, or its resources, are used up.
    GpuError
        Anything else that the driver refuses.
    """
    import pyopencl as cl

    try:
        yield
    except cl.Error as error:
        codes = cl.status_code
        full = (
            codes.MEM_OBJECT_ALLOCATION_FAILURE,
            codes.OUT_OF_RESOURCES,
            codes.OUT_OF_HOST_MEMORY,
        )
        if error.code in full:
            raise GpuMemoryError(
                f"{where}: the device has no memory left: {error}",
                "end what else uses it, or compile with a smaller batch",
            ) from error
        raise GpuError(
            f"{where}: OpenCL failed: {error}", "please report the artifact and the device"
        ) from error

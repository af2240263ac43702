"""Ask NVIDIA's driver what it drives, before anything of CUDA is loaded.

Through ctypes, on ``libcuda.so.1`` alone: TVM's CUDA runtime cannot even be loaded without
it, and says little about why.
"""

from __future__ import annotations

import ctypes
import dataclasses
from dataclasses import dataclass

from tvm_mobilenet.errors import GpuDriverError, NoGpuError, TargetError
from tvm_mobilenet.machine.gpu import GPUS, GpuSpec

NEEDED = 13000
"""What the driver must speak for libtvm_runtime_cuda.so, which links to libcudart.so.13:
CUDA 13.0, which came with driver 580."""

_LIBRARY = "libcuda.so.1"
# cuda.h: CUresult, CUdevice_attribute.
_NO_DEVICE, _STUB = 100, 34
_TOO_OLD = (35, 222, 803)
_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18
_UNITS, _L2, _CLOCK_KHZ, _MEMORY_KHZ, _MEMORY_BITS = 16, 38, 13, 36, 37
_DRIVER = "install NVIDIA's driver 580 or newer, and reboot"
JETSONS = ("sm_72", "sm_87")
"""Architectures whose code no other GPU runs."""
_ELSEWHERE = "run it on a machine with an NVIDIA GPU, or compile for --target native"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of this machine.

    Attributes
    ----------
    name : str
        Such as ``"NVIDIA H100 80GB HBM3"``.
    capability : tuple of two int
        Compute capability: (9, 0).
    integrated : bool
        Whether it shares its memory with the processor, as a Jetson's does.
    memory_bytes : int
        All of it, used or not.
    units : int
        Multiprocessors.
    l2_bytes : int
        Last cache before memory.
    clock_mhz : int
        At most.
    memory_gbs : int
        Memory bandwidth, 10**9 bytes a second; 0 where the driver does not say.
    """

    name: str
    capability: tuple[int, int]
    integrated: bool
    memory_bytes: int
    units: int
    l2_bytes: int
    clock_mhz: int
    memory_gbs: int

    @property
    def arch(self) -> str:
        """Such as ``"sm_90"``."""
        return f"sm_{self.capability[0]}{self.capability[1]}"


def find_gpu(number: int = 0) -> Gpu:
    """Ask the driver for a GPU.

    Parameters
    ----------
    number : int
        Among those that ``CUDA_VISIBLE_DEVICES`` shows.

    Raises
    ------
    NoGpuError
        No driver, or none that drives a GPU.
    GpuDriverError
        A driver too old for TVM's CUDA runtime, or one that does not work.
    """
    try:
        cuda = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise NoGpuError(
            f"no NVIDIA driver here: {_LIBRARY} cannot be loaded ({error})", _ELSEWHERE
        ) from error
    speaks = ctypes.c_int()
    _check(cuda, cuda.cuDriverGetVersion(ctypes.byref(speaks)))
    if speaks.value < NEEDED:
        raise _too_old(f"the driver here speaks CUDA {_version(speaks.value)}")
    _check(cuda, cuda.cuInit(0))
    count = ctypes.c_int()
    _check(cuda, cuda.cuDeviceGetCount(ctypes.byref(count)))
    if count.value <= number:
        raise NoGpuError(
            f"GPU {number} is not here: the driver shows {count.value}",
            "look at CUDA_VISIBLE_DEVICES and nvidia-smi",
        )
    device = ctypes.c_int()
    _check(cuda, cuda.cuDeviceGet(ctypes.byref(device), number))

    def attribute(kind: int) -> int:
        value = ctypes.c_int()
        _check(cuda, cuda.cuDeviceGetAttribute(ctypes.byref(value), kind, device))
        return value.value

    name, size = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _check(cuda, cuda.cuDeviceGetName(name, len(name), device))
    _check(cuda, cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device))
    return Gpu(
        name.value.decode(errors="replace"),
        (attribute(_MAJOR), attribute(_MINOR)),
        bool(attribute(_INTEGRATED)),
        size.value,
        units=attribute(_UNITS),
        l2_bytes=attribute(_L2),
        clock_mhz=attribute(_CLOCK_KHZ) // 1000,
        # Twice a clock.
        memory_gbs=2 * attribute(_MEMORY_KHZ) * attribute(_MEMORY_BITS) // 8 // 10**6,
    )


def spec_of(gpu: Gpu) -> tuple[str, GpuSpec]:
    """Describe a GPU of this machine for the schedules and the predictions.

    Returns
    -------
    str
        The target's name: that of its chip or architecture in :data:`GPUS`.
    GpuSpec
        As there, but for what the driver says itself.

    Raises
    ------
    TargetError
        An architecture that nothing here knows.
    """
    same = {name: spec for name, spec in GPUS.items() if spec.arch and runs(spec.arch, gpu)}
    if not same:
        raise TargetError(
            f"{gpu.name} is {gpu.arch}, of which nothing is known here",
            "name an architecture that it runs: " + ", ".join(s for s in GPUS if s[:3] == "sm_"),
        )
    newest = max(spec.capability for spec in same.values())
    named = {name: spec for name, spec in same.items() if spec.capability == newest}
    name = next((n for n, spec in named.items() if spec.chip in gpu.name), next(iter(named)))
    known = named[name]
    return name, dataclasses.replace(
        known,
        chip=gpu.name,
        units=gpu.units or known.units,
        l2_bytes=gpu.l2_bytes or known.l2_bytes,
        clock_mhz=gpu.clock_mhz or known.clock_mhz,
        memory_gbs=gpu.memory_gbs or known.memory_gbs,
    )


def runs(arch: str, gpu: Gpu) -> bool:
    """Return whether a GPU runs machine code of some architecture.

    It runs that of an earlier minor revision of its own major one; code for a Jetson runs only
    there, and a Jetson runs no other (CUDA C++ Programming Guide, "Application Compatibility").
    """
    digits = arch.removeprefix("sm_")
    major, minor = int(digits[:-1]), int(digits[-1])
    if gpu.integrated or arch in JETSONS:
        return (major, minor) == gpu.capability
    return major == gpu.capability[0] and minor <= gpu.capability[1]


def _check(cuda: ctypes.CDLL, status: int) -> None:
    if status == 0:
        return
    if status in (_NO_DEVICE, _STUB):
        raise NoGpuError(
            "NVIDIA's driver is installed, and drives no GPU here",
            "look at nvidia-smi and CUDA_VISIBLE_DEVICES; in a container, give it the GPU",
        )
    name = ctypes.c_char_p()
    cuda.cuGetErrorName(status, ctypes.byref(name))
    said = (name.value or b"").decode() or f"error {status}"
    if status in _TOO_OLD:
        raise _too_old(f"the driver here does not do: {said}")
    raise GpuDriverError(f"NVIDIA's driver does not work here: {said}", _DRIVER)


def _too_old(what: str) -> GpuDriverError:
    return GpuDriverError(f"{what}, and TVM's runtime needs CUDA {_version(NEEDED)}", _DRIVER)


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"

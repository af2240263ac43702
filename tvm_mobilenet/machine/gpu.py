"""One graphics processor, as the schedules, the predictions and the loader see it.

Numbers are those of one well-known member of each family. A schedule is right on every
other one; its rule fills this one.

Sources: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"
and "Throughput of Native Arithmetic Instructions"; NVIDIA's data sheets of T4, A10,
A100, L4, H100, H200 and Jetson AGX Orin; Arm's Mali-G78 and Qualcomm's Adreno OpenCL
programming guides; Apple's Metal feature set tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine.arithmetic import Dtype

GpuKind = Literal["cuda", "opencl", "metal"]
STORED: tuple[Dtype, ...] = ("float32", "float16")
"""What maps and weights can be stored as."""

LANE_BYTES = 16
"""Bytes of a block of channels: the widest load of a thread."""

REGISTER_BYTES = 4
"""Bytes of a register of one thread."""

SCHEDULERS = 4
"""Schedulers of a unit: each issues for one warp at a time."""

WAVEFRONT_BYTES = 128
"""Bytes that a unit's L1 or shared memory gives in a cycle, if they are neighbours."""

UNIT_BYTES = 64
"""Bytes a clock that one unit takes from L2 at most."""

_KIB, _MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """A graphics processor.

    Attributes
    ----------
    kind : {"cuda", "opencl", "metal"}
        The language of its kernels.
    arch : str
        Compute capability as ``"sm_90"``; ``""`` where the driver compiles at load.
    chip : str
        The member of the family that the numbers are of, for people.
    units : int
        Streaming multiprocessors, compute units or cores.
    warp : int
        Threads that run in step: warp, subgroup, SIMD group.
    block_threads : int
        Most threads of a block (work-group, threadgroup).
    unit_threads, unit_blocks : int
        Most threads and blocks that a unit holds at a time.
    unit_registers : int
        32-bit registers of a unit.
    thread_registers : int
        Most 32-bit registers of a thread.
    block_shared, unit_shared : int
        Shared (local, threadgroup) memory, bytes: of a block without asking for more than
        the default, and of a unit. `block_shared` of 0 says that it is not worth using.
    l2_bytes : int
        Last cache before memory, bytes.
    clock_mhz : int
        At most.
    memory_gbs : int
        Memory bandwidth, 10**9 bytes a second.
    fp32_macs, fp16_macs, tensor_macs : int
        Multiply-adds a clock of one unit: float32, float16, and float16 matrices with
        float32 sums; 0 where there are none.
    """

    kind: GpuKind
    arch: str
    chip: str
    units: int
    warp: int
    block_threads: int
    unit_threads: int
    unit_blocks: int
    unit_registers: int
    thread_registers: int
    block_shared: int
    unit_shared: int
    l2_bytes: int
    clock_mhz: int
    memory_gbs: int
    fp32_macs: int
    fp16_macs: int
    tensor_macs: int

    @property
    def capability(self) -> tuple[int, int]:
        """CUDA's compute capability: (9, 0) for sm_90; (0, 0) elsewhere."""
        digits = self.arch.removeprefix("sm_")
        return (int(digits[:-1]), int(digits[-1])) if digits else (0, 0)

    def resident_blocks(self, threads: int, registers: int, shared: int) -> int:
        """Return how many blocks of a kernel a unit holds at a time.

        Parameters
        ----------
        threads : int
            Threads of a block.
        registers : int
            Registers of a thread.
        shared : int
            Shared memory of a block, bytes.

        Notes
        -----
        CUDA gives registers to warps in units of 256, and keeps 1 KiB of shared memory
        of each block for itself from compute capability 8.0 on (CUDA C++ Programming
        Guide, 16.x); the same granularity is assumed elsewhere.
        """
        warps = -(-threads // self.warp)
        granule = 256
        each = -(-max(registers, 1) * self.warp // granule) * granule * warps
        kept = _KIB if self.capability >= (8, 0) else 0
        limits = [self.unit_blocks, self.unit_threads // (warps * self.warp)]
        limits.append(self.unit_registers // each)
        if shared:
            limits.append(self.unit_shared // (shared + kept))
        return max(min(limits), 0)

    def to_dict(self) -> dict[str, object]:
        """Return the fields as JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GpuSpec:
        """Rebuild what :meth:`to_dict` wrote.

        Raises
        ------
        TargetError
            A field is missing, unknown, or of the wrong type.
        """
        fields = {f.name: str(f.type) for f in dataclasses.fields(cls)}
        if odd := sorted(set(fields) ^ set(data)):
            raise TargetError(
                f"a GPU's description has missing or unknown fields: {', '.join(odd)}",
                "write it with TargetSpec.to_dict of the same version",
            )
        for name, kind in fields.items():
            value = data[name]
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            if not (whole if kind == "int" else isinstance(value, str)):
                raise TargetError(
                    f"field {name!r} of a GPU's description is {value!r}, not {kind}",
                    "write it with TargetSpec.to_dict",
                )
        if data["kind"] not in get_args(GpuKind):
            raise TargetError(
                f"GPU kind {data['kind']!r} is not known", "use cuda, opencl or metal"
            )
        return cls(**data)


def _cuda(  # noqa: PLR0917  a row of NVIDIA's table
    arch: str,
    chip: str,
    units: int,
    unit_threads: int,
    unit_blocks: int,
    unit_shared: int,
    l2_mib: int,
    clock_mhz: int,
    memory_gbs: int,
    macs: tuple[int, int, int],
) -> GpuSpec:
    return GpuSpec(
        kind="cuda",
        arch=arch,
        chip=chip,
        units=units,
        warp=32,
        block_threads=1024,
        unit_threads=unit_threads,
        unit_blocks=unit_blocks,
        unit_registers=1 << 16,
        thread_registers=255,
        block_shared=48 * _KIB,
        unit_shared=unit_shared * _KIB,
        l2_bytes=l2_mib * _MIB,
        clock_mhz=clock_mhz,
        memory_gbs=memory_gbs,
        fp32_macs=macs[0],
        fp16_macs=macs[1],
        tensor_macs=macs[2],
    )


def _other(  # noqa: PLR0917  a row of a vendor's table
    kind: GpuKind,
    chip: str,
    units: int,
    warp: int,
    threads: tuple[int, int],
    unit_registers: int,
    block_shared: int,
    l2_kib: int,
    clock_mhz: int,
    memory_gbs: int,
    macs: tuple[int, int],
) -> GpuSpec:
    return GpuSpec(
        kind=kind,
        arch="",
        chip=chip,
        units=units,
        warp=warp,
        block_threads=threads[0],
        unit_threads=threads[1],
        unit_blocks=16,
        unit_registers=unit_registers,
        thread_registers=128,
        block_shared=block_shared,
        unit_shared=max(block_shared, 32 * _KIB),
        l2_bytes=l2_kib * _KIB,
        clock_mhz=clock_mhz,
        memory_gbs=memory_gbs,
        fp32_macs=macs[0],
        fp16_macs=macs[1],
        tensor_macs=0,
    )


GPUS: MappingProxyType[str, GpuSpec] = MappingProxyType(
    {
        "sm_75": _cuda("sm_75", "T4", 40, 1024, 16, 64, 4, 1590, 320, (64, 128, 512)),
        "sm_80": _cuda("sm_80", "A100", 108, 2048, 32, 164, 40, 1410, 1555, (64, 256, 1024)),
        "sm_86": _cuda("sm_86", "A10", 72, 1536, 16, 100, 6, 1695, 600, (128, 128, 512)),
        "sm_87": _cuda("sm_87", "AGX Orin", 16, 1536, 16, 164, 4, 1300, 204, (128, 256, 1024)),
        "sm_89": _cuda("sm_89", "L4", 58, 1536, 24, 100, 48, 2040, 300, (128, 128, 512)),
        "sm_90": _cuda("sm_90", "H100", 132, 2048, 32, 228, 50, 1830, 3350, (128, 256, 2048)),
        "h200": _cuda("sm_90", "H200", 132, 2048, 32, 228, 50, 1830, 4800, (128, 256, 2048)),
        # What any OpenCL 1.2 GPU has, at the size of an integrated one.
        "opencl": _other(
            "opencl", "desktop", 24, 32, (256, 1024), 1 << 16, 32 * _KIB, 2048, 1300, 100, (64, 64)
        ),
        # Mali's local memory is ordinary memory: staging there gains nothing.
        "opencl-mali": _other(
            "opencl", "Mali-G78 MP14", 14, 16, (256, 1024), 1 << 15, 0, 1024, 850, 51, (32, 64)
        ),
        "opencl-adreno": _other(
            "opencl", "Adreno 650", 3, 64, (256, 1024), 1 << 15, 0, 1024, 587, 44, (256, 512)
        ),
        "metal": _other(
            "metal", "M1", 8, 32, (1024, 1024), 53248, 32 * _KIB, 8192, 1278, 68, (128, 128)
        ),
    }
)
"""GPUs by the name that ``--target`` takes."""

"""What an artifact is for, as the schedules, the linker and the loader see it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from tvm_mobilenet.common.limits import MOST_CORES
from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine.arithmetic import (
    HALF_PRODUCTS,
    ITEM_BYTES,
    Arithmetic,
    Dtype,
    Isa,
    arithmetic_of,
    has_products,
)
from tvm_mobilenet.machine.gpu import LANE_BYTES, STORED, GpuSpec
from tvm_mobilenet.machine.triples import Libc, libc_of, machine_of

_SIXTEEN = {
    "bfloat16": "those of AVX-512 BF16 (--mattr=+avx512bf16) and of ARM's BF16 (--mattr=+bf16) do",
    "float16": "ARM's of 64 bits does (rpi5, or --mattr=+fullfp16), and so do GPUs such as sm_90",
}
"""Types of 16 bits that processors multiply, and which do."""

_WORD = re.compile(r"[+-]?[A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """A processor: how LLVM names it, and what a schedule may count on; or a GPU and its host.

    With a `gpu`, the other fields but `lanes` and `dtype` are of the processor that its host
    code runs on.

    Attributes
    ----------
    name : str
        ``"native"``, a preset's name, or the triple.
    triple : str
        LLVM target triple, e.g. ``"aarch64-linux-gnu"``.
    cpu : str
        LLVM processor name (``mcpu``); ``""`` is the architecture's baseline.
    features : tuple of str
        LLVM feature switches (``mattr``) on top of `cpu`, e.g. ``"+dotprod"``.
    isa : {"avx512", "avx2", "sse", "neon", "neon32", "rvv", "scalar"}
        The vector instruction set that schedules are chosen by.
    lanes : int
        float32 elements in a vector register (1 for ``"scalar"``), as :meth:`arithmetic` says
        too; on a GPU, elements of `dtype` in the widest load of a thread. A block of channels
        is as large.
    registers : int
        Architectural vector registers (for ``"scalar"``, float registers), as there.
    fma : bool
        Whether multiply and add are one instruction.
    l1_bytes, l2_bytes : int
        Data caches, bytes per core: a cache that cores share counts divided
        by the cores that share it. 0 if there is none.
    l3_bytes : int
        Last-level cache beyond L2, bytes over all `cores`. 0 if there is none.
    cores : int
        Physical cores that the compiled code may use.
    needs : tuple of str
        Features, as ``/proc/cpuinfo`` spells them, without which code that
        LLVM emits for `cpu` and `features` may die of an illegal instruction.
        Sorted. Features that compilers use only when asked by an intrinsic
        (AES, SHA, CRC, system instructions) are not among them.
    gpu : GpuSpec or None
        The graphics processor that the kernels run on.
    dtype : {"float32", "float16", "bfloat16"}
        What maps and weights are stored as; sums are float32, but see :attr:`half_products`. A
        processor has an instruction that multiplies it; bfloat16 is not of GPUs.
    """

    name: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    isa: Isa
    lanes: int
    registers: int
    fma: bool
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    cores: int
    needs: tuple[str, ...]
    gpu: GpuSpec | None = None
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        if not 1 <= self.cores <= MOST_CORES:
            raise TargetError(
                f"a target has between 1 and {MOST_CORES} cores, not {self.cores}",
                "give how many the code may use, by --cores or in the description",
            )
        if self.lanes < 1 or self.registers < 1:
            raise TargetError(
                f"a target with {self.lanes} lanes and {self.registers} registers cannot be",
                "write it with TargetSpec.to_dict",
            )

    @property
    def item_bytes(self) -> int:
        """Bytes of an element of a map."""
        return ITEM_BYTES[self.dtype]

    @property
    def in_sixteen_bits(self) -> bool:
        """Whether a processor stores maps and weights in 16 bits: its kernels are written."""
        return self.gpu is None and self.dtype in _SIXTEEN

    @property
    def half_products(self) -> int:
        """Products whose sums are float16 before they go on in float32; 0 where all are float32."""
        return HALF_PRODUCTS if self.gpu is None and self.dtype == "float16" else 0

    def on_gpu(self, name: str, gpu: GpuSpec, dtype: Dtype = "float32") -> TargetSpec:
        """Return the target of a GPU whose host is this processor.

        Parameters
        ----------
        name : str
            ``"sm_90"``, ``"opencl"``, …
        gpu : GpuSpec
            What the kernels run on.
        dtype : {"float32", "float16"}
            What maps and weights are stored as.

        Raises
        ------
        TargetError
            There is no such type.
        """
        if dtype not in STORED:
            raise TargetError(
                f"dtype {dtype!r} is not one of a network's maps", f"use {' or '.join(STORED)}"
            )
        lanes = LANE_BYTES // ITEM_BYTES[dtype]
        return dataclasses.replace(self, name=name, gpu=gpu, dtype=dtype, lanes=lanes)

    def storing(self, dtype: Dtype) -> TargetSpec:
        """Return the same processor, with maps and weights of a type.

        Parameters
        ----------
        dtype : {"float32", "float16", "bfloat16"}
            What they are stored as.

        Raises
        ------
        TargetError
            It does not multiply that type.
        """
        if dtype == "float32":
            return dataclasses.replace(self, dtype=dtype)
        if not has_products(self.isa, self.needs, dtype):
            raise TargetError(
                f"target {self.name!r} has no instruction that we multiply {dtype} by",
                f"{_SIXTEEN[dtype]}; leave --dtype out for another",
            )
        return dataclasses.replace(self, dtype=dtype)

    @property
    def the_gpu(self) -> GpuSpec:
        """The GPU, where it is known that there is one."""
        assert self.gpu is not None
        return self.gpu

    @property
    def processor(self) -> TargetSpec:
        """The processor alone, to generate code for: of a GPU, its host."""
        return dataclasses.replace(self, gpu=None, dtype="float32")

    @property
    def core(self) -> str:
        """LLVM's name of the processor whose speed is assumed: an unknown ARM64 is a small one."""
        return self.cpu or ("cortex-a72" if self.isa == "neon" else "")

    def arithmetic(self, dtype: Dtype) -> Arithmetic:
        """Return how the processor (of a GPU, its host) multiplies numbers of a type.

        Raises
        ------
        TargetError
            int32, which holds sums and is never multiplied.
        """
        return arithmetic_of(self.isa, self.core, self.needs, dtype)

    @property
    def machine(self) -> str:
        """ELF machine: ``"x86_64"``, ``"aarch64"``, ``"arm"`` or ``"riscv64"``."""
        return machine_of(self.triple)

    @property
    def libc(self) -> Libc:
        """C library that the artifact is linked for; musl has the C interface only."""
        return libc_of(self.triple)

    @property
    def os(self) -> str:
        """Operating system; ``"linux"`` is the only one that artifacts are for."""
        return "linux"

    def tvm_dict(self) -> dict[str, object]:
        """Return the dictionary that ``tvm.target.Target`` takes.

        Returns
        -------
        dict
            ``kind``, ``mtriple``, ``num-cores``, and ``mcpu`` / ``mattr`` where
            they say something; on 32-bit ARM the float ABI, which TVM does not take
            from the triple (its objects would not link with gnueabihf's). Of a GPU its
            kind and limits, and that dictionary as ``host``.
        """
        if self.gpu is not None:
            return self._gpu_dict(self.gpu)
        options: dict[str, object] = {"kind": "llvm", "mtriple": self.triple}
        if self.cpu:
            options["mcpu"] = self.cpu
        if self.features:
            options["mattr"] = list(self.features)
        if self.machine == "arm":
            options["mfloat-abi"] = "hard"
        options["num-cores"] = self.cores
        return options

    def _gpu_dict(self, gpu: GpuSpec) -> dict[str, object]:
        options: dict[str, object] = {"kind": gpu.kind, "host": self.processor.tvm_dict()}
        if gpu.arch:
            options["arch"] = gpu.arch
        options["thread_warp_size"] = gpu.warp
        options["max_num_threads"] = gpu.block_threads
        options["max_threads_per_block"] = gpu.block_threads
        options["max_shared_memory_per_block"] = max(gpu.block_shared, 32 << 10)
        return options

    def describe(self) -> dict[str, str]:
        """Return one row of a table for people, column title → text."""
        if self.gpu is not None:
            return {
                "target": self.name,
                "kernels": f"{self.gpu.kind} {self.gpu.arch}".strip(),
                "like": self.gpu.chip,
                "units": str(self.gpu.units),
                "warp": str(self.gpu.warp),
                "registers": str(self.gpu.unit_registers),
                "shared": _size(self.gpu.unit_shared),
                "L2": _size(self.gpu.l2_bytes),
                "GB/s": str(self.gpu.memory_gbs),
                "dtype": self.dtype,
                "host": self.triple,
            }
        return {
            "target": self.name,
            "triple": self.triple,
            "cpu": " ".join([self.cpu or "baseline", *self.features]),
            "isa": self.isa,
            "lanes": str(self.lanes),
            "registers": str(self.registers),
            "fma": "yes" if self.fma else "no",
            "L1d": _size(self.l1_bytes),
            "L2": _size(self.l2_bytes),
            "L3": _size(self.l3_bytes),
            "cores": str(self.cores),
        }

    def to_dict(self) -> dict[str, object]:
        """Return the fields as JSON types, for a manifest."""
        fields = dataclasses.asdict(self)
        if self.gpu is None:  # as before there were GPUs
            del fields["gpu"]
            if self.dtype == "float32":
                del fields["dtype"]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TargetSpec:
        """Rebuild what :meth:`to_dict` wrote.

        Raises
        ------
        TargetError
            A field is missing, unknown, or of the wrong type.
        """
        expected = {f.name: f.type for f in dataclasses.fields(cls)}
        if "gpu" not in data:
            del expected["gpu"]
            if "dtype" not in data:
                del expected["dtype"]
        if odd := sorted(set(expected) ^ set(data)):
            raise TargetError(
                f"a target description has missing or unknown fields: {', '.join(odd)}",
                "write it with TargetSpec.to_dict of the same version",
            )
        values: dict[str, Any] = {}
        for field, kind in expected.items():
            value = data[field]
            if not _fits(value, str(kind)):
                raise TargetError(
                    f"field {field!r} of a target description is {value!r}, not {kind}",
                    "write it with TargetSpec.to_dict",
                )
            values[field] = tuple(value) if isinstance(value, list) else value
        if "gpu" in values:
            values["gpu"] = GpuSpec.from_dict(values["gpu"])
        machine_of(values["triple"])
        for word in (values["cpu"], *values["features"]):
            if not _WORD.fullmatch(word):
                raise TargetError(
                    f"{word[:80]!r} is no processor or feature of LLVM's",
                    "write it with TargetSpec.to_dict",
                )
        return cls(**values)


def _fits(value: object, kind: str) -> bool:
    if kind == "Isa":
        return value in get_args(Isa)
    if kind == "Dtype":
        return value in (*STORED, "bfloat16")
    if kind == "GpuSpec | None":
        return isinstance(value, Mapping)
    if kind == "tuple[str, ...]":
        return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
    if kind == "int":  # bool is an int to Python, never to a manifest
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, {"str": str, "bool": bool}[kind])


def _size(n: int) -> str:
    if n == 0:
        return "-"
    return f"{n >> 10} KiB" if n % (1 << 20) else f"{n >> 20} MiB"

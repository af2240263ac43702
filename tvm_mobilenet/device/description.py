"""What a board is: its processor, and the TVM that runs there."""

from __future__ import annotations

import os
import re
import statistics
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.common.stacks import PACKAGES, SIGNIFICANT, Stack, versions_of
from tvm_mobilenet.device.connection import Connection
from tvm_mobilenet.errors import AbiError
from tvm_mobilenet.machine.features import HWCAPS
from tvm_mobilenet.machine.host import features_of, named_in
from tvm_mobilenet.machine.spec import TargetSpec
from tvm_mobilenet.machine.this_machine import describe_machine
from tvm_mobilenet.machine.topology import cpu_list

_CPUS = "/sys/devices/system/cpu/cpu[0-9]*"
_PATTERNS = (
    f"{_CPUS}/topology/thread_siblings_list",
    *(f"{_CPUS}/cache/index*/{name}" for name in ("type", "size", "level", "shared_cpu_list")),
)
_PINGS = 5

EMULATED = "emulated by QEMU"
"""In the name of a machine that is none."""


@dataclass(frozen=True, slots=True)
class Description:
    """A board, as :meth:`tvm_mobilenet.device.Device.describe` found it.

    Attributes
    ----------
    where : str
        Its address.
    target : TargetSpec
        What to compile for to use all of it, as ``native`` would be there.
    features : tuple of str
        What its processor can run, as ``/proc/cpuinfo`` spells it; sorted.
    tvm, tvm_ffi : str
        Versions there; ``""`` where they cannot be told. TVM 0.19 has no tvm_ffi.
    round_trip_ms : float
        Median time of a call that does nothing.
    stack : {"relax", "relay"}
        Whose TVM the session that asked was opened with.
    machine : str
        What it calls itself, for people.
    emulated : bool
        Its times mean nothing.
    """

    where: str
    target: TargetSpec
    features: tuple[str, ...]
    tvm: str
    tvm_ffi: str
    round_trip_ms: float
    stack: Stack
    machine: str = ""
    emulated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "device": self.where,
            "machine": self.machine,
            "emulated": self.emulated,
            "triple": self.target.triple,
            "cpu": self.target.cpu,
            "cores": self.target.cores,
            "features": list(self.features),
            "tvm": self.tvm,
            "tvm_ffi": self.tvm_ffi,
            "round_trip_ms": self.round_trip_ms,
            "target": self.target.to_dict(),
        }

    def check_versions(self) -> None:
        """Refuse another TVM than the one here.

        Raises
        ------
        AbiError
            What is compiled here may not run there, nor may the two talk to each other.
        """
        here = versions_of(self.stack)
        for package, there in self.versions.items():
            parts = SIGNIFICANT[package]
            if there.split(".")[:parts] != here[package].split(".")[:parts]:
                raise AbiError(
                    f"{self.where} has {package} {there or 'of an unknown version'}, "
                    f"and {here[package]} is installed here",
                    f"install the same there: `pip install {package}=={here[package]}`",
                )

    @property
    def versions(self) -> dict[str, str]:
        """What is there of this stack's packages."""
        found = {"tvm": self.tvm, "tvm_ffi": self.tvm_ffi}
        return {package: found[key] for package, key in PACKAGES[self.stack].items()}


def describe(session: Connection) -> Description:
    """Ask a board what it is.

    Raises
    ------
    DeviceError
        From the session.
    TargetError
        A 32-bit ARM processor without NEON.
    """
    where = session.where

    def one(path: str) -> bytes:
        return next(iter(session.files(path).values()), b"")

    machine = session.machine
    cpuinfo = one("/proc/cpuinfo").decode(errors="replace")
    hwcaps = _auxiliary(one("/proc/self/auxv")) if machine in HWCAPS else None
    status = one("/proc/self/status").decode(errors="replace")
    allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)", status, re.MULTILINE)
    files = {path: text for p in _PATTERNS for path, text in session.files(p).items()}
    with scratch() as folder:
        for path, content in files.items():
            copy = Path(folder) / os.path.relpath(path, "/sys/devices/system/cpu")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        target = describe_machine(
            machine,
            cpuinfo,
            hwcaps,
            Path(folder),
            cpu_list(allowed[1] if allowed else "0"),
        )
    maps = one("/proc/self/maps").decode(errors="replace")
    classic = session.stack == "relay"
    return Description(
        where,
        target,
        tuple(sorted(features_of(machine, cpuinfo, hwcaps))),
        *((_classic_version(session, maps), "") if classic else _versions(session, maps)),
        _round_trip_ms(session),
        session.stack,
        *_machine(session, cpuinfo, target),
    )


def _machine(session: Connection, cpuinfo: str, target: TargetSpec) -> tuple[str, bool]:
    """Return what a board calls itself, and whether another machine plays it."""

    def line(path: str) -> str:
        content = next(iter(session.files(path).values()), b"")
        return content.decode(errors="replace").strip("\0\n ")

    # Under QEMU's user mode, these two are the real machine's.
    kernel = line("/proc/sys/kernel/arch") or target.machine
    foreign = (kernel == "x86_64") != (target.machine == "x86_64")
    if line("/proc/self/comm").startswith("qemu-") or foreign:
        return f"{target.machine}, {EMULATED}", True
    name = line("/proc/device-tree/model") or named_in(cpuinfo)
    return name or target.cpu or target.machine, False


def _auxiliary(data: bytes) -> tuple[int, int]:
    """Return the feature words of an auxiliary vector, 32 or 64 bits wide."""
    # The wide form ends with a pair of zeros and holds AT_PAGESZ (6) as a plain key.
    for form in ("<QQ", "<II"):
        pairs = dict(
            struct.iter_unpack(
                form, data[: len(data) // struct.calcsize(form) * struct.calcsize(form)]
            )
        )
        if 6 in pairs and 0 < pairs[6] <= 1 << 20:
            return pairs.get(16, 0), pairs.get(26, 0)  # AT_HWCAP, AT_HWCAP2
    return 0, 0


def _versions(session: Connection, maps: str) -> tuple[str, str]:
    """Read the versions off the folders beside the TVM that is loaded there."""
    found = dict.fromkeys(("apache_tvm", "apache_tvm_ffi"), "")
    libraries = {
        "apache_tvm": "tvm/lib/libtvm_runtime.so",
        "apache_tvm_ffi": "tvm_ffi/lib/libtvm_ffi.so",
    }
    for name, library in libraries.items():
        place = re.search(rf"(/\S*)/{re.escape(library)}$", maps, re.MULTILINE)
        if place is None:
            continue
        for path in session.files(f"{_literal(place[1])}/{name}-*.dist-info/WHEEL"):
            found[name] = path.rsplit("/", 2)[1].removeprefix(f"{name}-").removesuffix(".dist-info")
    return found["apache_tvm"], found["apache_tvm_ffi"]


def _classic_version(session: Connection, maps: str) -> str:
    """Read the version off the Python beside the TVM 0.19 that is loaded there."""
    place = re.search(r"(/\S*)/libtvm(_runtime)?\.so$", maps, re.MULTILINE)
    if place is None:
        return ""
    # Of a wheel, and of a build in TVM's own source.
    for beside in ("_ffi", "../python/tvm/_ffi"):
        for content in session.files(f"{_literal(place[1])}/{beside}/libinfo.py").values():
            if stated := re.search(rb'^__version__ = "([^"]+)"', content, re.MULTILINE):
                return stated[1].decode()
    return ""


def _literal(path: str) -> str:
    """Return the pattern that matches a path alone."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _round_trip_ms(session: Connection) -> float:
    spans = []
    for _ in range(_PINGS):
        start = time.perf_counter()
        session.ping()
        spans.append(time.perf_counter() - start)
    return statistics.median(spans) * 1e3

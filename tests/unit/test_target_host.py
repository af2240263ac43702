"""Host detection: this machine, and others by what their kernels publish."""

from __future__ import annotations

import dataclasses
import mmap
import struct
import sys
from pathlib import Path

import pytest

from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine import (
    PRESETS,
    host,
    host_cpu_features,
    host_machine,
    parse,
    validate_with_llvm,
)
from tvm_mobilenet.machine.features import CPU_NEEDS, HWCAP_ARM
from tvm_mobilenet.machine.host import _auxiliary_value, auxiliary, features_of, host_libc
from tvm_mobilenet.machine.this_machine import describe_machine

KIB, MIB = 1 << 10, 1 << 20


def x86(vendor: str, family: int, model: int, flags: tuple[str, ...], stepping: int = 1) -> str:
    core = (
        f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
        f"model name\t: some\nstepping\t: {stepping}\nflags\t\t: fpu {' '.join(flags)}\n\n"
    )
    return core * 2


def arm(features: str, *parts: int) -> str:
    return "".join(
        f"processor\t: {i}\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU part\t: {part:#x}\n\n"
        for i, part in enumerate(parts)
    )


def needs(cpu: str) -> tuple[str, ...]:
    return CPU_NEEDS["x86_64", cpu]


@pytest.mark.parametrize(
    ("cpuinfo", "cpu"),
    [
        (x86("AuthenticAMD", 25, 17, needs("znver4")), "znver4"),
        (x86("AuthenticAMD", 26, 2, needs("znver5")), "znver5"),
        (x86("AuthenticAMD", 25, 1, needs("znver3")), "znver3"),
        (x86("AuthenticAMD", 23, 49, needs("znver2")), "znver2"),
        (x86("GenuineIntel", 6, 85, needs("skylake-avx512"), 4), "skylake-avx512"),
        (x86("GenuineIntel", 6, 85, needs("cascadelake"), 7), "cascadelake"),
        (x86("GenuineIntel", 6, 106, needs("icelake-server")), "icelake-server"),
        (x86("GenuineIntel", 6, 143, needs("sapphirerapids")), "sapphirerapids"),
        (x86("GenuineIntel", 6, 63, needs("haswell")), "haswell"),
        # A virtual machine that hides a feature of its processor gets the level.
        (x86("AuthenticAMD", 25, 17, tuple(set(needs("znver4")) - {"gfni"})), "x86-64-v4"),
        (x86("AuthenticAMD", 25, 17, needs("x86-64-v3")), "x86-64-v3"),
        (x86("GenuineIntel", 6, 58, (*needs("x86-64-v2"), "avx", "f16c")), "x86-64-v2"),
        (x86("CentaurHauls", 7, 0, needs("x86-64")), "x86-64"),
        # Cores that differ: only what all have counts.
        (
            x86("GenuineIntel", 6, 0, needs("x86-64-v4"))
            + x86("GenuineIntel", 6, 0, needs("x86-64-v3")),
            "x86-64-v3",
        ),
        ("", "x86-64"),
    ],
)
def test_x86_machines(cpuinfo: str, cpu: str, tmp_path: Path) -> None:
    spec = host(cpuinfo=cpuinfo, sysfs=tmp_path, machine="x86_64", affinity=[0])
    assert (spec.name, spec.cpu) == ("native", cpu)
    assert spec.needs == needs(cpu)
    validate_with_llvm(spec)


PI4 = "fp asimd evtstrm crc32 cpuid"
PI5 = PI4 + " aes pmull sha1 sha2 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
PI2 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "cpu", "isa"),
    [
        ("aarch64", arm(PI4, 0xD08, 0xD08), "cortex-a72", "neon"),
        ("aarch64", arm(PI5, 0xD0B), "cortex-a76", "neon"),
        ("aarch64", arm(PI4, 0xD0B), "", "neon"),  # says Cortex-A76, lacks its features
        ("aarch64", arm(PI4, 0xD03, 0xD08), "cortex-a72", "neon"),  # big.LITTLE
        ("aarch64", arm(PI4, 0xD03, 0xFFF), "", "neon"),
        ("aarch64", arm(PI4, 0xFFF), "", "neon"),
        ("arm", arm(PI2, 0xC07), "cortex-a7", "neon32"),
        ("arm", arm(PI2 + " crc32", 0xD08), "cortex-a72", "neon32"),
        ("arm", arm(PI2, 0xC0F), "", "neon32"),
    ],
)
def test_arm_machines(machine: str, cpuinfo: str, cpu: str, isa: str, tmp_path: Path) -> None:
    spec = host(cpuinfo=cpuinfo, sysfs=tmp_path, machine=machine, affinity=[0])
    assert (spec.cpu, spec.isa, spec.machine) == (cpu, isa, machine)
    assert spec.fma
    assert set(spec.needs) <= set(cpuinfo.split())
    assert spec.l1_bytes >= 32 * KIB  # no sysfs: from the table
    validate_with_llvm(spec)


M1 = PI5 + " sha3 asimdfhm uscat ilrcpc flagm jscvt fcma flagm2 frint"
SVE = M1 + " sm3 sm4 sve bf16 i8mm"

# Features; implementer, part, cores, KiB of L1d and L2, cores that share L2; KiB of L3. What is
# planned for: LLVM's name, KiB of L1d, L2 for a core, and L3, cores.
BOARDS = [
    (PI4, [(0x41, 0xD03, 4, 32, 512, 4)], 0, ("cortex-a53", 32, 128, 0, 4)),  # Pi 3, Zero 2 W
    (PI4, [(0x41, 0xD08, 4, 32, 1024, 4)], 0, ("cortex-a72", 32, 256, 0, 4)),  # Pi 4
    (PI5, [(0x41, 0xD0B, 4, 64, 512, 1)], 2048, ("cortex-a76", 64, 512, 2048, 4)),  # Pi 5
    (  # RK3399
        PI4,
        [(0x41, 0xD03, 4, 32, 512, 4), (0x41, 0xD08, 2, 32, 1024, 2)],
        0,
        ("cortex-a72", 32, 512, 0, 2),
    ),
    (  # RK3588
        PI5,
        [(0x41, 0xD05, 4, 32, 128, 1), (0x41, 0xD0B, 4, 64, 512, 1)],
        3072,
        ("cortex-a76", 64, 512, 3072, 4),
    ),
    (PI4, [(0x41, 0xD07, 4, 32, 2048, 4)], 0, ("cortex-a57", 32, 512, 0, 4)),  # Jetson Nano
    (PI5, [(0x4E, 0x004, 8, 64, 2048, 2)], 4096, ("carmel", 64, 1024, 4096, 8)),  # Xavier
    (PI5, [(0x41, 0xD42, 8, 64, 256, 1)], 4096, ("cortex-a78ae", 64, 256, 4096, 8)),  # Orin
    (PI5, [(0x41, 0xD0C, 4, 64, 1024, 1)], 32768, ("neoverse-n1", 64, 1024, 32768, 4)),  # Altra
    (SVE, [(0x41, 0xD40, 4, 64, 1024, 1)], 32768, ("neoverse-v1", 64, 1024, 32768, 4)),
    (SVE + " sve2", [(0x41, 0xD4F, 4, 64, 2048, 1)], 36864, ("neoverse-v2", 64, 2048, 36864, 4)),
    (  # M1: small cores of the same name
        M1,
        [(0x61, 0x022, 4, 64, 4096, 4), (0x61, 0x023, 4, 128, 12288, 4)],
        0,
        ("apple-a14", 128, 3072, 0, 4),
    ),
    (  # Snapdragon 888: three kinds
        PI5,
        [(0x41, 0xD05, 4, 32, 128, 1), (0x41, 0xD41, 3, 64, 512, 1), (0x41, 0xD44, 1, 64, 1024, 1)],
        4096,
        ("cortex-x1", 64, 512, 4096, 4),
    ),
    (SVE, [(0xC0, 0xAC3, 4, 64, 2048, 1)], 65536, ("ampere1", 64, 2048, 65536, 4)),
]


@pytest.mark.parametrize(("features", "clusters", "l3", "planned"), BOARDS)
def test_common_boards(
    features: str,
    clusters: list[tuple[int, int, int, int, int, int]],
    l3: int,
    planned: tuple[str, int, int, int, int],
    tmp_path: Path,
) -> None:
    """Name and caches; of large and small cores, those of the large."""
    text, number = "", 0
    everyone = f"0-{sum(cluster[2] for cluster in clusters) - 1}"
    for implementer, part, count, l1, l2, shared in clusters:
        for cpu in range(number, number + count):
            first = number + (cpu - number) // shared * shared
            caches = [
                (1, "Data", f"{l1}K", str(cpu)),
                (2, "Unified", f"{l2}K", f"{first}-{first + shared - 1}"),
                *([(3, "Unified", f"{l3}K", everyone)] if l3 else []),
            ]
            published(tmp_path, cpu, caches, str(cpu))
            text += (
                f"processor\t: {cpu}\nFeatures\t: {features}\n"
                f"CPU implementer\t: {implementer:#x}\nCPU part\t: {part:#05x}\n\n"
            )
        number += count
    spec = host(cpuinfo=text, sysfs=tmp_path, machine="aarch64", affinity=range(number))
    kib = (spec.l1_bytes // KIB, spec.l2_bytes // KIB, spec.l3_bytes // KIB)
    assert (spec.cpu, *kib, spec.cores) == planned
    validate_with_llvm(spec)
    if len(clusters) > 1:  # a process that may use small cores alone has those
        small = range(clusters[0][2])
        only = host(cpuinfo=text, sysfs=tmp_path, machine="aarch64", affinity=small)
        assert (only.cores, only.l1_bytes) == (clusters[0][2], clusters[0][3] * KIB)


@pytest.mark.parametrize(("bits", "isa"), [(0b1000000101101, "scalar"), (1 << 21, "rvv")])
def test_risc_v_machines(bits: int, isa: str, tmp_path: Path) -> None:
    spec = describe_machine("riscv64", "", (bits, 0), tmp_path, [0])
    assert (spec.isa, spec.needs) == (isa, ("v",) if isa == "rvv" else ())
    validate_with_llvm(spec)


@pytest.mark.parametrize(("answer", "libc"), [("glibc 2.36", "glibc"), (None, "musl")])
def test_the_c_library_is_the_process_s(
    answer: str | None, libc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.confstr", lambda name: answer)
    assert host_libc() == libc
    assert host().libc == libc


def test_old_arm_without_neon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="NEON"):
        host(cpuinfo=arm("half vfp vfpv3d16", 0xC09), sysfs=tmp_path, machine="arm", affinity=[0])


def test_32_bit_process_on_a_64_bit_kernel_reads_the_auxiliary_vector() -> None:
    bits = (
        sum(1 << HWCAP_ARM[0][n] for n in ("vfp", "neon", "vfpv4")),
        1 << HWCAP_ARM[1]["crc32"],
    )
    assert features_of("arm", arm(PI4, 0xD08), bits) == {"vfp", "neon", "vfpv4", "crc32"}
    assert features_of("aarch64", "flags : avx2 sse\n", (0b11, 0)) == {"fp", "asimd"}


def test_auxiliary_vector_is_the_kernels() -> None:
    assert _auxiliary_value(6) == mmap.PAGESIZE  # AT_PAGESZ
    kernels = dict(struct.iter_unpack("@LL", Path("/proc/self/auxv").read_bytes()))
    assert _auxiliary_value(26) == kernels.get(26, 0)  # AT_HWCAP2
    assert auxiliary("x86_64") is None
    assert auxiliary("aarch64") == (_auxiliary_value(16), _auxiliary_value(26))


def sysfs(
    root: Path, cpus: int, caches: list[tuple[int, str, str, list[str]]], siblings: list[str]
) -> Path:
    """Write what the kernel publishes; a cache is level, type, size, sharers by processor."""
    for cpu in range(cpus):
        own = [(level, kind, size, sharers[cpu]) for level, kind, size, sharers in caches]
        published(root, cpu, own, siblings[cpu])
    return root


def published(root: Path, cpu: int, caches: list[tuple[int, str, str, str]], siblings: str) -> None:
    """Write what the kernel publishes of one processor."""
    topology = root / f"cpu{cpu}" / "topology"
    topology.mkdir(parents=True)
    (topology / "thread_siblings_list").write_text(siblings + "\n")
    for index, cache in enumerate(caches):
        folder = root / f"cpu{cpu}" / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        for name, value in zip(("level", "type", "size", "shared_cpu_list"), cache, strict=True):
            (folder / name).write_text(f"{value}\n")


def test_private_caches_threads_and_two_last_level_caches(tmp_path: Path) -> None:
    pairs = ["0,4", "1,5", "2,6", "3,7"] * 2
    halves = ["0-1,4-5", "0-1,4-5", "2-3,6-7", "2-3,6-7"] * 2
    caches = [
        (1, "Data", "32K", pairs),
        (1, "Instruction", "64K", pairs),
        (2, "Unified", "1024K", pairs),
        (3, "Unified", "32M", halves),
    ]
    root = sysfs(tmp_path, 8, caches, pairs)
    text = x86("AuthenticAMD", 25, 17, needs("znver4"))

    def seen(affinity: range | list[int]) -> tuple[int, ...]:
        spec = host(cpuinfo=text, sysfs=root, machine="x86_64", affinity=affinity)
        return spec.l1_bytes, spec.l2_bytes, spec.l3_bytes, spec.cores

    assert seen(range(8)) == (32 * KIB, MIB, 64 * MIB, 4)
    assert seen([0, 1]) == (32 * KIB, MIB, 32 * MIB, 2)
    assert seen([0, 4]) == (32 * KIB, MIB, 32 * MIB, 1)


def test_shared_second_level_cache_is_divided(tmp_path: Path) -> None:
    alone = ["0", "1", "2", "3"]
    caches = [(1, "Data", "32K", alone), (2, "Unified", "1024K", ["0-3"] * 4)]
    root = sysfs(tmp_path, 4, caches, alone)
    text = arm(PI4, *[0xD08] * 4)
    spec = host(cpuinfo=text, sysfs=root, machine="aarch64", affinity=range(4))
    assert spec == dataclasses.replace(PRESETS["rpi4"], name="native")
    single = host(cpuinfo=text, sysfs=root, machine="aarch64", affinity=[2])
    assert (single.l2_bytes, single.cores) == (MIB, 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="host detection reads Linux")
def test_this_machine_can_run_what_native_compiles() -> None:
    spec = parse("native")
    assert spec == host()
    assert spec.machine == host_machine()
    assert set(spec.needs) <= host_cpu_features()
    assert 1 <= spec.cores <= 4096
    assert spec.l1_bytes >= 8 * KIB
    validate_with_llvm(spec)


def test_another_system_is_told_to_name_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(TargetError, match="darwin"):
        host()


@pytest.mark.parametrize(
    ("kernel", "maxsize", "machine"),
    [
        ("x86_64", 2**63 - 1, "x86_64"),
        ("aarch64", 2**63 - 1, "aarch64"),
        ("aarch64", 2**31 - 1, "arm"),
        ("armv7l", 2**31 - 1, "arm"),
    ],
)
def test_machine_is_the_process_not_the_kernel(
    monkeypatch: pytest.MonkeyPatch, kernel: str, maxsize: int, machine: str
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "maxsize", maxsize)
    monkeypatch.setattr("platform.machine", lambda: kernel)
    assert host_machine() == machine


@pytest.mark.parametrize(("kernel", "maxsize"), [("x86_64", 2**31 - 1), ("armv6l", 2**31 - 1)])
def test_machines_without_a_backend_are_named(
    monkeypatch: pytest.MonkeyPatch, kernel: str, maxsize: int
) -> None:
    monkeypatch.setattr(sys, "maxsize", maxsize)
    monkeypatch.setattr("platform.machine", lambda: kernel)
    with pytest.raises(TargetError, match=f"32-bit {kernel}|{kernel}"):
        host_machine()

"""Processors by name.

Cache sizes and cores are those of the smallest common member of a family, so
that a rule that fits blocks into a cache stays right on larger ones. Shared
caches are divided by the cores that share them
(:class:`~tvm_mobilenet.machine.spec.TargetSpec`).

Sources: Intel 64 and IA-32 Optimization Reference Manual (Core 2, Nehalem,
Haswell, Skylake server), AMD Software Optimization Guides for families 19h
and 1Ah, Arm Technical Reference Manuals, Raspberry Pi's processor pages
(BCM2836, 2837, 2711, 2712, RP3A0), AWS's documentation of Graviton2 to 4, NVIDIA's
data sheets of Jetson Orin (the Nano's is the smallest), Rockchip's of RK3399 and
RK3588, Ampere's of Altra and AmpereOne, Qualcomm's product brief of Snapdragon 888.
Apple publishes none: what Linux finds on an M1, M2 and M3 (Asahi's device trees), and
for the M4 the same assumed. Of chips with large and small cores the large ones are
described, of a Snapdragon 888 the Cortex-X1 and its three Cortex-A78.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from types import MappingProxyType

from tvm_mobilenet.machine.arm_cores import ARM_CORES
from tvm_mobilenet.machine.features import CPU_NEEDS, isa_of
from tvm_mobilenet.machine.spec import TargetSpec
from tvm_mobilenet.machine.triples import machine_of

_KIB, _MIB = 1 << 10, 1 << 20
_X86, _ARM64, _ARM32 = "x86_64-linux-gnu", "aarch64-linux-gnu", "armv7l-linux-gnueabihf"
_RISCV64 = "riscv64-linux-gnu"

#: Debian's and Fedora's baseline, RV64GC; without +d LLVM writes soft-float objects.
RISCV64_BASELINE = ("+m", "+a", "+f", "+d", "+c")

#: RISC-V's V extension by its parts. Where TVM sees +v itself, it makes loops over vectors of four
#: lanes into loops over vectors of a length that is known when they run, most of them a lane at a
#: time. Without it, LLVM takes vectors of four in registers of 128 bits or more.
RISCV64_VECTORS = ("+zve64d", "+zvl128b")

# Scheduling for the Cortex-A7 LLVM avoids multiply-accumulate because of its
# latency. A register tile has a dozen independent chains that hide it, and
# separate multiply and add would take twice the issue slots (XNNPACK's own
# Cortex-A7 GEMM is written in VMLA for the same reason).
_A7_SWITCHES = ("-slowfpvfmx", "-vmlx-hazards")

_EMPTY_L3 = 0


def describe_cpu(
    name: str,
    triple: str,
    cpu: str,
    caches: tuple[int, int, int],
    cores: int,
    *,
    vectors: bool = False,
) -> TargetSpec:
    """Describe a processor that `CPU_NEEDS` holds; caches are L1d, L2, L3 in bytes.

    With `vectors` it is a RISC-V processor that has the V extension.
    """
    machine = machine_of(triple)
    needs = ("v",) if vectors else CPU_NEEDS.get((machine, cpu), ())
    isa, lanes, registers, fma = isa_of(machine, needs)
    features: tuple[str, ...] = ()
    if machine == "riscv64":
        features = (*RISCV64_BASELINE, *RISCV64_VECTORS) if vectors else RISCV64_BASELINE
    elif (machine, cpu) == ("arm", "cortex-a7"):
        features = _A7_SWITCHES
    l1, l2, l3 = caches
    return TargetSpec(
        name=name,
        triple=triple,
        cpu=cpu,
        features=features,
        isa=isa,
        lanes=lanes,
        registers=registers,
        fma=fma,
        l1_bytes=l1,
        l2_bytes=l2,
        l3_bytes=l3,
        cores=cores,
        needs=needs,
    )


def _arm64(name: str, cpu: str, kib: tuple[int, int, int], cores: int) -> TargetSpec:
    """Describe a board by the KiB of its caches."""
    l1, l2, l3 = kib
    return describe_cpu(name, _ARM64, cpu, (l1 * _KIB, l2 * _KIB, l3 * _KIB), cores)


PRESETS: MappingProxyType[str, TargetSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            describe_cpu("x86-64", _X86, "x86-64", (32 * _KIB, 256 * _KIB, 4 * _MIB), 2),
            describe_cpu("x86-64-v2", _X86, "x86-64-v2", (32 * _KIB, 256 * _KIB, 8 * _MIB), 4),
            describe_cpu("x86-64-v3", _X86, "x86-64-v3", (32 * _KIB, 256 * _KIB, 8 * _MIB), 4),
            describe_cpu("x86-64-v4", _X86, "x86-64-v4", (32 * _KIB, 1 * _MIB, 11 * _MIB), 8),
            describe_cpu(
                "skylake-avx512", _X86, "skylake-avx512", (32 * _KIB, 1 * _MIB, 11 * _MIB), 8
            ),
            describe_cpu("znver4", _X86, "znver4", (32 * _KIB, 1 * _MIB, 32 * _MIB), 8),
            describe_cpu("znver5", _X86, "znver5", (48 * _KIB, 1 * _MIB, 32 * _MIB), 8),
            describe_cpu("aarch64", _ARM64, "", (32 * _KIB, 128 * _KIB, _EMPTY_L3), 4),
            describe_cpu("rpi3", _ARM64, "cortex-a53", (32 * _KIB, 128 * _KIB, _EMPTY_L3), 4),
            describe_cpu("rpi4", _ARM64, "cortex-a72", (32 * _KIB, 256 * _KIB, _EMPTY_L3), 4),
            describe_cpu("rpi5", _ARM64, "cortex-a76", (64 * _KIB, 512 * _KIB, 2 * _MIB), 4),
            describe_cpu("graviton2", _ARM64, "neoverse-n1", (64 * _KIB, 1 * _MIB, 32 * _MIB), 64),
            _arm64("graviton3", "neoverse-v1", (64, 1024, 32768), 64),
            _arm64("graviton4", "neoverse-v2", (64, 2048, 36864), 96),
            _arm64("ampere-altra", "neoverse-n1", (64, 1024, 32768), 80),
            _arm64("ampereone", "ampere1", (64, 2048, 65536), 96),
            _arm64("jetson-orin", "cortex-a78ae", (64, 256, 4096), 6),
            _arm64("rk3588", "cortex-a76", (64, 512, 3072), 4),
            _arm64("rk3399", "cortex-a72", (32, 512, 0), 2),
            _arm64("rpi-zero2", "cortex-a53", (32, 128, 0), 4),
            _arm64("snapdragon-888", "cortex-x1", (64, 512, 4096), 4),
            _arm64("apple-m1", "apple-a14", (128, 3072, 8192), 4),
            _arm64("apple-m2", "apple-a15", (128, 4096, 8192), 4),
            _arm64("apple-m3", "apple-a16", (128, 4096, 8192), 4),
            _arm64("apple-m4", "apple-m4", (128, 4096, 8192), 4),
            describe_cpu("rpi2", _ARM32, "cortex-a7", (32 * _KIB, 128 * _KIB, _EMPTY_L3), 4),
            describe_cpu("rpi3-32", _ARM32, "cortex-a53", (32 * _KIB, 128 * _KIB, _EMPTY_L3), 4),
            describe_cpu("rpi4-32", _ARM32, "cortex-a72", (32 * _KIB, 256 * _KIB, _EMPTY_L3), 4),
            describe_cpu("riscv64", _RISCV64, "", (32 * _KIB, 128 * _KIB, _EMPTY_L3), 4),
            describe_cpu(
                "rv64gcv", _RISCV64, "", (32 * _KIB, 128 * _KIB, _EMPTY_L3), 4, vectors=True
            ),
        )
    }
)

# What to assume of a processor that only its architecture is known of.
_FAMILY = {
    "x86_64": ("x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64"),
    "aarch64": ("aarch64",),
    "arm": ("rpi2",),
    "riscv64": ("rv64gcv", "riscv64"),
}


def nearest_preset(machine: str, cpu: str, needs: Collection[str]) -> TargetSpec:
    """Return the preset of a processor, else the modest one with such features.

    Only its caches and cores are meant to be used where `cpu` differs; the caches are those
    of the core where :data:`~tvm_mobilenet.machine.arm_cores.ARM_CORES` knows it.
    """
    for spec in PRESETS.values():
        if cpu and spec.cpu == cpu and spec.machine == machine:
            return spec
    if machine == "aarch64" and (core := ARM_CORES.get(cpu)):
        l1, l2, l3 = (kib * _KIB for kib in core.caches)
        return replace(PRESETS["aarch64"], l1_bytes=l1, l2_bytes=l2, l3_bytes=l3)
    *better, least = (PRESETS[name] for name in _FAMILY[machine])
    return next((spec for spec in better if set(spec.needs) <= set(needs)), least)


BASELINES: MappingProxyType[str, str] = MappingProxyType(
    {machine: names[-1] for machine, names in _FAMILY.items()}
)
"""Machine to the preset that every processor of its architecture runs."""

"""Which CPU features code for a processor needs, without asking LLVM.

Two vocabularies meet here: LLVM's (``avx512vnni``, ``lse``) and that of
``/proc/cpuinfo`` (``avx512_vnni``, ``atomics``). The tables hold the features
that LLVM's code generators may use for plain IR; what only an intrinsic or
the operating system uses (AES, SHA, CRC, XSAVE, …) cannot appear in our code.
Names: LLVM 22 ``X86.td``, ``AArch64Features.td``, ``ARMFeatures.td``; Linux
``cpufeatures.h`` and ``Documentation/arch/arm64/elf_hwcaps.rst``.
`tests/unit/test_target.py` compares the tables with LLVM's own answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tvm_mobilenet.machine.arithmetic import ARITHMETIC, Isa

X86_TO_CPUINFO: dict[str, tuple[str, ...]] = {
    "sse": ("sse",),
    "sse2": ("sse2",),
    "sse3": ("pni",),
    "ssse3": ("ssse3",),
    "sse4.1": ("sse4_1",),
    "sse4.2": ("sse4_2",),
    "sse4a": ("sse4a",),
    "popcnt": ("popcnt",),
    "cx16": ("cx16",),
    "avx": ("avx",),
    "avx2": ("avx2",),
    "fma": ("fma",),
    "fma4": ("fma4",),
    "xop": ("xop",),
    "tbm": ("tbm",),
    "f16c": ("f16c",),
    "bmi": ("bmi1",),
    "bmi2": ("bmi2",),
    "lzcnt": ("abm",),
    "movbe": ("movbe",),
    "prfchw": ("3dnowprefetch",),
    "gfni": ("gfni",),
    "avx512f": ("avx512f",),
    "avx512bw": ("avx512bw",),
    "avx512cd": ("avx512cd",),
    "avx512dq": ("avx512dq",),
    "avx512vl": ("avx512vl",),
    "avx512ifma": ("avx512ifma",),
    "avx512vbmi": ("avx512vbmi",),
    "avx512vbmi2": ("avx512_vbmi2",),
    "avx512vnni": ("avx512_vnni",),
    "avx512bitalg": ("avx512_bitalg",),
    "avx512vpopcntdq": ("avx512_vpopcntdq",),
    "avx512bf16": ("avx512_bf16",),
    "avx512fp16": ("avx512_fp16",),
    "avxvnni": ("avx_vnni",),
    "avxifma": ("avx_ifma",),
    "avxneconvert": ("avx_ne_convert",),
    "avxvnniint8": ("avx_vnni_int8",),
    "avxvnniint16": ("avx_vnni_int16",),
    # No processor that Linux knows lists these yet: code that uses them is refused.
    "avx10.1": ("avx10_1",),
    "avx10.2": ("avx10_2",),
    "egpr": ("apx",),
}

AARCH64_TO_CPUINFO: dict[str, tuple[str, ...]] = {
    "fp-armv8": ("fp",),
    "neon": ("asimd",),
    "lse": ("atomics",),
    "lse2": ("uscat",),
    "fullfp16": ("fphp", "asimdhp"),
    "rdm": ("asimdrdm",),
    "dotprod": ("asimddp",),
    "rcpc": ("lrcpc",),
    "rcpc-immo": ("ilrcpc",),
    "fp16fml": ("asimdfhm",),
    "jsconv": ("jscvt",),
    "complxnum": ("fcma",),
    "flagm": ("flagm",),
    "altnzcv": ("flagm2",),
    "fptoint": ("frint",),
    "sha3": ("sha3",),  # eor3 and bcax serve plain xor and and-not
    "bf16": ("bf16",),
    "i8mm": ("i8mm",),
    "sve": ("sve",),
    "sve2": ("sve2",),
    "sve2p1": ("sve2p1",),
    "cssc": ("cssc",),
    "mops": ("mops",),
}

ARM_TO_CPUINFO: dict[str, tuple[str, ...]] = {
    "dsp": ("edsp",),
    "vfp2": ("vfp",),
    "vfp3": ("vfpv3",),
    "vfp4": ("vfpv4",),
    "d32": ("vfpd32",),
    "neon": ("neon",),
    "hwdiv": ("idivt",),
    "hwdiv-arm": ("idiva",),
    # ARMv8 brings vmaxnm and vrint, which ReLU6 compiles to, yet has no flag of
    # its own; every ARMv8 core that runs 32-bit Linux lists crc32, no ARMv7 does.
    "v8": ("crc32",),
    "fullfp16": ("fphp", "asimdhp"),
    "dotprod": ("asimddp",),
    "fp16fml": ("asimdfhm",),
    "bf16": ("asimdbf16",),
    "i8mm": ("i8mm",),
}

RISCV_TO_CPUINFO: dict[str, tuple[str, ...]] = {
    "v": ("v",),
    # Its parts, which Linux does not tell of one by one.
    **dict.fromkeys(("zve32x", "zve32f", "zve64x", "zve64f", "zve64d"), ("v",)),
}

# The baseline, which Linux wants, with its parts; the lengths that V has at least; and what plain
# IR has no use for: counters, hints, cache and fence instructions, promises about memory.
_RISCV_HARMLESS = frozenset(
    """i m a f d c zaamo zalrsc zca zcd zmmul zicsr zifencei zicntr zihpm zihintpause zihintntl
    zicbom zicbop zicboz zic64b ziccamoa ziccif zicclsm ziccrse za64rs za128rs zkt zvkt
    zvl32b zvl64b zvl128b""".split()  # noqa: SIM905
)

# Bits of AT_HWCAP and AT_HWCAP2, for the names above (Linux uapi asm/hwcap.h).
HWCAP_AARCH64 = (
    {"fp": 0, "asimd": 1, "atomics": 8, "fphp": 9, "asimdhp": 10, "asimdrdm": 12, "jscvt": 13}
    | {"fcma": 14, "lrcpc": 15, "sha3": 17, "asimddp": 20, "sve": 22, "asimdfhm": 23}
    | {"uscat": 25, "ilrcpc": 26, "flagm": 27},
    {"sve2": 1, "flagm2": 7, "frint": 8, "i8mm": 13, "bf16": 14, "cssc": 34}
    | {"sve2p1": 36, "mops": 43},
)
HWCAP_ARM = (
    {"vfp": 6, "edsp": 7, "neon": 12, "vfpv3": 13, "vfpv4": 16, "idiva": 17, "idivt": 18}
    | {"vfpd32": 19, "fphp": 22, "asimdhp": 23, "asimddp": 24, "asimdfhm": 25}
    | {"asimdbf16": 26, "i8mm": 27},
    {"crc32": 4},
)
# A letter each; longer names of extensions have no bit.
HWCAP_RISCV: tuple[dict[str, int], dict[str, int]] = ({"v": ord("v") - ord("a")}, {})

HWCAPS = {"aarch64": HWCAP_AARCH64, "arm": HWCAP_ARM, "riscv64": HWCAP_RISCV}
"""By ELF machine, where the auxiliary vector tells of features."""

_TO_CPUINFO: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": X86_TO_CPUINFO,
    "aarch64": AARCH64_TO_CPUINFO,
    "arm": ARM_TO_CPUINFO,
    "riscv64": RISCV_TO_CPUINFO,
}


def needs_of(machine: str, llvm_features: Iterable[str]) -> tuple[str, ...]:
    """Translate LLVM's features into the names that a kernel reports.

    Parameters
    ----------
    machine : str
        ELF machine.
    llvm_features : iterable of str
        Every feature that is on, as LLVM spells them.

    Returns
    -------
    tuple of str
        Sorted.
    """
    table = _TO_CPUINFO[machine]
    return tuple(sorted({name for f in llvm_features for name in table.get(f, ())}))


def unchecked(machine: str, llvm_features: Iterable[str]) -> list[str]:
    """Return RISC-V extensions whose instructions code may use, and that nothing here looks for.

    The arguments are those of :func:`needs_of`. LLVM has hundreds of extensions and takes most of
    them into use by itself; AT_HWCAP tells of single letters only.
    """
    if machine != "riscv64":
        return []
    judged = _RISCV_HARMLESS | RISCV_TO_CPUINFO.keys()
    # Supervisor's extensions begin with s; what has a hyphen is how to optimise.
    extensions = (f for f in llvm_features if re.fullmatch(r"[a-z]|[xz][a-z0-9]+", f))
    return sorted(set(extensions) - judged)


def isa_of(machine: str, needs: Iterable[str]) -> tuple[Isa, int, int, bool]:
    """Choose the vector instruction set among what is there.

    Parameters
    ----------
    machine : str
        ELF machine.
    needs : iterable of str
        Features in the kernel's spelling.

    Returns
    -------
    isa, lanes, registers, fma
        See :class:`~tvm_mobilenet.machine.spec.TargetSpec`. AVX without AVX2 is
        treated as SSE: the schedules of AVX2 count on fused multiply-add, and
        no core with only AVX has it.
    """
    have = set(needs)
    isa = _isa(machine, have)
    facts = ARITHMETIC[isa, "float32"]
    fma = isa != "sse" if machine != "arm" else "vfpv4" in have
    return isa, facts.lanes, facts.registers, fma


def _isa(machine: str, have: set[str]) -> Isa:
    if machine == "x86_64":
        if have >= {"avx512f", "avx512vl", "avx512dq", "avx512bw", "fma"}:
            return "avx512"
        return "avx2" if have >= {"avx2", "fma"} else "sse"
    if machine == "aarch64" and "asimd" in have:
        return "neon"
    if machine == "riscv64" and "v" in have:
        return "rvv"
    return "neon32" if machine == "arm" and "neon" in have else "scalar"


_V1 = ("sse", "sse2")
_V2 = (*_V1, "pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "cx16")
_V3 = (*_V2, "avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_SKX = (*_V4, "3dnowprefetch")
_CLX = (*_SKX, "avx512_vnni")
_ICX = (
    *(*_CLX, "gfni", "avx512ifma", "avx512vbmi"),
    *("avx512_vbmi2", "avx512_bitalg", "avx512_vpopcntdq"),
)
_ZEN = (*_V3, "sse4a", "3dnowprefetch")
_ZEN4 = (*_ICX, "sse4a", "avx512_bf16")
_A53 = ("fp", "asimd")
_A76 = (*_A53, "atomics", "fphp", "asimdhp", "asimdrdm", "asimddp", "lrcpc")
_A78C = (*_A76, "flagm")
_X1C = (*_A78C, "ilrcpc", "uscat")
_A14 = (*_X1C, "asimdfhm", "fcma", "jscvt", "sha3", "flagm2", "frint")
_A15 = (*_A14, "bf16", "i8mm")
_V1_ARM = (*_X1C, "asimdfhm", "fcma", "jscvt", "sha3", "bf16", "i8mm", "sve")
_AMPERE = tuple(f for f in _A15 if f != "asimdfhm")
_ARMV9 = (*(f for f in _A15 if f != "sha3"), "sve", "sve2")
_ARMV7 = ("edsp", "vfp", "vfpv3", "vfpd32", "neon")
_A7 = (*_ARMV7, "vfpv4", "idiva", "idivt")


def _arm64(needs: tuple[str, ...], cores: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the same for every Cortex-A whose number is listed."""
    return {("aarch64", f"cortex-a{number}"): needs for number in cores.split()}


#: (ELF machine, LLVM processor) → features that its code may use. Newer
#: processors come after those that they extend.
CPU_NEEDS: dict[tuple[str, str], tuple[str, ...]] = {
    key: tuple(sorted(needs))
    for key, needs in {
        ("x86_64", "x86-64"): _V1,
        ("x86_64", "x86-64-v2"): _V2,
        ("x86_64", "x86-64-v3"): _V3,
        ("x86_64", "x86-64-v4"): _V4,
        ("x86_64", "haswell"): _V3,
        ("x86_64", "skylake"): (*_V3, "3dnowprefetch"),
        ("x86_64", "skylake-avx512"): _SKX,
        ("x86_64", "cascadelake"): _CLX,
        ("x86_64", "icelake-server"): _ICX,
        ("x86_64", "sapphirerapids"): (*_ICX, "avx512_bf16", "avx512_fp16", "avx_vnni"),
        ("x86_64", "znver1"): _ZEN,
        ("x86_64", "znver2"): _ZEN,
        ("x86_64", "znver3"): _ZEN,
        ("x86_64", "znver4"): _ZEN4,
        ("x86_64", "znver5"): (*_ZEN4, "avx_vnni"),
        ("aarch64", ""): _A53,
        **_arm64(_A53, "35 53 57 72 73"),
        **_arm64(_A76, "55 75 76 77 78 78ae"),
        **_arm64(_ARMV9, "510 520 710 715 720"),
        ("aarch64", "cortex-a78c"): _A78C,
        ("aarch64", "cortex-x1"): _A76,
        ("aarch64", "cortex-x1c"): _X1C,
        **{("aarch64", f"cortex-x{n}"): _ARMV9 for n in (2, 3, 4)},
        ("aarch64", "neoverse-n1"): _A76,
        ("aarch64", "neoverse-v1"): _V1_ARM,
        **{("aarch64", f"neoverse-{n}"): _ARMV9 for n in ("n2", "v2", "v3")},
        ("aarch64", "carmel"): tuple(f for f in _A76 if f not in ("asimddp", "lrcpc")),
        ("aarch64", "ampere1"): _AMPERE,
        ("aarch64", "ampere1a"): _AMPERE,
        ("aarch64", "ampere1b"): (*_AMPERE, "cssc"),
        ("aarch64", "apple-a14"): _A14,
        **{("aarch64", n): _A15 for n in ("apple-a15", "apple-a16", "apple-m4", "oryon-1")},
        ("riscv64", ""): (),
        ("arm", "cortex-a7"): _A7,
        ("arm", "cortex-a53"): (*_A7, "crc32"),
        ("arm", "cortex-a72"): (*_A7, "crc32"),
    }.items()
}

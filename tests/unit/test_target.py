"""Targets: the tables against LLVM, and what users may write."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine import (
    GPUS,
    PRESETS,
    TargetSpec,
    parse,
    validate_with_llvm,
)
from tvm_mobilenet.machine.arm_cores import ARM_CORES
from tvm_mobilenet.machine.features import (
    AARCH64_TO_CPUINFO,
    ARM_TO_CPUINFO,
    CPU_NEEDS,
    HWCAP_AARCH64,
    HWCAP_ARM,
    HWCAP_RISCV,
    RISCV_TO_CPUINFO,
    X86_TO_CPUINFO,
    isa_of,
)
from tvm_mobilenet.machine.llvm import llvm_needs
from tvm_mobilenet.prediction.speeds import speeds_of

KIB, MIB = 1 << 10, 1 << 20
TRIPLES = {
    "x86_64": "x86_64-linux-gnu",
    "aarch64": "aarch64-linux-gnu",
    "arm": "armv7l-linux-gnueabihf",
    "riscv64": "riscv64-linux-gnu",
}

# LLVM features of the processors in our tables that no plain IR can turn into an instruction
# which /proc/cpuinfo would have to promise: tuning flags, system instructions, and what only
# an intrinsic reaches. A new LLVM that adds one must be judged, not overlooked.
HARMLESS = {
    "x86_64": """64bit 64bit-mode adx aes allow-light-256-bit amx-bf16 amx-int8 amx-tile
        avx512vp2intersect branchfusion cldemote clflushopt clwb clzero cmov crc32 cx8 enqcmd ermsb
        false-deps-getmant false-deps-lzcnt-tzcnt false-deps-mulc false-deps-mullq false-deps-perm
        false-deps-popcnt false-deps-range fast-15bytenop fast-bextr fast-dpwssd fast-gather
        fast-imm16 fast-lzcnt fast-movbe fast-scalar-fsqrt fast-scalar-shift-masks fast-shld-rotate
        fast-variable-crosslane-shuffle fast-variable-perlane-shuffle fast-vector-fsqrt
        faster-shift-than-shuffle fsgsbase fsrm fxsr idivq-to-divl invpcid macrofusion mmx
        movdir64b movdiri mwaitx no-bypass-delay-blend no-bypass-delay-mov
        no-bypass-delay-shuffle nopl pclmul pconfig pku prefer-256-bit prefetchi ptwrite rdpid
        rdpru rdrnd rdseed sahf sbb-dep-breaking serialize sha shstk slow-3ops-lea slow-incdec
        slow-pmullq slow-shld slow-unaligned-mem-32 tsxldtrk tuning-fast-imm-vector-shift uintr
        vaes vpclmulqdq vzeroupper waitpkg wbnoinvd x87 xsave xsavec xsaveopt xsaves""",
    # Streaming mode and its matrices, pointers that are signed and memory that is tagged are for
    # functions that have an attribute for it.
    "aarch64": """CONTEXTIDREL2 a35 a510 a520 a53 a55 a57 a710 a715 a72 a720 a73 a75 a76 a77 a78
        a78ae a78c addr-lsl-slow-14 aes aggressive-fma alternate-sextload-cvt-f32-pattern
        alu-lsl-fast am ampere1 ampere1a ampere1b amvs apple-a14 apple-a15 apple-a16 apple-m4
        arith-bcc-fusion arith-cbz-fusion avoid-ldapur balance-fp-ops brbe bti carmel ccdp ccidx
        ccpp cmp-bcc-fusion cortex-x1 cortex-x2 cortex-x3 cortex-x4 crc
        disable-latency-sched-heuristic disable-maximize-scalable-bandwidth dit ecv el2vmsa el3
        enable-select-opt ete fgt fpac fuse-address fuse-addsub-2reg-const1 fuse-adrp-add fuse-aes
        fuse-arith-logic fuse-crypto-eor fuse-csel fuse-cset fuse-literals hcx ldp-aligned-only lor
        ls64 max-interleave-factor-4 mpam mte neoversen1 neoversen2 neoversev1 neoversev2 neoversev3
        no-sve-fp-ld1r no-zcz-fpr64 nv oryon-1 pan pan-rwv pauth perfmon
        predictable-select-expensive predres rand ras rme sb sel2 sha2 sm4 sme sme-f64f64
        sme-i16i64 sme2 spe spe-eef specrestrict ssbs store-pair-suppress stp-aligned-only
        sve-bitperm tlb-rmi tracev8.4 trbe uaops use-fixed-over-scalable-if-equal-cost
        use-postra-scheduler use-wzr-to-vec-move v8.1a v8.2a v8.3a v8.4a v8.5a v8.6a v8.7a v8a
        v9.1a v9.2a v9a vh wfxt xs zcm-fpr128 zcm-gpr64 zcz-fpr128 zcz-gpr32 zcz-gpr64""",
    # The vfp…sp, …d16 and fp64 are parts of vfp2, vfp3 and vfp4; v4t to v7 are the triple's own.
    "arm": """a53 a7 a72 aclass acquire-release aes armv7-a armv8-a crc crypto db
        fix-cortex-a57-aes-1742098 fp-armv8 fp-armv8d16 fp-armv8d16sp fp-armv8sp fp16 fp64 fpao
        fpregs fpregs64 mp perfmon ret-addr-stack sha2 slow-fp-brcc slowfpvfmx slowfpvmlx thumb2
        trustzone v4t v5t v5te v6 v6k v6m v6t2 v7 v7clrex v8m vfp2sp vfp3d16 vfp3d16sp vfp3sp
        vfp4d16 vfp4d16sp vfp4sp virtualization vmlx-forwarding vmlx-hazards""",
}
CORES = {"num-cores": 0}
TABLES = {"x86_64": X86_TO_CPUINFO, "aarch64": AARCH64_TO_CPUINFO, "arm": ARM_TO_CPUINFO}


# The tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("machine", "cpu"), sorted(CPU_NEEDS))
def test_needs_of_every_cpu_are_what_llvm_may_emit(machine: str, cpu: str) -> None:
    if machine == "riscv64":
        assert CPU_NEEDS[machine, cpu] == ()
        return
    assert CPU_NEEDS[machine, cpu] == llvm_needs(TRIPLES[machine], cpu)


@pytest.mark.parametrize(("machine", "cpu"), sorted(k for k in CPU_NEEDS if k[0] != "riscv64"))
def test_every_llvm_feature_of_every_cpu_has_been_judged(machine: str, cpu: str) -> None:
    from tvm.target import Target, codegen

    target = {"kind": "llvm", "mtriple": TRIPLES[machine]} | ({"mcpu": cpu} if cpu else {})
    on = {str(f) for f in codegen.llvm_get_cpu_features(Target(target))}
    assert on - set(TABLES[machine]) - set(HARMLESS[machine].split()) == set()


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_preset_is_what_llvm_compiles_for(name: str) -> None:
    from tvm.target import Target

    spec = PRESETS[name]
    validate_with_llvm(spec)
    assert spec.name == name
    assert (spec.isa, spec.lanes, spec.registers, spec.fma) == isa_of(spec.machine, spec.needs)
    assert 16 * KIB <= spec.l1_bytes <= spec.l2_bytes
    target = Target(spec.tvm_dict())
    assert int(target.attrs["num-cores"]) == spec.cores
    assert str(target.attrs["mtriple"]) == spec.triple


@pytest.mark.parametrize(
    ("folder", "prefix", "hwcaps", "table"),
    [
        ("aarch64-linux-any", "", HWCAP_AARCH64, AARCH64_TO_CPUINFO),
        ("arm-linux-any", "", HWCAP_ARM, ARM_TO_CPUINFO),
    ],
)
def test_hwcap_bits_are_the_kernels(folder, prefix, hwcaps, table) -> None:
    # It carries Linux's headers for every machine.
    ziglang = pytest.importorskip("ziglang", reason="no ziglang: pip install ziglang")
    header = Path(ziglang.__file__).parent / "lib/libc/include" / folder / "asm/hwcap.h"
    text = header.read_text()
    for word, bits in zip(("HWCAP", "HWCAP2"), hwcaps, strict=True):
        found = re.findall(rf"#define\s+{word}_(\w+)\s+\(1(?:UL)?\s*<<\s*(\d+)\)", text)
        kernel = {name.lower(): int(bit) for name, bit in found}
        assert {name: kernel[name] for name in bits} == bits
    # Every name that a target may need can be answered for.
    known = hwcaps[0].keys() | hwcaps[1].keys()
    assert {n for names in table.values() for n in names} <= known


def test_risc_v_has_a_bit_for_a_letter() -> None:
    ziglang = pytest.importorskip("ziglang", reason="no ziglang: pip install ziglang")
    header = Path(ziglang.__file__).parent / "lib/libc/include/riscv-linux-any/asm/hwcap.h"
    assert "COMPAT_HWCAP_ISA_V\t(1 << ('V' - 'A'))" in header.read_text()
    assert HWCAP_RISCV == ({"v": 21}, {})
    assert {n for names in RISCV_TO_CPUINFO.values() for n in names} == {"v"}


@pytest.mark.parametrize("text", ["riscv64 --mattr=+v", "riscv64-linux-gnu --mattr=+v", "rv64gcv"])
def test_risc_v_with_vectors(text: str) -> None:
    spec = parse(text)
    assert (spec.needs, spec.isa, spec.lanes) == (("v",), "rvv", 4)
    assert "+v" not in spec.features
    assert parse("rv64gcv --mattr=-c").isa == "rvv"


def test_cortex_a7_fuses_multiply_and_add() -> None:
    import tvm
    from tvm import te

    a, b = te.placeholder((64,), name="a"), te.placeholder((64,), name="b")
    c = te.compute((64,), lambda i: a[i] * b[i] + a[i], name="c")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([a, b, c]))
    _, lane = schedule.split(schedule.get_loops(schedule.get_sblock("c"))[0], [None, 4])
    schedule.vectorize(lane)
    plain = {"kind": "llvm", "mtriple": TRIPLES["arm"], "mcpu": "cortex-a7"}
    code = [
        tvm.build(schedule.mod, target=tvm.target.Target(target)).inspect_source("asm")
        for target in (PRESETS["rpi2"].tvm_dict(), plain)
    ]
    assert [len(re.findall(r"\bvfma\.f32\s+q", text)) > 0 for text in code] == [True, False]


def test_validation_refuses_what_llvm_would_exceed() -> None:
    with pytest.raises(TargetError, match="avx512f"):
        validate_with_llvm(dataclasses.replace(PRESETS["x86-64-v3"], cpu="x86-64-v4"))
    with pytest.raises(TargetError, match="LLVM has"):
        validate_with_llvm(dataclasses.replace(PRESETS["x86-64-v3"], lanes=16))


# A description ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_description_survives_json(name: str) -> None:
    spec = PRESETS[name]
    assert TargetSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lanes": "16"}, "lanes"),
        ({"lanes": True}, "lanes"),
        ({"l1_bytes": -1}, "l1_bytes"),
        ({"isa": "mmx"}, "isa"),
        ({"needs": "avx2"}, "needs"),
        ({"triple": "z80-linux-gnu"}, "z80"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_description_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(TargetError, match=says):
        TargetSpec.from_dict(PRESETS["rpi4"].to_dict() | change)


def test_describing_takes_no_tvm() -> None:
    code = (
        "import sys; from tvm_mobilenet import machine as t;"
        "t.host(); t.host_cpu_features(); [s.describe() for s in t.PRESETS.values()];"
        "t.parse('aarch64-linux-gnu --mcpu=cortex-a72');"
        "sys.exit('tvm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_describe_is_for_people() -> None:
    row = PRESETS["rpi5"].describe()
    assert row["L1d"] == "64 KiB"
    assert row["L3"] == "2 MiB"
    assert PRESETS["rpi4"].describe()["L3"] == "-"
    assert "-vmlx-hazards" in PRESETS["rpi2"].describe()["cpu"]


# What users write -------------------------------------------------------------------------------


def test_presets_triples_and_json_agree() -> None:
    rpi4 = dataclasses.replace(PRESETS["rpi4"], name="aarch64-linux-gnu")
    assert parse("rpi4") == PRESETS["rpi4"]
    assert parse("aarch64-linux-gnu --mcpu=cortex-a72") == rpi4
    assert parse("aarch64-linux-gnu -mcpu cortex-a72") == rpi4
    assert parse("aarch64-linux-gnu", mcpu="cortex-a72") == rpi4
    text = '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72"}'
    assert parse(text) == rpi4


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_tvm_prints_is_understood(name: str) -> None:
    from tvm.target import Target

    spec = PRESETS[name]
    again = parse(str(Target(spec.tvm_dict())))
    # Of several chips with a core, TVM's text does not say which: the first is taken.
    first = next(p for p in PRESETS.values() if p.tvm_dict() | CORES == spec.tvm_dict() | CORES)
    assert dataclasses.replace(again, name=first.name, cores=first.cores) == first
    assert again.cores == spec.cores


def test_features_change_what_is_needed() -> None:
    assert "asimddp" not in parse("rpi4").needs
    spec = parse("aarch64-linux-gnu --mcpu=cortex-a72 --mattr=+dotprod")
    assert "asimddp" in spec.needs
    assert spec.tvm_dict()["mattr"] == ["+dotprod"]
    narrow = parse("x86-64-v4", mattr="-avx512f")
    assert (narrow.isa, narrow.lanes, narrow.registers) == ("avx2", 8, 16)
    assert "avx512f" not in narrow.needs
    assert narrow.l2_bytes == PRESETS["x86-64-v4"].l2_bytes
    validate_with_llvm(narrow)


def test_processor_outside_the_tables_is_looked_up() -> None:
    spec = parse("aarch64-linux-gnu --mcpu=neoverse-v1")
    assert spec.isa == "neon"
    assert {"sve", "i8mm", "bf16"} <= set(spec.needs)
    assert parse("x86_64-linux-gnu --mcpu=tigerlake").isa == "avx512"
    assert parse("x86_64-linux-gnu --mcpu=sandybridge").isa == "sse"
    assert parse("x86_64-linux-gnu").cpu == "x86-64"


@pytest.mark.parametrize(
    ("name", "cpu"),
    [("apple-m1", "apple-a14"), ("apple-m2", "apple-a15"), ("apple-m3", "apple-a16")],
)
def test_apples_names_are_llvms_of_the_same_core(name: str, cpu: str) -> None:
    assert parse("aarch64-linux-gnu", mcpu=name).cpu == cpu == PRESETS[name].cpu
    assert parse(name, mcpu=name) == PRESETS[name]


def test_what_is_assumed_of_an_unknown_processor_is_said(caplog: pytest.LogCaptureFixture) -> None:
    parse("aarch64-linux-gnu", mcpu="cortex-a77")
    parse("rpi5", mcpu="thunderx2t99")
    assert not caplog.records
    for _ in range(2):  # once
        spec = parse("aarch64-linux-gnu", mcpu="thunderx2t99")
    (record,) = caplog.records
    assert "thunderx2t99: L1d 32 KiB, L2 128 KiB, L3 - and 4 cores are" in record.getMessage()
    assert (spec.l1_bytes, spec.l2_bytes) == (32 * KIB, 128 * KIB)


@pytest.mark.parametrize("cpu", sorted(ARM_CORES))
def test_a_known_core_has_caches_and_pipes_of_its_own(cpu: str) -> None:
    spec, core = parse("aarch64-linux-gnu", mcpu=cpu), ARM_CORES[cpu]
    assert spec.arithmetic("float32").per_cycle == core.pipes == speeds_of(spec).pipes
    assert speeds_of(spec).loads == core.loads
    assert 32 * KIB <= spec.l1_bytes < spec.l2_bytes
    if cpu not in {preset.cpu for preset in PRESETS.values()}:
        assert [b // KIB for b in (spec.l1_bytes, spec.l2_bytes, spec.l3_bytes)] == [*core.caches]


def test_arm_without_a_version_is_debians_armv7() -> None:
    spec = parse("arm-linux-gnueabihf")
    assert (spec.triple, spec.isa, spec.fma) == ("armv7l-linux-gnueabihf", "neon32", False)
    validate_with_llvm(spec)


def test_cores() -> None:
    assert parse("rpi4 --cores=2").cores == 2
    assert parse("rpi4 --cores=2", cores=1).cores == 1
    assert parse("rpi4").tvm_dict()["num-cores"] == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("rpi6", r"did you mean .*rpi5.*\n?.*tvm-mobilenet targets"),
        ("x86_64-v3", "did you mean x86-64-v3"),
        ("cortex-a72", "did you mean rpi4"),
        ("qqqq", "tvm-mobilenet targets"),
        ("llvm", "which processor"),
        ('{"kind": "cuda"}', "JSON of a GPU"),
        ('{"kind": "llvm"', "looks like JSON"),
        ('{"mcpu": "znver4"}', "kind"),
        ('{"kind": "llvm", "mcpu": 4}', "mcpu"),
        ('{"kind": "llvm", "mattr": "+neon"}', "mattr"),
        ('{"kind": "llvm", "num-cores": "many"}', "cores"),
        ('{"kind": "llvm", "opt-level": 3}', "opt-level"),
        ('{"kind": "llvm", "host": {"kind": "c"}}', "host"),
        ("wasm32-none", "wasm32"),
        ("aarch64-apple-darwin", "not for Linux"),
        ("aarch64-linux-android", "neither 'gnu' nor 'musl'"),
        ("x86_64-linux-musleabihf", "neither 'gnu' nor 'musl'"),
        ("arm-linux-musleabi", "neither 'gnueabihf' nor 'musleabihf'"),
        ("riscv64 --mattr=+v,+zba", "may use zba, and nothing tells"),
        ("riscv64 --mattr=+v,+zvl256b", "may use zvl256b, and nothing tells"),
        ("riscv64-linux-gnu --mcpu=spacemit-x60", "may use .*zvfh"),
        ("arm-linux-gnueabi", "gnueabihf"),
        ("aarch64-linux-gnu --mcpu=cortex-a7", "knows no processor.*\n.*cortex-a76"),
        ("aarch64-linux-gnu --mattr=dotprod", "malformed"),
        ("aarch64-linux-gnu --mattr=+dotprd", "no feature 'dotprd'"),
        ("rpi4 --fast", "not an option"),
        ("rpi4 --mcpu=", "no value"),
        ("rpi4 --cores", "no value"),
        ("rpi4 --cores=0", "cores"),
        ("rpi4 'open", "open quote"),
    ],
)
def test_bad_target_says_what_to_write(text: str, says: str) -> None:
    with pytest.raises(TargetError, match=says) as caught:
        parse(text)
    assert caught.value.remedy


def test_a_gpu_has_its_own_numbers_and_the_host_beside_it() -> None:
    spec = parse("sm_90", host="aarch64-linux-gnu", dtype="float16")
    assert spec.gpu is not None
    assert spec.gpu.capability == (9, 0)
    assert (spec.triple, spec.machine) == ("aarch64-linux-gnu", "aarch64")
    assert spec.lanes * spec.item_bytes == 16
    assert TargetSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize("name", GPUS)
def test_every_gpu_is_a_target_of_tvm(name: str) -> None:
    import tvm

    spec = parse(name)
    made = tvm.target.Target(spec.tvm_dict())
    assert (str(made.kind), str(made.host.kind)) == (GPUS[name].kind, "llvm")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"text": "rpi4", "host": "x86-64"}, "no GPU"),
        ({"text": "rpi4", "dtype": "float16"}, "multiply float16"),
        ({"text": "sm_90", "host": "opencl"}, "is a GPU"),
        ({"text": "sm_90", "dtype": "int8"}, "int8"),
        ({"text": "sm_91"}, "unknown target"),
    ],
)
def test_a_bad_gpu_target_says_why(options: dict[str, Any], says: str) -> None:
    with pytest.raises(TargetError, match=says):
        parse(**options)


def test_blocks_of_a_unit_are_limited_by_what_runs_out_first() -> None:
    gpu = GPUS["sm_90"]
    assert gpu.resident_blocks(1024, 32, 0) == 2  # 2048 threads
    assert gpu.resident_blocks(256, 128, 0) == 2  # 65536 registers
    assert gpu.resident_blocks(64, 32, 48 << 10) == 4  # 228 KiB, of which 1 KiB a block is kept
    assert gpu.resident_blocks(32, 16, 0) == 32

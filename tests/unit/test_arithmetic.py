"""How machines multiply each type of number: the table, and which row a target has."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine import LINE_BYTES, PRESETS, Dtype, parse
from tvm_mobilenet.machine.arithmetic import ARITHMETIC, Arithmetic, line_items
from tvm_mobilenet.machine.features import CPU_NEEDS
from tvm_mobilenet.prediction.speeds import speeds_of


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_lanes_and_registers_of_a_target_are_those_of_float32(name: str) -> None:
    spec = PRESETS[name]
    facts = spec.arithmetic("float32")
    assert (facts.lanes, facts.registers) == (spec.lanes, spec.registers)
    assert (facts.sums, facts.rows) == (1, 1)
    assert facts.per_cycle == speeds_of(spec).pipes


@pytest.mark.parametrize(
    ("name", "per_cycle"),
    [
        ("znver5", 2),
        ("x86-64-v3", 2),
        ("x86-64-v2", 1),
        ("aarch64", 1),  # unknown: taken for a small one
        ("rpi3", 1),
        ("rpi4", 1),
        ("rpi5", 2),
        ("rpi2", 0.25),
        ("rpi3-32", 1),
        ("rpi4-32", 1),
        ("riscv64", 1),
    ],
)
def test_float32_multiply_adds_a_cycle(name: str, per_cycle: float) -> None:
    assert PRESETS[name].arithmetic("float32").per_cycle == per_cycle


@pytest.mark.parametrize(
    ("name", "dtype", "macs"),
    [
        ("znver5", "float32", 32),
        ("znver5", "bfloat16", 64),  # vdpbf16ps: measured 1.86 times FMA
        ("znver5", "uint8", 128),  # vpdpbusd: measured 4.0 times FMA
        ("znver5", "int8", 128),
        ("skylake-avx512", "uint8", 32),
        ("skylake-avx512", "bfloat16", 32),
        ("x86-64-v3", "uint8", 16),
        ("rpi5", "int8", 32),
        ("rpi4", "int8", 4),
        ("rpi4", "bfloat16", 4),
        ("rpi3", "uint8", 2),
        ("rpi5", "float16", 16),  # eight sums a register, of float16
        ("rpi4", "float16", 4),
    ],
)
def test_macs_a_cycle_of_narrower_types(name: str, dtype: Dtype, macs: int) -> None:
    assert PRESETS[name].arithmetic(dtype).macs == macs


def test_features_bring_faster_instructions() -> None:
    rpi5 = PRESETS["rpi5"]
    assert rpi5.arithmetic("int8") == ARITHMETIC["asimddp", "int8"]
    newer = dataclasses.replace(rpi5, needs=(*rpi5.needs, "bf16", "i8mm"))
    assert newer.arithmetic("int8") == ARITHMETIC["i8mm", "int8"]
    assert newer.arithmetic("bfloat16").rows == 2
    haswell = PRESETS["x86-64-v3"]
    vnni = dataclasses.replace(haswell, needs=(*haswell.needs, "avx_vnni"))
    assert vnni.arithmetic("uint8").sums == 4
    assert vnni.arithmetic("float32") == haswell.arithmetic("float32")


def test_what_is_widened_is_multiplied_as_float32() -> None:
    for dtype in ("float16", "bfloat16"):
        assert PRESETS["x86-64-v3"].arithmetic(dtype) == PRESETS["x86-64-v3"].arithmetic("float32")
    assert PRESETS["znver5"].arithmetic("float16") == ARITHMETIC["avx512", "float32"]


def test_sums_are_not_multiplied() -> None:
    with pytest.raises(TargetError, match="int32"):
        PRESETS["znver5"].arithmetic("int32")


def test_a_gpu_has_the_arithmetic_of_its_host() -> None:
    target = parse("sm_90", host="znver5", dtype="float16")
    assert target.lanes == 8
    assert target.arithmetic("float32") == PRESETS["znver5"].arithmetic("float32")


def test_every_row_of_the_table_is_of_a_feature_that_processors_report() -> None:
    known = {name for needs in CPU_NEEDS.values() for name in needs} | {"bf16", "i8mm"}
    isas = {spec.isa for spec in PRESETS.values()}
    assert {name for name, _ in ARITHMETIC} <= known | isas | {"scalar"}


def test_bytes() -> None:
    assert Arithmetic(16, 4, 32, 2).vector_bytes == LINE_BYTES
    assert PRESETS["rpi5"].arithmetic("float16").vector_bytes == 16
    assert [line_items(dtype) for dtype in ("float32", "bfloat16", "uint8")] == [16, 32, 64]


def test_nothing_is_imported_for_it() -> None:
    program = "import sys; import tvm_mobilenet.models.tensors; sys.exit('tvm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

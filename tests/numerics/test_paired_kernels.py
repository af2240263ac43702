"""Products of two pixels at a time (BFMMLA, SMMLA): within their bounds, and in registers.

Kernels on bfloat16 run here, BFMMLA spelled out; those in integers are held bit for bit on an
emulated ARM by ``test_integer_networks.py``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from assembly import innermost_loops
from matrix_instructions import spelled_out
from sixteen_kernels import Cases
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import Instructions
from tvm_mobilenet.schedules.tensorir.cpu.sixteen.bfloat16 import BFloat16
from tvm_mobilenet.schedules.tensorir.cpu.written import written

from tvm_mobilenet.common.bfloat16 import widened
from tvm_mobilenet.machine import TargetSpec, host, parse
from tvm_mobilenet.operators.packing import blocked
from tvm_mobilenet.operators.pairs import paired
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.kernel_case import KernelCase, kernel_case

CASES = Cases("bfloat16")
PRODUCTS = [CASES.products()[i] for i in (1, 2, 4, 9)]
BLOCKS = CASES.windows()[-2:-1]
NEW = "aarch64-linux-gnu --mcpu=neoverse-n2"


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> TargetSpec:
    """This machine, taken for an ARM with BF16."""
    instructions = BFloat16.instructions

    def changed(self: BFloat16, target: TargetSpec, rows: int = 1) -> Instructions:
        own = instructions(self, target, rows)
        return dataclasses.replace(own, functions=spelled_out(own.functions))

    monkeypatch.setattr(BFloat16, "instructions", changed)
    return dataclasses.replace(host(), isa="neon", needs=("bf16",), dtype="bfloat16", cores=2)


def in_pairs(work: Workload, target: TargetSpec) -> Workload:
    """The workload as a plan has it; a block takes what its pointwise layer is."""
    made = paired(work, target)
    return dataclasses.replace(made, rows=2) if work.operator == "separable" else made


def answer(work: Workload, target: TargetSpec, case: KernelCase) -> Any:
    """What a kernel writes into an output that is all NaN."""
    import tvm

    func = written(work, Knobs(), target).with_attr("global_symbol", "main")
    here = tvm.target.Target(host().tvm_dict())
    out = tvm.runtime.tensor(np.full(case.want.shape, 0x7FC0, np.uint16))
    tvm.compile(tvm.IRModule({"main": func}), target=here)(
        *map(tvm.runtime.tensor, case.inputs), out
    )
    return out.numpy()


@pytest.mark.parametrize("work", [*PRODUCTS, *BLOCKS], ids=lambda work: work.key)
def test_a_kernel_is_within_its_bound(work: Workload, emulated: TargetSpec) -> None:
    work = in_pairs(work, emulated)
    assert work.key.endswith("pairs")
    assert Workload.parse(work.text) == work
    case = kernel_case(work, seed=1)
    assert case.error(answer(work, emulated, case)) < 2.0**-6


def test_a_pixel_that_is_no_number_leaves_its_neighbour_alone(emulated: TargetSpec) -> None:
    work = in_pairs(CASES.of("pointwise", (21, 16), (3, 4)), emulated)
    case = kernel_case(work, seed=2, outlier=np.nan)
    got = widened(answer(work, emulated, case))
    real = blocked(np.ones((1, 16, 3, 4)), 16) == 1
    assert 0 < np.isnan(case.want[real]).sum() < real.sum() / 2
    np.testing.assert_array_equal(np.isnan(got[real]), np.isnan(case.want[real]))


def test_what_does_not_pay_stays() -> None:
    new, old = parse(NEW), parse("rpi5")
    sizes: dict[str, Any] = {"dtype": "int8", "limits": (-128, 127)}
    wide = Workload("qpointwise", 1, 64, 64, (7, 7), (7, 7), 16, 16, **sizes)
    one = dataclasses.replace(wide, in_size=(1, 1), out_size=(1, 1))
    image = dataclasses.replace(wide, operator="qconv", in_channels=3, in_block=4, kernel=(3, 3))
    filters = dataclasses.replace(wide, operator="qdepthwise", kernel=(3, 3))
    assert paired(wide, new).rows == 2
    assert paired(wide, new).step == 8
    for work, target in [(wide, old), (one, new), (image, new), (filters, new)]:
        assert paired(work, target) == work
    assert paired(CASES.of("pointwise", (8, 8), (2, 2)), parse(NEW, dtype="bfloat16")).step == 4


@pytest.mark.parametrize(
    ("dtype", "operator", "mnemonic"),
    [("int8", "qpointwise", "smmla"), ("bfloat16", "pointwise", "bfmmla")],
)
def test_sums_stay_in_registers(dtype: Any, operator: str, mnemonic: str) -> None:
    """Half as many instructions as products of one pixel take, and nothing goes to the stack."""
    import tvm

    target = parse(NEW, dtype=None if dtype == "int8" else dtype)
    limits = (-128, 127) if dtype == "int8" else (0, 0)
    work = Workload(operator, 1, 96, 64, (14, 14), (14, 14), 16, 16, dtype=dtype, limits=limits)
    func = written(paired(work, target), Knobs(), target).with_attr("global_symbol", "main")
    llvm = tvm.target.Target(target.tvm_dict())
    text = tvm.compile(tvm.IRModule({"main": func}), target=llvm).mod.inspect_source("asm")
    found = [
        (sum(line.startswith(mnemonic) for line in loop.body), loop.spills)
        for loop in innermost_loops(text, "aarch64")
    ]
    # Four pixels and sixteen channels: 16 registers of sums, and steps of a block.
    steps = 16 // paired(work, target).step
    assert (16 * steps, []) in found

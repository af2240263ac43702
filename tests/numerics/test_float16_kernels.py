"""Kernels on maps of float16 are within their bounds, over odd sizes; NaN stays where it is.

They are written for ARM, whose ``fmla`` is the one instruction that they want, and say it in
LLVM's own terms: so they run on any processor, which rounds as ARM's does.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
from assembly import innermost_loops
from sixteen_kernels import AROUND, LANES, Cases
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.cpu.written import written

from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.machine import TargetSpec, host, parse
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.packing import blocked
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.kernel_case import KernelCase, kernel_case

CASES = Cases("float16")
PRODUCTS = [CASES.products()[i] for i in (1, 2, 3, 4, 6, 7, 9, 11, 12)]
WINDOWS = [CASES.windows()[i] for i in (1, 2, 3, 5, 9, 10)]
MAPS = [CASES.maps()[i] for i in (0, 2, 3)]


def module(work: Workload, target: TargetSpec, runs: TargetSpec) -> Any:
    import tvm

    func = written(work, Knobs(), target).with_attr("global_symbol", "main")
    return tvm.compile(tvm.IRModule({"main": func}), target=tvm.target.Target(runs.tvm_dict()))


@functools.cache
def kernel(work: Workload) -> Any:
    here = host()
    needs = (*here.needs, "asimdhp")
    target = dataclasses.replace(here, isa="neon", needs=needs, dtype="float16", cores=2)
    return module(work, target, here)


def answer(work: Workload, case: KernelCase) -> Any:
    """What a kernel writes into an output that is all NaN."""
    import tvm

    kind = np.float32 if OPERATORS[work.operator].writes_plain else np.float16
    out = tvm.runtime.tensor(np.full(case.want.shape, np.nan, kind))
    kernel(work)(*map(tvm.runtime.tensor, case.inputs), out)
    return out.numpy()


@pytest.mark.parametrize("work", [*PRODUCTS, *WINDOWS, *MAPS], ids=lambda work: work.key)
def test_a_kernel_is_within_its_bound(work: Workload) -> None:
    case = kernel_case(work, seed=1)
    got = answer(work, case)
    assert case.error(got) < 2.0**-8
    off = got.astype(np.float32)
    at = np.unravel_index(int(np.argmax(np.abs(case.want))), case.want.shape)
    off[at] += np.float32(2 * case.bound[at] + 1e-6 * abs(case.want[at]))
    with pytest.raises(VerificationError, match=r"1 of .* elements are wrong"):
        case.error(off)


def test_long_sums_go_on_in_float32() -> None:
    """Ones that float16 could not count: beyond 2048 it has even numbers only."""
    work = CASES.of("pointwise", (4101, 16), (1, 1))
    case = kernel_case(work)
    ones = tuple(np.ones_like(each) for each in case.inputs[:2])
    got = answer(work, dataclasses.replace(case, inputs=(*ones, np.full((1, 16), 0.5, np.float32))))
    assert got.ravel().tolist() == [float(np.float16(4101.5))] * LANES


@pytest.mark.parametrize("work", [PRODUCTS[1], WINDOWS[0], WINDOWS[4]], ids=lambda work: work.key)
@pytest.mark.parametrize("outlier", [np.nan, np.inf])
def test_what_is_no_number_stays_where_it_is(work: Workload, outlier: float) -> None:
    with np.errstate(invalid="ignore"):
        case = kernel_case(work, seed=2, outlier=outlier)
    got = answer(work, case)
    real = blocked(np.ones((work.batch, work.out_channels, *work.out_size)), LANES) == 1
    assert np.isnan(case.want[real]).any() or np.isinf(outlier)
    np.testing.assert_array_equal(np.isnan(got[real]), np.isnan(case.want[real]))
    np.testing.assert_array_equal(np.isinf(got[real]), np.isinf(case.want[real]))


@pytest.mark.parametrize(
    ("work", "sums"),
    [
        (CASES.of("pointwise", (512, 64), (14, 14), activation="relu6"), 256),
        (CASES.of("conv", (3, 32), (32, 32), kernel=3, stride=2, padding=AROUND), 144),
        (CASES.of("depthwise", (64, 64), (14, 14), kernel=3, padding=AROUND), 72),
    ],
    ids=lambda value: getattr(value, "operator", ""),
)
def test_sums_stay_in_registers(work: Workload, sums: int) -> None:
    """One instruction multiplies and adds eight numbers; nothing of a loop goes to the stack."""
    target = parse("rpi5", dtype="float16")
    text = module(work, target, target).mod.inspect_source("asm")
    loops = [loop for loop in innermost_loops(text, "aarch64") if loop.fused >= sums]
    assert loops
    assert all(loop.fused == sums and not loop.spills for loop in loops)

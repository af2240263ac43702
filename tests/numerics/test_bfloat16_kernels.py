"""Kernels on maps of bfloat16 are within their bounds, over odd sizes; NaN stays where it is."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
from sixteen_kernels import LANES, Cases
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.cpu.written import written

from tvm_mobilenet.common.bfloat16 import narrowed, widened
from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.machine import host
from tvm_mobilenet.machine.arithmetic import has_products
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.packing import blocked
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.kernel_case import KernelCase, kernel_case

pytestmark = pytest.mark.skipif(
    not has_products(host().isa, host().needs, "bfloat16"),
    reason="this processor does not multiply bfloat16",
)

NOT_A_NUMBER = 0x7FC0
CASES = Cases("bfloat16")
PRODUCTS, WINDOWS, MAPS = CASES.products(), CASES.windows(), CASES.maps()


Chosen = tuple[tuple[str, int | str], ...]
"""Knobs and their values."""


@functools.cache
def kernel(work: Workload, cores: int = 2, knobs: Chosen = ()) -> Any:
    import tvm

    target = dataclasses.replace(host(), dtype="bfloat16", cores=cores)
    func = written(work, Knobs(dict(knobs) or None), target).with_attr("global_symbol", "main")
    return tvm.compile(tvm.IRModule({"main": func}), target=tvm.target.Target(target.tvm_dict()))


def answer(work: Workload, case: KernelCase, knobs: Chosen = ()) -> Any:
    """What a kernel writes into an output that is all NaN; with the rule's knobs, or these."""
    import tvm

    floats = OPERATORS[work.operator].writes_plain
    fill = np.array(np.nan, np.float32) if floats else np.array(NOT_A_NUMBER, np.uint16)
    out = tvm.runtime.tensor(np.full(case.want.shape, fill))
    kernel(work, knobs=knobs)(*map(tvm.runtime.tensor, case.inputs), out)
    return out.numpy()


@pytest.mark.parametrize("work", [*PRODUCTS, *WINDOWS, *MAPS], ids=lambda work: work.key)
def test_a_kernel_is_within_its_bound(work: Workload) -> None:
    case = kernel_case(work, seed=1)
    got = answer(work, case)
    assert case.error(got) < 2.0**-6
    assert got.dtype == (np.float32 if OPERATORS[work.operator].writes_plain else np.uint16)
    off = widened(got).copy() if got.dtype == np.uint16 else got.copy()
    at = np.unravel_index(int(np.argmax(np.abs(case.want))), case.want.shape)
    off[at] += np.float32(2 * case.bound[at] + 1e-6 * abs(case.want[at]))
    with pytest.raises(VerificationError, match=r"1 of .* elements are wrong"):
        case.error(off)


@pytest.mark.parametrize(
    "work", [PRODUCTS[2], PRODUCTS[10], *WINDOWS[1:7], WINDOWS[9]], ids=lambda work: work.key
)
@pytest.mark.parametrize("outlier", [np.nan, np.inf])
def test_what_is_no_number_stays_where_it_is(work: Workload, outlier: float) -> None:
    """A tap of 0 that fills up a pair sees no neighbour."""
    with np.errstate(invalid="ignore"):
        case = kernel_case(work, seed=2, outlier=outlier)
    got = widened(answer(work, case))
    image = np.ones((work.batch, work.out_channels, *work.out_size))
    real = blocked(image, LANES) == 1
    assert not np.isfinite(case.want[real]).all() or work.activation == "relu6"
    assert np.isnan(case.want[real]).any() or np.isinf(outlier)
    np.testing.assert_array_equal(np.isnan(got[real]), np.isnan(case.want[real]))
    np.testing.assert_array_equal(np.isinf(got[real]), np.isinf(case.want[real]))


def test_numbers_are_rounded_to_the_nearest_and_ties_to_even() -> None:
    numbers = np.array(
        [1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -(2.0**-130)], np.float32
    )
    want = np.array([1.0, 1.0, 1 + 2**-6, 1 + 2**-7, -(2.0**-130)], np.float32)
    np.testing.assert_array_equal(widened(narrowed(numbers)), want)
    beyond = np.array([np.finfo(np.float32).max, -np.inf, np.nan], np.float32)
    beyond = np.append(beyond, np.array([0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32))
    got = widened(narrowed(beyond))
    np.testing.assert_array_equal(got[:2], [np.inf, -np.inf])
    assert np.isnan(got[2:]).all()

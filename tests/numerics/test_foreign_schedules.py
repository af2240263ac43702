"""Kernels that are not ours: right whatever their shapes, on all threads, in vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from kernels import use_threads
from tvm import te, topi
from tvm_mobilenet.schedules.tensorir.cpu.fallback import share_among_threads

from tvm_mobilenet.machine import TargetSpec, parse

TARGET = parse("native")

Define = Callable[..., Any]

CASES: dict[str, tuple[Define, tuple[tuple[int, ...], ...], bool]] = {
    "elements": (topi.exp, ((2, 7, 33),), False),
    "whole vectors": (lambda x: x * x + 1.0, ((5, 64),), True),
    "one axis": (lambda x: x + 1.0, ((100_000,),), True),
    "transposed": (lambda x: topi.transpose(x, (0, 2, 1)), ((3, 40, 64),), True),
    "sums side by side": (lambda x: topi.sum(x, axis=1), ((4, 19, 48),), True),
    "sums in a row": (lambda x: topi.sum(x, axis=2), ((9, 5, 64),), True),
    "sums of a few": (lambda x: topi.sum(x, axis=2, keepdims=True), ((9, 5, 7),), False),
    "one sum": (topi.sum, ((9, 5),), False),
    "product": (topi.matmul, ((20, 33), (33, 24)), True),
    "odd product": (topi.matmul, ((7, 5), (5, 13)), False),
    "softmax": (lambda x: topi.nn.softmax(x, axis=1), ((2, 21, 5, 8),), True),
    "padded window": (
        lambda x, w: topi.nn.conv2d_nchw(x, w, (2, 1), (1, 2, 0, 1), (2, 1)),
        ((1, 5, 13, 11), (6, 5, 3, 3)),
        True,
    ),
}


def _built(func: Any, target: TargetSpec, shapes: list[tuple[int, ...]]) -> Callable[..., Any]:
    built = tvm.compile(
        tvm.IRModule({"main": func}), target=tvm.target.Target(target.tvm_dict())
    ).jit()

    def run(arrays: list[Any]) -> Any:
        out = tvm.runtime.tensor(np.full(shapes[-1], np.nan, np.float32))
        built["main"](*map(tvm.runtime.tensor, arrays), out)
        return out.numpy()

    return run


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_it_did(name: str) -> None:
    define, shapes, vectors = CASES[name]
    inputs = [te.placeholder(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
    out = define(*inputs)
    func = te.create_prim_func([*inputs, out]).with_attr("global_symbol", "main")
    made = share_among_threads(func, TARGET)
    assert ("vectorized" in made.script()) == vectors
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    use_threads(2)
    sizes = [*shapes, tuple(int(size) for size in out.shape)]
    want, got = (_built(one, TARGET, sizes)(arrays) for one in (func, made))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_threads_share_what_is_worth_it() -> None:
    x = te.placeholder((64, 100, 100), name="x")
    func = te.create_prim_func([x, topi.sum(x, axis=1)])
    target = parse("native")
    shared = target.cores > 1
    assert ("parallel" in share_among_threads(func, target).script()) == shared


def test_a_sort_stays_as_it_is() -> None:
    x = te.placeholder((4, 9), name="x")
    func = te.create_prim_func([x, topi.sort(x)])
    assert tvm_ffi.structural_equal(share_among_threads(func, TARGET), func)

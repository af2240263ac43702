"""Lets that LLVM 22 refuses are taken out, wherever they stand; loops are peeled where hinted."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import te, tir

from tvm_mobilenet.emit.relay.tir_passes import lowering, without_lets
from tvm_mobilenet.machine import parse

N = 24
NATIVE = parse("native")


def let(kind: str, value: Any, use: Any) -> Any:
    var = tir.Var("r", kind)
    return tir.Let(var, value, use(var))


def both(name: str) -> Any:
    """What a case computes of a float and its place, with lets or with NumPy."""
    f32 = lambda value: tir.const(value, "float32")  # noqa: E731
    return {
        "of a float": (
            lambda x, i: let("float32", x[i] * f32(3), lambda r: r * r + r),
            lambda x, i: 9 * x * x + 3 * x,
        ),
        # The second reads the first, the integer between them too.
        "in a let": (
            lambda x, i: let("float32", x[i] + f32(1), lambda a: let(
                "int32", i * 2, lambda n: let(
                    "float32", a * n.astype("float32"), lambda b: b * b - a))),
            lambda x, i: ((x + 1) * 2 * i) ** 2 - (x + 1),
        ),
        # Past the end of x there is nothing to read.
        "guarded": (
            lambda x, i: tir.if_then_else(
                i < N // 2,
                let("float32", x[2 * i], lambda r: r * r),
                let("float32", x[i - N // 2] + f32(1), lambda r: r - r * r)),
            lambda x, i: np.where(
                i < N // 2, x[2 * i % N] ** 2, x[i - N // 2] + 1 - (x[i - N // 2] + 1) ** 2),
        ),
        "of a condition": (
            lambda x, i: let("bool", x[i] < f32(0), lambda b: tir.Select(
                b, f32(2), let("float32", x[i] * x[i], lambda r: tir.Select(b, r, r + r)))),
            lambda x, i: np.where(x < 0, 2, 2 * x * x),
        ),
        # i * 0.5 twice: a let that TVM makes.
        "of a common subexpression": (
            lambda x, i: (i.astype("float32") * f32(0.5) + x[i])
            * (i.astype("float32") * f32(0.5) - x[i]),
            lambda x, i: (i * 0.5 + x) * (i * 0.5 - x),
        ),
    }[name]  # fmt: skip


@pytest.mark.parametrize("how", ["plain", "vectorized", "unrolled"])
def test_lets_of_floats_and_vectors_compile(how: str) -> None:
    names = ["of a float", "in a let", "guarded", "of a condition", "of a common subexpression"]
    given = np.random.default_rng(0).standard_normal(N).astype(np.float32)
    for name in names:
        define, want = both(name)
        x = te.placeholder((N,), name="x")
        y = te.compute((N,), functools.partial(define, x), name="y")
        s = te.create_schedule(y.op)
        _, inner = s[y].split(y.op.axis[0], 8)
        if how != "plain":
            (s[y].vectorize if how == "vectorized" else s[y].unroll)(inner)
        with lowering(NATIVE):
            kernel = tvm.build(tvm.lower(s, [x, y]), target="llvm")
        out = tvm.nd.array(np.empty(N, np.float32))
        kernel(tvm.nd.array(given), out)
        np.testing.assert_allclose(
            out.numpy(), want(given, np.arange(N)), rtol=1e-5, atol=1e-6, err_msg=name
        )


def test_without_the_pass_llvm_refuses() -> None:
    x = te.placeholder((N,), name="x")
    y = te.compute((N,), lambda i: both("of a float")[0](x, i), name="y")
    with pytest.raises(tvm.TVMError, match="LLVM module verification failed"):
        tvm.build(te.create_schedule(y.op), [x, y], target="llvm")


def test_what_one_branch_reads_stays_behind_its_condition() -> None:
    x = te.placeholder((N,), name="x")
    y = te.compute((N,), lambda i: both("guarded")[0](x, i), name="y")
    mod = without_lets(tvm.lower(te.create_schedule(y.op), [x, y], simple_mode=True))
    first, second = (text(store.value) for store in stores(mod["main"].body)[:2])
    assert first == "T.if_then_else(i < 12, x[i * 2], T.float32(0.0))"
    assert second == "T.if_then_else(not i < 12, x[i - 12] + T.float32(1.0), T.float32(0.0))"


def test_a_loop_computes_its_condition_anew() -> None:
    n = tir.decl_buffer((1,), "float32", "n")
    condition = let("float32", n[0] * n[0], lambda r: r + r < tir.const(9, "float32"))
    step = tir.BufferStore(n, n[0] + tir.const(1, "float32"), [0])
    func = tir.PrimFunc([n.data], tir.While(condition, step))
    found = without_lets(tvm.IRModule({"main": func}))["main"].body
    assert text(found.condition) == "n[0] * n[0] + n[0] * n[0] < T.float32(9.0)"


def test_a_function_without_such_lets_is_left_alone() -> None:
    x = te.placeholder((N,), name="x")
    y = te.compute((N,), lambda i: let("int32", i * i % N, lambda n: x[n] * x[n]), name="y")
    mod = tvm.lower(te.create_schedule(y.op), [x, y], simple_mode=True)
    assert without_lets(mod)["main"].same_as(mod["main"])


def text(expr: Any) -> str:
    return str(expr.script()).splitlines()[-1]


def stores(body: Any) -> list[Any]:
    found: list[Any] = []
    tir.stmt_functor.post_order_visit(
        body, lambda node: isinstance(node, tir.BufferStore) and found.append(node)
    )
    return found


@pytest.mark.parametrize("hinted", [True, False])
def test_only_a_hinted_loop_is_peeled(hinted: bool) -> None:
    x = te.placeholder((100,), name="x")
    y = te.compute((100,), lambda i: x[i] + x[i], name="y")
    s = te.create_schedule(y.op)
    outer, inner = s[y].split(y.op.axis[0], 16)
    s[y].vectorize(inner)
    s[y].parallel(outer)
    if hinted:
        s[y].pragma(outer, "loop_partition_hint")
    with lowering(NATIVE):
        found = tvm.lower(s, [x, y])["main"]
    whole_tiles = ["float32x16", "float32"]
    assert [store.value.dtype for store in stores(found.body)] == whole_tiles[1 - hinted :]

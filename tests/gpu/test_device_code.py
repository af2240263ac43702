"""Device source and launches of functions that TVM's simplest rule binds to threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from opencl import bound, run_on_opencl
from tvm import te

from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.errors import CodegenError
from tvm_mobilenet.machine import TargetSpec, parse

ROWS, COLUMNS = 37, 53


def two_kernels() -> Any:
    """Row sums of A·exp(B), doubled: a map between two kernels."""
    a, b = (te.placeholder((ROWS, COLUMNS), name=name) for name in "ab")
    k = te.reduce_axis((0, COLUMNS), name="k")
    sums = te.compute((ROWS,), lambda i: te.sum(a[i, k] * te.exp(b[i, k]), axis=k), name="sums")
    return te.create_prim_func([a, b, te.compute((ROWS,), lambda i: sums[i] * 2.0, name="twice")])


def staged(target: TargetSpec) -> Any:
    """A transpose through shared memory."""
    from tvm.s_tir import Schedule

    a = te.placeholder((64, 64), name="a")
    sch = Schedule(te.create_prim_func([a, te.compute((64, 64), lambda i, j: a[j, i], name="t")]))
    block = sch.get_sblock("t")
    i, j = sch.get_loops(block)
    (i0, i1), (j0, j1) = sch.split(i, [None, 16]), sch.split(j, [None, 16])
    sch.reorder(i0, j0, i1, j1)
    read = sch.cache_read(block, 0, "shared")
    sch.compute_at(read, j0)
    for loop, axis in zip((i0, j0, i1, j1), ("y", "x", "y", "x"), strict=True):
        sch.bind(loop, f"{'blockIdx' if loop in (i0, j0) else 'threadIdx'}.{axis}")
    rows, columns = sch.get_loops(read)[-2:]
    sch.bind(rows, "threadIdx.y")
    sch.bind(columns, "threadIdx.x")
    return sch.mod["main"]


def test_a_function_of_two_kernels_runs_with_its_scratch_buffer() -> None:
    target = parse("opencl")
    func = bound(two_kernels(), target)
    code = device_code({"f": func}, target)
    first, second = code.kernels["f"]
    assert (first.arguments, second.arguments) == ((0, 1, 3), (3, 2))
    assert code.scratch["f"] == (4 * ROWS,)
    assert first.grid[0] * first.threads >= ROWS
    assert code.source.count("reqd_work_group_size") == 2
    a, b = np.random.default_rng(0).standard_normal((2, ROWS, COLUMNS), np.float32)
    got = run_on_opencl(func, target, [a, b])
    want = 2.0 * (a.astype(np.float64) * np.exp(b.astype(np.float64))).sum(1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


def test_shared_memory_is_counted_and_works() -> None:
    target = parse("opencl")
    (launch,) = device_code({"t": staged(target)}, target).kernels["t"]
    assert (launch.grid, launch.block) == ((4, 4, 1), (16, 16, 1))
    assert launch.shared_bytes == 4 * 16 * 16
    a = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    np.testing.assert_array_equal(run_on_opencl(staged(target), target, [a]), a.T)


@pytest.mark.parametrize(
    ("name", "mark"), [("metal", "kernel void f_kernel("), ("sm_80", "__global__")]
)
def test_other_languages_have_the_same_launches(name: str, mark: str) -> None:
    target = parse(name)
    funcs = {"f": bound(two_kernels(), target), "t": staged(target)}
    code = device_code(funcs, target)
    assert mark in code.source
    assert code.source.count("#include <metal_stdlib>") <= 1
    assert [launch.arguments for launch in code.kernels["f"]] == [(0, 1, 3), (3, 2)]
    assert [launch.shared_bytes for launch in code.kernels["t"]] == [1024]


def test_a_function_that_no_thread_runs_is_refused() -> None:
    with pytest.raises(CodegenError, match="bind the loops"):
        device_code({"f": two_kernels()}, parse("opencl"))


@pytest.mark.parametrize(
    ("name", "spelled"), [("opencl", "as_float(1"), ("metal", "as_type<float>(1")]
)
def test_constants_keep_all_their_bits(name: str, spelled: str) -> None:
    """TVM's generators print seven digits: 12582912, with which softmax rounds, loses two."""
    exact = np.float32(12582912.0)
    a = te.placeholder((64,), name="a")
    target = parse(name)
    add = te.create_prim_func([a, te.compute((64,), lambda i: a[i] + te.const(exact), name="b")])
    func = bound(add, target)
    assert spelled in device_code({"f": func}, target).source
    if name == "opencl":
        zeros = np.zeros(64, np.float32)
        np.testing.assert_array_equal(run_on_opencl(func, target, [zeros]), zeros + exact)


@pytest.mark.parametrize("offset", [0, 1, 4])
def test_vectors_in_global_memory_are_loaded_as_vectors_where_they_lie_so(offset: int) -> None:
    from tvm.s_tir import Schedule

    a = te.placeholder((260,), name="a")
    sch = Schedule(te.create_prim_func([a, te.compute((256,), lambda i: a[i + offset], name="b")]))
    (i,) = sch.get_loops(sch.get_sblock("b"))
    blocks, threads, lanes = sch.split(i, [None, 16, 4])
    sch.bind(blocks, "blockIdx.x")
    sch.bind(threads, "threadIdx.x")
    sch.vectorize(lanes)
    target, func = parse("opencl"), sch.mod["main"]
    source = device_code({"f": func}, target).source
    assert ("LOAD_float4(a_ptr + " in source) is (offset % 4 == 0)
    assert "STORE_float4(" in source
    assert "vload4" not in source
    values = np.arange(260, dtype=np.float32)
    np.testing.assert_array_equal(run_on_opencl(func, target, [values]), values[offset:][:256])

"""Fused functions against the reference, layer by layer of what they fuse."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from separable_cases import SHAPES, block, check_separable, panels, vector
from tvm_mobilenet.schedules.knobs import Knobs, SeededKnobs
from tvm_mobilenet.schedules.rules import schedule

from tvm_mobilenet import reference, target
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.operators.workload import Workload


def _run(work, spec, knobs, arrays, out_shape):
    import tvm

    scheduled = schedule(prim_func(work), spec, knobs)
    assert scheduled is not None
    func = scheduled.func.with_attr("global_symbol", work.key)
    library = tvm.compile(tvm.IRModule({work.key: func}), target=tvm.target.Target(spec.tvm_dict()))
    out = tvm.runtime.tensor(np.full(out_shape, np.nan, "float32"))
    library.jit()[work.key](*map(tvm.runtime.tensor, arrays), out)
    return out.numpy()


def _check(shape, spec, knobs, residual=False, seed=0):
    def run(work, arrays, out_shape):
        return _run(work, spec, knobs, arrays, out_shape)

    check_separable(shape, spec.lanes, run, residual, seed)


@pytest.fixture(scope="module")
def native():
    return target.parse("native")


@pytest.mark.parametrize("cores", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_separable_by_rule(native, shape, cores):
    _check(shape, dataclasses.replace(native, cores=cores), Knobs())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_separable_adds_a_residual(native, shape):
    _check(shape, native, Knobs(), residual=True)


@pytest.mark.parametrize("seed", range(12))
def test_separable_is_right_for_every_knob(native, seed):
    _check(SHAPES[seed % len(SHAPES)], native, SeededKnobs(seed), seed=seed)


@pytest.mark.parametrize("prefetch", ["none", "weights", "input"])
def test_separable_prefetches_harmlessly(native, prefetch):
    _check(SHAPES[0], native, Knobs({"prefetch": prefetch, "rows": 1, "pixels": 7}))


# (batch, channels in, channels out, (height, width), classes)
TAILS = [(1, 64, 128, (7, 7), 1000), (2, 32, 64, (5, 4), 10), (1, 24, 40, (3, 3), 129)]


@pytest.mark.parametrize("knobs", [Knobs, lambda: SeededKnobs(1), lambda: SeededKnobs(2)])
@pytest.mark.parametrize("shape", TAILS, ids=str)
def test_tail(native, shape, knobs):
    batch, channels, out_channels, size, classes = shape
    rng = np.random.default_rng(0)
    lanes, wide = native.lanes, native.lanes * 8
    work = Workload(
        "tail", batch, channels, out_channels, size, size, lanes, lanes,
        activation="relu6", classes=classes, class_block=wide,
    )  # fmt: skip
    x = rng.standard_normal((batch, channels, size[0] * size[1])).astype("float32")
    weight = rng.standard_normal((out_channels, channels)).astype("float32")
    bias = rng.standard_normal(out_channels).astype("float32")
    dense = rng.standard_normal((classes, out_channels)).astype("float32")
    dense_bias = rng.standard_normal(classes).astype("float32")
    middle = np.clip(weight.astype("float64") @ x + bias[:, None], 0, 6).mean(axis=2)
    want = middle @ dense.T + dense_bias

    padded = np.zeros((-(-classes // wide) * wide, work.out_blocks * lanes), "float32")
    padded[:classes, :out_channels] = dense
    rows = padded.reshape(-1, wide, work.out_blocks, lanes).transpose(2, 0, 3, 1)
    arrays = [
        block(x, lanes), panels(weight, work.depth, lanes), vector(bias, lanes),
        np.ascontiguousarray(rows), vector(dense_bias, wide),
    ]  # fmt: skip
    got = _run(work, native, knobs(), arrays, (batch, classes))
    assert reference.relative_error(got, want) < 2e-6

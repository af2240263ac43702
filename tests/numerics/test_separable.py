"""Fused functions against the reference, layer by layer of what they fuse."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tvm_mobilenet.schedules.knobs import Knobs, SeededKnobs
from tvm_mobilenet.schedules.rules import schedule

from tvm_mobilenet import reference, target
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.compute.workload import Workload
from tvm_mobilenet.models.layers import Conv2d, same_padding

# (batch, channels in, channels out, (height, width), stride): tails of pixels, of channel
# blocks and of row groups; maps wider and narrower than a tile; the sizes of V1 and V2.
SHAPES = [
    (1, 32, 64, (14, 14), 1),
    (1, 64, 128, (28, 28), 2),
    (2, 32, 32, (13, 11), 1),
    (2, 16, 48, (15, 9), 2),
    (1, 24, 40, (9, 17), 1),
    (1, 8, 12, (5, 3), 2),
    (3, 48, 16, (1, 1), 1),
    (1, 96, 24, (7, 7), 1),
    (1, 40, 200, (2, 31), 1),
]


def _lanes(channels: int, lanes: int) -> int:
    return lanes if channels >= lanes else 1 << (channels - 1).bit_length()


def _block(array, lanes):
    """(N, C, P) to (N, Cb, P, lanes), zero-padded."""
    n, c, p = array.shape
    padded = np.zeros((n, -(-c // lanes) * lanes, p), "float32")
    padded[:, :c] = array
    return np.ascontiguousarray(padded.reshape(n, -1, lanes, p).transpose(0, 1, 3, 2))


def _panels(matrix, depth, lanes):
    """(O, K) to (Ob, depth, lanes), zero-padded."""
    o, k = matrix.shape
    padded = np.zeros((-(-o // lanes) * lanes, depth), "float32")
    padded[:o, :k] = matrix
    return np.ascontiguousarray(padded.reshape(-1, lanes, depth).transpose(0, 2, 1))


def _vector(values, lanes):
    return _block(values.reshape(1, -1, 1), lanes)[0, :, 0]


def _unblock(array, channels):
    n, blocks, p, lanes = array.shape
    return array.transpose(0, 1, 3, 2).reshape(n, blocks * lanes, p)[:, :channels]


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
    batch, channels, out_channels, size, stride = shape
    rng = np.random.default_rng(seed)
    padding = same_padding(size, (3, 3), (stride, stride))
    x = rng.standard_normal((batch, channels, *size)).astype("float32")
    first = Conv2d(
        "dw", ("input",), x.shape, channels, (3, 3), (stride, stride), padding,
        groups=channels, bias=True, activation="relu6",
    )  # fmt: skip
    second = Conv2d(
        "pw", ("dw",), first.out_shape, out_channels, (1, 1),
        bias=True, activation="none" if residual else "relu6",
    )  # fmt: skip
    weights = {
        name: rng.standard_normal(shape).astype("float32")
        for layer in (first, second)
        for name, shape in layer.parameters.items()
    }
    want = reference.run_layer(second, weights, reference.run_layer(first, weights, x))
    work = Workload(
        "separable", batch, channels, out_channels, size, first.out_shape[2:],
        _lanes(channels, spec.lanes), _lanes(out_channels, spec.lanes),
        (3, 3), (stride, stride), padding, second.activation,
        mid_activation="relu6", residual=residual,
    )  # fmt: skip
    ic, oc = work.in_block, work.out_block
    taps = weights["dw.weight"].reshape(1, channels, 9)
    arrays = [
        _block(x.reshape(batch, channels, -1), ic),
        _block(taps, ic)[0],
        _vector(weights["dw.bias"], ic),
        _panels(weights["pw.weight"].reshape(out_channels, channels), work.depth, oc),
        _vector(weights["pw.bias"], oc),
    ]
    if residual:
        added = rng.standard_normal(want.shape).astype("float32")
        want = want + added
        arrays.append(_block(added.reshape(batch, out_channels, -1), oc))
    shape = (batch, work.out_blocks, work.out_pixels, oc)
    got = _unblock(_run(work, spec, knobs, arrays, shape), out_channels).reshape(want.shape)
    assert reference.relative_error(got, want) < 2e-6


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
        _block(x, lanes), _panels(weight, work.depth, lanes), _vector(bias, lanes),
        np.ascontiguousarray(rows), _vector(dense_bias, wide),
    ]  # fmt: skip
    got = _run(work, native, knobs(), arrays, (batch, classes))
    assert reference.relative_error(got, want) < 2e-6

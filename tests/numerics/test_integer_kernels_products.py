"""Pointwise layers, classifiers and full convolutions in integers equal NumPy bit for bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from integer_kernels import (
    NATIVE,
    Array,
    Pointwise,
    blocked,
    per_channel,
    plain,
    ran,
    requantized,
    rounded,
    skip_unless_here,
    target_of,
    weights_for,
    windowed,
)

from tvm_mobilenet.models.pixels import Pixels
from tvm_mobilenet.models.quantized.arithmetic import fused_multiply_add
from tvm_mobilenet.operators.packing import rows_in_steps
from tvm_mobilenet.operators.workload import Workload

TARGETS = (NATIVE, "x86-64-v4", "x86-64-v3", "x86-64-v2")


@pytest.fixture(params=TARGETS)
def name(request: pytest.FixtureRequest) -> str:
    skip_unless_here(request.param)
    return str(request.param)


def flat(
    operator: str, channels: tuple[int, int], size: tuple[int, int], **fields: Any
) -> Workload:
    return windowed(operator, channels, size, (1, 1), 1, (0, 0, 0, 0), **fields)


def pointwise(
    work: Workload, name: str, knobs: dict[str, int | str] | None = None
) -> tuple[Array, Array]:
    """What the kernel makes, and what NumPy does."""
    rng = np.random.default_rng(3)
    layer = Pointwise(work, rng)
    layer.weight[0] = -128  # our own calibration never gives it; a file may
    x = rng.integers(0, 256, (work.batch, work.in_channels, *work.in_size)).astype(np.uint8)
    x[..., 0, 0] = 255
    inputs, numbers = [blocked(x), *layer.parameters()], layer.numbers(x)
    table = rng.permutation(256).astype(np.uint8)
    if work.activation == "hardswish":
        inputs.append(table)
    if work.residual:
        other = rng.integers(0, 256, numbers.shape).astype(np.uint8)
        addend = np.array([0.75, 0.625, -20.5], np.float32)
        pair = (other, numbers) if work.residual_first else (numbers, other)
        moved = fused_multiply_add(pair[0], addend[0], addend[2])
        numbers = fused_multiply_add(pair[1], addend[1], moved)
        inputs += [addend, blocked(other)]
    wanted = numbers if work.out_dtype else rounded(numbers, work.limits, work.dtype)
    if work.activation == "hardswish":
        wanted = table[wanted]
    shape = (work.batch, work.out_blocks, work.out_pixels, 16)
    target = target_of(name, cores=2)
    got = ran(work, target, inputs, (shape, work.out_dtype or work.dtype), knobs)
    return plain(got, work.out_channels, work.out_size), wanted


@pytest.mark.parametrize(
    ("channels", "size", "fields"),
    [
        ((16, 16), (1, 1), {}),
        ((3, 5), (1, 3), {"batch": 2}),
        ((21, 33), (5, 7), {"batch": 3, "limits": (3, 250)}),
        ((68, 40), (7, 7), {"activation": "hardswish"}),
        ((24, 48), (3, 5), {"residual": True}),
        ((24, 48), (3, 6), {"residual": True, "residual_first": True, "limits": (0, 201)}),
        ((40, 24), (4, 5), {"out_dtype": "float32"}),
        ((960, 20), (1, 2), {"activation": "hardswish"}),
        ((37, 40), (5, 7), {"passes": 2, "residual": True}),
    ],
    ids=str,
)
def test_a_pointwise_layer_equals_numpy(
    name: str, channels: tuple[int, int], size: tuple[int, int], fields: dict[str, Any]
) -> None:
    assert np.array_equal(*pointwise(flat("qpointwise", channels, size, **fields), name))


@pytest.mark.parametrize("tile", ["14x2", "7x2", "7x3", "5x2", "3x2", "6x1", "1x2"])
@pytest.mark.parametrize("activation", ["none", "hardswish"])
def test_tiles_that_no_four_divides(tile: str, activation: str) -> None:
    """Four pixels are packed together, then two, then one; the last tile overlaps."""
    work = flat("qpointwise", (20, 48), (5, 9), activation=activation)
    assert np.array_equal(*pointwise(work, NATIVE, {"tile": tile, "chunks": 1, "threads": "all"}))


@pytest.mark.parametrize("passes", [1, 2])
def test_a_classifier_equals_numpy(name: str, passes: int) -> None:
    work = flat("qdense", (52, 37), (1, 1), batch=2, out_dtype="float32", passes=passes)
    rng = np.random.default_rng(4)
    layer = Pointwise(work, rng)
    x = rng.integers(0, 256, (2, 52, 1, 1)).astype(np.uint8)
    got = ran(work, target_of(name), [blocked(x), *layer.parameters()], ((2, 37), "float32"))
    assert np.array_equal(got, layer.numbers(x)[:, :, 0, 0])


def convolved(x: Array, weight: Array, work: Workload) -> Array:
    """Sums of a convolution, borders filled with the zero point."""
    top, left, bottom, right = work.padding
    borders = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(x.astype(np.int64), borders, constant_values=work.zero_point)
    (height, width), (down, along) = work.out_size, work.strides
    total = np.zeros((x.shape[0], work.out_channels, height, width), np.int64)
    for r in range(work.kernel[0]):
        for q in range(work.kernel[1]):
            seen = padded[:, :, r : r + height * down : down, q : q + width * along : along]
            seen = seen[:, :, :height, :width]
            total += np.einsum("oi,nihw->nohw", weight[:, :, r, q].astype(np.int64), seen)
    return total


@pytest.mark.parametrize(
    ("channels", "block", "form", "fields"),
    [
        ((3, 32), 4, ((17, 15), (3, 3), 2, (1, 1, 1, 1)), {"batch": 2}),
        ((3, 24), 4, ((16, 12), (3, 3), 2, (0, 0, 1, 1)), {"activation": "hardswish"}),
        ((1, 16), 4, ((5, 6), (5, 5), 1, (2, 2, 2, 2)), {}),
        ((20, 33), 16, ((6, 7), (3, 3), 1, (1, 1, 1, 1)), {"limits": (4, 240)}),
        ((36, 16), 16, ((7, 9), (1, 1), 2, (0, 0, 0, 0)), {}),
        ((16, 20), 16, ((8, 5), (2, 3), 1, (1, 0, 0, 2)), {"out_dtype": "float32"}),
        ((4, 16), 4, ((1, 1), (3, 3), 1, (1, 1, 1, 1)), {}),
        ((3, 33), 4, ((7, 9), (3, 3), 2, (1, 1, 1, 1)), {"passes": 2}),
        ((20, 33), 16, ((6, 7), (2, 3), 1, (1, 1, 1, 1)), {"passes": 2}),
    ],
    ids=str,
)
def test_a_convolution_equals_numpy(
    name: str, channels: tuple[int, int], block: int, form: Any, fields: dict[str, Any]
) -> None:
    made = windowed("qconv", channels, *form, zero_point=117, **fields)
    work = dataclasses.replace(made, in_block=block)
    rng = np.random.default_rng(5)
    count = work.out_channels
    taps = channels[0] * work.kernel[0] * work.kernel[1]
    weight = weights_for(rng, (count, channels[0], *work.kernel), work.passes)
    weight[weight == -127] -= work.passes == 1  # only files have that
    scale = (rng.uniform(0.5, 1, count) / (100 * taps**0.5)).astype(np.float32)
    shift = rng.integers(0, 200, count).astype(np.float32)
    x = rng.integers(0, 256, (work.batch, channels[0], *work.in_size)).astype(np.uint8)
    wanted = requantized(convolved(x, weight, work), scale, shift)
    inputs = [
        blocked(x, block),
        rows_in_steps(weight, work),
        per_channel(scale),
        per_channel(shift),
    ]
    if not work.out_dtype:
        wanted = rounded(wanted, work.limits, work.dtype)
    if work.activation == "hardswish":
        table = rng.permutation(256).astype(np.uint8)
        inputs.append(table)
        wanted = table[wanted]
    shape = (work.batch, work.out_blocks, work.out_pixels, 16)
    got = ran(work, target_of(name, cores=2), inputs, (shape, work.out_dtype or work.dtype))
    assert np.array_equal(plain(got, count, work.out_size), wanted)


@pytest.mark.parametrize(
    "form",
    [
        ((17, 35), (3, 3), 2, (1, 1, 1, 1)),
        ((16, 12), (3, 3), 2, (0, 0, 1, 1)),
        ((5, 3), (5, 5), 1, (2, 2, 2, 2)),
        ((1, 1), (3, 2), 1, (1, 1, 1, 1)),
        ((8, 19), (2, 2), 3, (3, 0, 0, 2)),
        ((4, 7), (1, 1), 1, (0, 0, 0, 0)),
    ],
    ids=str,
)
def test_a_convolution_of_pixels_equals_numpy(name: str, form: Any) -> None:
    """An image lies as it is; its border is made where it is read."""
    work = windowed("qpixels", (3, 24), *form, batch=2, border=(9, 255, 120, 2))
    work = dataclasses.replace(work, in_block=4)
    rng = np.random.default_rng(6)
    weight = rng.integers(-127, 128, (24, 4, *work.kernel)).astype(np.int8)
    scale = rng.uniform(0.001, 0.002, 24).astype(np.float32)
    shift = rng.integers(0, 200, 24).astype(np.float32)
    x = rng.integers(0, 256, (2, 3, *work.in_size)).astype(np.uint8)
    framed = Pixels("p", ("input",), x.shape, work.padding, work.border).framed(x)
    inside = dataclasses.replace(work, padding=(0, 0, 0, 0))
    numbers = requantized(convolved(framed, weight, inside), scale, shift)
    inputs = [x, rows_in_steps(weight, work), per_channel(scale), per_channel(shift)]
    shape = (2, work.out_blocks, work.out_pixels, 16)
    got = ran(work, target_of(name, cores=2), inputs, (shape, "uint8"))
    wanted = rounded(numbers, work.limits, "uint8")
    assert np.array_equal(plain(got, 24, work.out_size), wanted)

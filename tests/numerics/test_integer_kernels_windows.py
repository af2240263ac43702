"""Depthwise layers and separable blocks in integers equal NumPy bit for bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from integer_kernels import (
    NATIVE,
    Array,
    Depthwise,
    Pointwise,
    blocked,
    plain,
    ran,
    rounded,
    skip_unless_here,
    target_of,
    windowed,
)

from tvm_mobilenet.models.quantized.arithmetic import fused_multiply_add
from tvm_mobilenet.operators.workload import Workload

TARGETS = (NATIVE, "x86-64-v3", "x86-64-v2")

FORMS = [
    # size, kernel, stride, padding
    ((9, 7), (3, 3), 1, (1, 1, 1, 1)),
    ((13, 12), (3, 3), 2, (0, 0, 1, 1)),
    ((8, 9), (5, 5), 1, (2, 2, 2, 2)),
    ((11, 10), (5, 5), 2, (2, 2, 2, 2)),
    ((1, 1), (3, 3), 1, (1, 1, 1, 1)),
    ((6, 3), (3, 3), 1, (1, 1, 1, 1)),
    ((6, 5), (1, 3), 1, (0, 0, 0, 0)),
    ((9, 16), (7, 7), 1, (3, 3, 3, 3)),
    ((9, 11), (3, 4), 3, (1, 2, 1, 0)),
    # wide enough for tiles that read the map itself
    ((18, 21), (3, 3), 1, (1, 1, 1, 1)),
    ((35, 38), (3, 3), 2, (0, 0, 1, 1)),
    ((17, 19), (5, 5), 1, (2, 2, 2, 2)),
    ((34, 33), (5, 5), 2, (1, 1, 2, 2)),
    ((18, 22), (3, 3), 1, (0, 0, 0, 0)),
]


@pytest.fixture(params=TARGETS)
def name(request: pytest.FixtureRequest) -> str:
    skip_unless_here(request.param)
    return str(request.param)


def elements(rng: np.random.Generator, *shape: int) -> Array:
    """Elements, a run of the largest among them."""
    x = rng.integers(0, 256, shape).astype(np.uint8)
    x[:, 0] = 255
    return x


@pytest.mark.parametrize(
    ("name", "form"),
    [(name, form) for name in TARGETS for form in (FORMS if name == NATIVE else FORMS[::4])],
    ids=str,
)
def test_a_depthwise_layer_equals_numpy(name: str, form: Any) -> None:
    skip_unless_here(name)
    work = windowed("qdepthwise", (19, 19), *form, batch=2, zero_point=131)
    assert np.array_equal(*depthwise(work, name))


@pytest.mark.parametrize(
    "fields",
    [
        {"limits": (3, 200)},
        {"activation": "hardswish", "limits": (0, 255)},
        {"out_dtype": "float32", "activation": "relu6"},
        {"passes": 2, "zero_point": 131},
        {"passes": 2, "kernel": (5, 5), "padding": (2, 2, 2, 2), "activation": "hardswish"},
    ],
    ids=str,
)
def test_what_leaves_a_depthwise_layer(name: str, fields: dict[str, Any]) -> None:
    work = windowed("qdepthwise", (32, 32), (6, 9), (3, 3), 1, (1, 1, 1, 1))
    assert np.array_equal(*depthwise(dataclasses.replace(work, **fields), name))


@pytest.mark.parametrize(
    ("chunks", "rows"), [(1, 1), (1, 4), (1, 7), (3, 2), (3, 4), (9, 2), (18, 1)]
)
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_depthwise_layer_cut_in_pieces(chunks: int, rows: int, kernel: int) -> None:
    size, border = (18, 17), (kernel // 2,) * 4
    work = windowed("qdepthwise", (16, 16), size, (kernel, kernel), 1, border, zero_point=7)
    knobs: dict[str, int | str] = {"chunks": chunks, "tap_rows": rows, "threads": "all"}
    assert np.array_equal(*depthwise(work, NATIVE, knobs))


def test_a_depthwise_layer_without_vnni() -> None:
    skip_unless_here("x86-64-v4")
    work = windowed("qdepthwise", (19, 19), (18, 21), (3, 3), 1, (1, 1, 1, 1), zero_point=131)
    assert np.array_equal(*depthwise(work, "x86-64-v4"))


def depthwise(
    work: Workload, name: str, knobs: dict[str, int | str] | None = None
) -> tuple[Array, Array]:
    """What the kernel makes, and what NumPy does."""
    rng = np.random.default_rng(0)
    layer = Depthwise(work, rng)
    x = elements(rng, work.batch, work.in_channels, *work.in_size)
    inputs = [blocked(x), *layer.parameters()]
    numbers = layer.numbers(x)
    if work.out_dtype:
        wanted = np.clip(numbers, 0, 6)
    else:
        wanted = rounded(numbers, work.limits, work.dtype)
        if work.activation == "hardswish":
            table = rng.permutation(256).astype(np.uint8)
            inputs.append(table)
            wanted = table[wanted]
    shape = (work.batch, work.out_blocks, work.out_pixels, 16)
    got = ran(work, target_of(name), inputs, (shape, work.out_dtype or work.dtype), knobs)
    return plain(got, work.out_channels, work.out_size), wanted


@pytest.mark.parametrize(
    ("channels", "form", "fields"),
    [
        ((32, 24), FORMS[0], {"zero_point": 9}),
        ((20, 33), FORMS[1], {"batch": 2, "limits": (2, 250), "mid_limits": (5, 220)}),
        ((16, 16), FORMS[2], {"mid_activation": "hardswish"}),
        ((24, 40), FORMS[0], {"residual": True}),
        ((24, 40), FORMS[4], {"residual": True, "residual_first": True}),
        ((32, 24), FORMS[3], {"out_dtype": "float32"}),
        ((20, 33), FORMS[1], {"mid_passes": 2}),
        ((24, 40), FORMS[0], {"passes": 2, "mid_passes": 2, "residual": True}),
        ((48, 300), FORMS[6], {}),  # one row group, or few: channels are cut
    ],
    ids=str,
)
def test_a_separable_block_equals_numpy(
    name: str, channels: tuple[int, int], form: Any, fields: dict[str, Any]
) -> None:
    work = windowed("qseparable", channels, *form, **({"mid_limits": (0, 255)} | fields))
    rng = np.random.default_rng(1)
    first, last = Depthwise(work, rng, work.mid_passes), Pointwise(work, rng)
    x = elements(rng, work.batch, work.in_channels, *work.in_size)
    between = rounded(first.numbers(x), work.mid_limits, work.dtype)
    inputs = [blocked(x), *first.parameters()]
    if work.mid_activation == "hardswish":
        table = rng.permutation(256).astype(np.uint8)
        inputs.append(table)
        between = table[between]
    inputs += last.parameters()
    numbers = last.numbers(between)
    if work.residual:
        other = rng.integers(0, 256, numbers.shape).astype(np.uint8)
        addend = np.array([0.75, 0.625, -20.5], np.float32)
        pair = (other, numbers) if work.residual_first else (numbers, other)
        numbers = fused_multiply_add(
            pair[1], addend[1], fused_multiply_add(pair[0], addend[0], addend[2])
        )
        inputs += [addend, blocked(other)]
    wanted = numbers if work.out_dtype else rounded(numbers, work.limits, work.dtype)
    shape = (work.batch, work.out_blocks, work.out_pixels, 16)
    out = shape, work.out_dtype or work.dtype
    got = ran(work, target_of(name, cores=2), inputs, out, {"threads": "all"})
    assert np.array_equal(plain(got, work.out_channels, work.out_size), wanted)

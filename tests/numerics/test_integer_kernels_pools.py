"""Joined maps, largest elements and means of windows equal NumPy, bit for bit."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from integer_kernels import (
    NATIVE,
    Array,
    blocked,
    flat,
    plain,
    ran,
    rounded,
    skip_unless_here,
    target_of,
)

from tvm_mobilenet.models.quantized.arithmetic import fused_multiply_add
from tvm_mobilenet.operators.workload import Workload

TARGETS = (NATIVE, "x86-64-v3", "x86-64-v2")


@pytest.fixture(params=TARGETS)
def name(request: pytest.FixtureRequest) -> str:
    skip_unless_here(request.param)
    return str(request.param)


def elements(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    return rng.integers(0, 256, shape).astype(np.uint8).view(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize(
    ("parts", "moved", "size"),
    [
        ((16, 32), (), (5, 7)),
        ((24, 40, 16), (), (4, 4)),
        ((21, 50, 3), (), (3, 5)),
        ((1, 1, 1, 5), (), (1, 1)),
        ((37, 70), (1,), (3, 7)),
        ((16, 5, 48), (0, 2), (4, 5)),
        ((33, 2), (0, 1), (1, 3)),
    ],
    ids=str,
)
def test_joined_maps(
    name: str, parts: tuple[int, ...], moved: tuple[int, ...], size: tuple[int, int], dtype: str
) -> None:
    rng = np.random.default_rng(0)
    work = flat("qconcat", sum(parts), size, batch=2, dtype=dtype, parts=parts, moved=moved)
    maps = [elements(rng, (2, count, *size), dtype) for count in parts]
    tables = [rng.permutation(256).astype(np.uint8).view(dtype) for _ in moved]
    least = np.iinfo(dtype).min
    wanted = [
        tables[moved.index(at)][x.astype(int) - least] if at in moved else x
        for at, x in enumerate(maps)
    ]
    first, *others = (blocked(x) for x in maps)
    given = [first, *([np.stack(tables)] if tables else []), *others]
    shape = (2, work.out_blocks, work.out_pixels, 16)
    got = ran(work, target_of(name, cores=2), given, (shape, dtype))
    assert np.array_equal(plain(got, sum(parts), size), np.concatenate(wanted, axis=1))


FORMS: list[tuple[Any, ...]] = [
    # size, out, kernel, strides, padding
    ((8, 9), (4, 4), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((11, 7), (6, 4), (3, 3), (2, 2), (1, 1, 1, 1)),
    ((5, 6), (5, 6), (5, 3), (1, 1), (2, 1, 2, 1)),
    ((7, 7), (4, 3), (2, 3), (2, 3), (0, 1, 1, 1)),
    ((4, 5), (1, 1), (4, 5), (1, 1), (0, 0, 0, 0)),
]


def pooled(operator: str, form: tuple[Any, ...], dtype: str, **fields: Any) -> Workload:
    size, out, kernel, strides, padding = form
    work = flat(operator, 21, size, batch=2, dtype=dtype, out_size=out, **fields)
    return dataclasses.replace(work, kernel=kernel, strides=strides, padding=padding)


def windows(x: Array, work: Workload) -> list[list[Array]]:
    """What each window sees of a map: (N, C, rows, columns)."""
    (rows, columns), (down, along), (top, left, *_) = work.kernel, work.strides, work.padding
    return [
        [
            x[
                :,
                :,
                max(i * down - top, 0) : i * down - top + rows,
                max(j * along - left, 0) : j * along - left + columns,
            ]
            for j in range(work.out_size[1])
        ]
        for i in range(work.out_size[0])
    ]


def over(x: Array, work: Workload, reduce: Any) -> Array:
    """A number for each window."""
    found = [[reduce(seen, axis=(2, 3)) for seen in row] for row in windows(x, work)]
    return np.stack([np.stack(row, axis=-1) for row in found], axis=-2)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("dtype", "moved"), [("uint8", ()), ("int8", ()), ("uint8", (0,))])
def test_largest(name: str, form: tuple[Any, ...], dtype: str, moved: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    work = pooled("qlargest", form, dtype, moved=moved)
    x = elements(rng, (2, 21, *work.in_size), dtype)
    wanted, given = over(x, work, np.max), [blocked(x)]
    if moved:
        given.append(rng.permutation(256).astype(np.uint8))
        wanted = given[1][wanted]
    shape = (2, work.out_blocks, work.out_pixels, 16)
    got = ran(work, target_of(name, cores=2), given, (shape, dtype))
    assert np.array_equal(plain(got, 21, work.out_size), wanted)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 117), ("int8", -11)])
def test_means(name: str, form: tuple[Any, ...], dtype: str, zero: int) -> None:
    rng = np.random.default_rng(2)
    low, high = (int(end) for end in (np.iinfo(dtype).min, np.iinfo(dtype).max))
    work = pooled("qmean", form, dtype, zero_point=zero, limits=(low, high))
    x = elements(rng, (2, 21, *work.in_size), dtype)
    sums = over(x.astype(np.int64) - zero, work, np.sum)
    counts = [[math.prod(seen.shape[2:]) for seen in row] for row in windows(x, work)]
    scale = (1.13 / np.array(counts)).astype(np.float32)
    shift = np.array([zero + 3.0], np.float32)
    wanted = rounded(fused_multiply_add(sums, scale, shift), work.limits, dtype)
    shape = (2, work.out_blocks, work.out_pixels, 16)
    given = [blocked(x), scale.reshape(-1), shift]
    got = ran(work, target_of(name, cores=2), given, (shape, dtype))
    assert np.array_equal(plain(got, 21, work.out_size), wanted)

"""What goes over maps of elements once equals NumPy bit for bit."""

from __future__ import annotations

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

TARGETS = (NATIVE, "x86-64-v3", "x86-64-v2")
SIZES = [(1, 1), (1, 3), (5, 7), (8, 8)]


@pytest.fixture(params=TARGETS)
def name(request: pytest.FixtureRequest) -> str:
    skip_unless_here(request.param)
    return str(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def numbers(*values: float) -> Array:
    return np.array(values, np.float32)


def shape_of(channels: int, size: tuple[int, int], block: int = 16) -> tuple[int, ...]:
    return (2, -(-channels // block), size[0] * size[1], block)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("channels", "block"), [(3, 4), (4, 4), (21, 16)])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_into_elements(  # noqa: PLR0917  what pytest gives
    name: str,
    rng: np.random.Generator,
    size: tuple[int, int],
    channels: int,
    block: int,
    dtype: str,
) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    work = flat("quantize", channels, size, block=block, batch=2, dtype=dtype, limits=(low, high))
    x = rng.normal(0, 3, (2, channels, *size)).astype(np.float32)
    x[0, :, 0, 0] = np.array([np.nan, np.inf, -np.inf, 1e30] * 6)[:channels]
    wanted = rounded(fused_multiply_add(x, np.float32(30), np.float32(12.25)), work.limits, dtype)
    given = x if work.in_plain == 4 else x[:, :, 0, 0]
    out = shape_of(channels, size, block), dtype
    got = ran(work, target_of(name), [given, numbers(30, 12.25)], out)
    assert np.array_equal(plain(got, channels, size), wanted)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_out_of_elements(name: str, rng: np.random.Generator, size: tuple[int, int]) -> None:
    work = flat("dequantize", 21, size, batch=2)
    x = rng.integers(0, 256, (2, 21, *size)).astype(np.uint8)
    wanted = (x.astype(np.int32) - 119).astype(np.float32) * np.float32(0.037)
    if work.in_plain != 4:
        wanted = wanted[:, :, 0, 0]
    got = ran(work, target_of(name), [blocked(x), numbers(0.037, 119)], (wanted.shape, "float32"))
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_tables(name: str, rng: np.random.Generator, size: tuple[int, int], dtype: str) -> None:
    low = np.iinfo(dtype).min
    work = flat("qtable", 21, size, batch=2, dtype=dtype)
    x = rng.integers(0, 256, (2, 21, *size)).astype(np.uint8).view(dtype)
    table = rng.permutation(256).astype(np.uint8).view(dtype)
    wanted = table[x.astype(np.int64) - low]
    got = ran(work, target_of(name), [blocked(x), table], (shape_of(21, size), dtype))
    assert np.array_equal(plain(got, 21, size), wanted)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "kinds", [(), ("float32", "uint8"), ("uint8", "float32"), ("float32", "float32")], ids=str
)
def test_sums(
    name: str, rng: np.random.Generator, size: tuple[int, int], kinds: tuple[str, ...]
) -> None:
    work = flat("qadd", 21, size, batch=2, limits=(4, 251), in_dtypes=kinds)
    maps = []
    for kind in kinds or ("uint8", "uint8"):
        x = rng.integers(0, 256, (2, 21, *size)).astype(kind)
        if kind == "float32":
            x = (x * np.float32(0.317)).astype(np.float32)
            x.reshape(-1)[:5] = [np.nan, np.inf, -np.inf, 3e9, -3e9]
        maps.append(x)
    addend = numbers(0.625, 0.731, -31.125)
    value = fused_multiply_add(maps[0], addend[0], addend[2])
    wanted = rounded(fused_multiply_add(maps[1], addend[1], value), work.limits, "uint8")
    given = [blocked(maps[0]), addend, blocked(maps[1])]
    got = ran(work, target_of(name), given, (shape_of(21, size), "uint8"))
    assert np.array_equal(plain(got, 21, size), wanted)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_factors(name: str, rng: np.random.Generator, size: tuple[int, int]) -> None:
    work = flat("qscale", 21, size, batch=2, zero_point=100, other_zero_point=3)
    x = rng.integers(0, 256, (2, 21, *size)).astype(np.uint8)
    y = rng.integers(0, 256, (2, 21, 1, 1)).astype(np.uint8)
    product = (x.astype(np.int32) - 100) * (y.astype(np.int32) - 3)
    to = numbers(0.00613, 101.5)
    wanted = rounded(fused_multiply_add(product, to[0], to[1]), work.limits, "uint8")
    given = [blocked(x), to, blocked(y)]
    got = ran(work, target_of(name), given, (shape_of(21, size), "uint8"))
    assert np.array_equal(plain(got, 21, size), wanted)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_means(name: str, rng: np.random.Generator, size: tuple[int, int]) -> None:
    work = flat("qpool", 21, size, batch=2, out_size=(1, 1))
    x = rng.integers(0, 256, (2, 21, *size)).astype(np.uint8)
    to = numbers(1.37 / (size[0] * size[1]), -14.75)
    sums = x.astype(np.int64).sum(axis=(2, 3), keepdims=True)
    wanted = rounded(fused_multiply_add(sums, to[0], to[1]), work.limits, "uint8")
    got = ran(work, target_of(name), [blocked(x), to], ((2, 2, 1, 16), "uint8"))
    assert np.array_equal(plain(got, 21, (1, 1)), wanted)

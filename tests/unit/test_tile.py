"""The rules that choose tiles, chunks and threads, by their arithmetic."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels import workload
from tvm import IRModule
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.depthwise import MOST_PIXELS, row_tile
from tvm_mobilenet.schedules.plans.threads import imbalance
from tvm_mobilenet.schedules.plans.tile import (
    MAX_PIXELS,
    MAX_VECTORS,
    Tile,
    best_tile,
    chunk_options,
    fits,
    stages,
)
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.emit.relax.workspace import workspaces
from tvm_mobilenet.machine import PRESETS, parse

AVX512 = dataclasses.replace(PRESETS["znver5"], cores=2)
FAMILIES = ["znver5", "x86-64-v3", "x86-64-v2", "rpi4", "rpi2", "riscv64"]


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("znver5", [(7, 2), (8, 2), (5, 3), (4, 4)], [(9, 2), (6, 3), (5, 4)]),
        ("x86-64-v3", [(6, 2), (4, 3), (14, 1)], [(7, 2), (5, 3), (4, 4)]),
        ("x86-64-v2", [(4, 2), (2, 3)], [(5, 2), (6, 2), (2, 4)]),
        ("rpi4", [(7, 2), (8, 2), (6, 3)], [(12, 2), (7, 3), (6, 4)]),
        ("rpi2", [(4, 2), (8, 1)], [(5, 2), (6, 2)]),
    ],
)
def test_what_fits_the_registers(
    name: str, inside: list[tuple[int, int]], outside: list[tuple[int, int]]
) -> None:
    assert all(fits(Tile(*tile), PRESETS[name]) for tile in inside)
    assert not any(fits(Tile(*tile), PRESETS[name]) for tile in outside)


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("rpi4", [(8, 2), (9, 2), (5, 4), (6, 3), (14, 1)], [(10, 2), (7, 3), (6, 4)]),
        ("rpi3", [(8, 2), (4, 4), (6, 3), (13, 1)], [(9, 2), (5, 4), (14, 1)]),
        ("aarch64", [(8, 2)], [(9, 2), (5, 4)]),
    ],
)
def test_what_fits_the_registers_beside_staged_pixels(
    name: str, inside: list[tuple[int, int]], outside: list[tuple[int, int]]
) -> None:
    assert all(fits(Tile(*tile, staged=True), PRESETS[name]) for tile in inside)
    assert not any(fits(Tile(*tile, staged=True), PRESETS[name]) for tile in outside)


@pytest.mark.parametrize(
    ("cpu", "pixels", "least"),
    [("cortex-a72", 196, 8), ("neoverse-n1", 49, 8), ("cortex-x1", 196, 16), ("apple-m4", 49, 16)],
)
def test_staged_tiles_fill_the_pipes(cpu: str, pixels: int, least: int) -> None:
    """A sum can be added to again after four cycles: so many sums for each pipe."""
    target = dataclasses.replace(parse("aarch64-linux-gnu", mcpu=cpu), cores=2)
    tile = best_tile(pixels, 64, 256, target, staged=True)
    assert tile.staged
    assert tile.pixels * tile.vectors >= least
    assert tile.loaded / (tile.pixels * tile.vectors) <= 0.27


def test_only_whole_blocks_of_float32_on_neon_are_staged() -> None:
    work = workload("pointwise", (64, 64), (14, 14), 4)
    assert stages(work, PRESETS["rpi4"])
    assert not stages(work, PRESETS["rpi2"])
    assert not stages(workload("pointwise", (64, 64), (14, 14), 16), PRESETS["znver5"])
    assert not stages(workload("pointwise", (2, 64), (14, 14), 4), PRESETS["rpi4"])
    assert not stages(workload("pointwise", (64, 3), (14, 14), 2), PRESETS["rpi4"])
    assert not stages(dataclasses.replace(work, dtype="bfloat16"), PRESETS["rpi4"])


@pytest.mark.parametrize(
    ("pixels", "blocks", "depth", "tile"),
    [(12544, 4, 32, (7, 2)), (784, 16, 256, (7, 2)), (49, 64, 1024, (7, 2)), (6400, 2, 16, (8, 2))],
)
def test_the_tiles_of_mobilenet_on_avx512(
    pixels: int, blocks: int, depth: int, tile: tuple[int, int]
) -> None:
    assert best_tile(pixels, blocks, depth, AVX512) == Tile(*tile)


@pytest.mark.parametrize("width", [112, 96, 80, 64, 48, 40, 32, 24])
def test_tiles_of_the_first_convolution_divide_its_rows(width: int) -> None:
    """Accumulators of a tile that reaches into the next row do not stay in registers."""
    work = workload(
        "conv", (3, 32), (2 * width, 2 * width), 16, kernel=3, stride=2, padding=(0, 0, 1, 1)
    )
    knobs = Knobs()
    done = schedule(prim_func(work), AVX512, knobs)
    assert done is not None
    assert width % int(knobs.chosen["pixels"]) == 0
    assert int(knobs.chosen["pixels"]) * int(knobs.chosen["vectors"]) >= 8
    # Sixteen vectors of 64 bytes are 1,024 bytes, which TVM does not put on the stack.
    assert workspaces(IRModule({"conv": done.func}), 2)["conv"] in {0, 2 * 1024}


SIZES = (st.integers(1, 4000), st.integers(1, 70), st.integers(1, 1024))


@given(*SIZES, st.sampled_from(FAMILIES), st.integers(1, 64), st.sampled_from([0, 1, 7, 112]))
def test_a_tile_always_exists_and_fits(  # noqa: PLR0917
    pixels: int, blocks: int, depth: int, name: str, cores: int, rows: int
) -> None:
    target = dataclasses.replace(PRESETS[name], cores=cores)
    tile = best_tile(pixels, blocks, depth, target, 1, rows)
    assert fits(tile, target)
    assert blocks % tile.vectors == 0
    assert 1 <= tile.pixels <= min(MAX_PIXELS, pixels)
    assert 1 <= tile.vectors <= MAX_VECTORS


@given(st.integers(1, 4000), st.integers(1, 14))
def test_chunks_hold_whole_tiles(pixels: int, size: int) -> None:
    options = chunk_options(pixels, Tile(size, 2))
    assert options[0] == 1
    assert options == sorted(set(options))
    assert max(options) <= 64
    if pixels % size:
        assert options == [1]
    assert all(pixels % (chunks * size) == 0 for chunks in options[1:])


def test_imbalance_is_the_longest_share_over_the_mean() -> None:
    assert imbalance(8, 4) == 1
    assert imbalance(9, 4) == pytest.approx(12 / 9)
    assert imbalance(1, 8) == 8


@pytest.mark.parametrize(
    ("width", "name", "pixels"),
    [
        (112, "znver5", 7), (80, "znver5", 8), (40, "znver5", 8), (5, "znver5", 5),
        (33, "znver5", 3), (17, "znver5", 1), (2, "znver5", 1),
        (56, "rpi4", 7), (11, "rpi4", 6), (4, "rpi4", 1), (37, "rpi4", 1),
        (56, "x86-64-v3", 1), (56, "rpi2", 1),
    ],
)  # fmt: skip
def test_pixels_of_a_row(width: int, name: str, pixels: int) -> None:
    assert row_tile(width, PRESETS[name]) == pixels


@given(st.integers(1, 300), st.sampled_from(FAMILIES))
def test_a_row_tile_is_within_the_row(width: int, name: str) -> None:
    assert 1 <= row_tile(width, PRESETS[name]) <= min(width, MOST_PIXELS)

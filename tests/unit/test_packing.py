"""Where every number of a map, a weight and a bias lies, element by element."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from kernels import fused_pair, workload

from tvm_mobilenet.operators.packing import (
    Affine,
    blocked,
    pack,
    pack_bias,
    pack_classifier,
    pack_weight,
)
from tvm_mobilenet.operators.workload import Workload

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def test_a_map_lies_in_blocks_of_channels() -> None:
    x = numbers(2, 5, 3, 4)
    packed = blocked(x, 4, idle=0.5)
    assert packed.shape == (2, 2, 12, 4)
    for n, c, p in itertools.product(range(2), range(8), range(12)):
        want = x[n, c, p // 4, p % 4] if c < 5 else 0.5
        assert packed[n, c // 4, p, c % 4] == want
    assert blocked(x[:, :, 0, 0], 4).shape == (2, 2, 1, 4)


@pytest.mark.parametrize("depth", [0, 8])
def test_a_weight_lies_as_the_reduction_reads_it(depth: int) -> None:
    weight, bias = numbers(5, 3, 1, 2), numbers(5)
    packed, biases = pack_weight(weight, 4, depth), pack_bias(bias, 4)
    assert packed.shape == (2, depth or 6, 4)
    for o, k in itertools.product(range(8), range(depth or 6)):
        want = weight[o, k // 2, 0, k % 2] if o < 5 and k < 6 else 0
        assert packed[o // 4, k, o % 4] == want
        assert biases[o // 4, o % 4] == (bias[o] if o < 5 else 0)


def test_a_classifier_lies_in_blocks_of_channels_and_classes() -> None:
    weight = numbers(5, 3)
    packed = pack_classifier(weight, 2, 4)
    assert packed.shape == (2, 2, 2, 4)
    for j, o in itertools.product(range(8), range(4)):
        want = weight[j, o] if j < 5 and o < 3 else 0
        assert packed[o // 2, j // 4, o % 2, j % 4] == want


DEPTHWISE = workload("depthwise", (6, 6), (5, 5), 4, kernel=3)
TAIL = dataclasses.replace(
    workload("pointwise", (6, 10), (5, 5), 4), operator="tail", classes=9, class_block=8
)
LAYERS = {
    "depthwise": (DEPTHWISE, [(6, 1, 3, 3)], [(2, 9, 4), (2, 4)]),
    "conv": (workload("conv", (3, 6), (5, 5), 4, kernel=3), [(6, 3, 3, 3)], [(2, 27, 4), (2, 4)]),
    "pointwise": (workload("pointwise", (6, 10), (5, 5), 4), [(10, 6, 1, 1)], [(3, 8, 4), (3, 4)]),
    "dense": (workload("dense", (6, 10), (1, 1), 4), [(10, 6)], [(1, 8, 12), (1, 12)]),
    "separable": (
        fused_pair(DEPTHWISE, 10, 4), [(6, 1, 3, 3), (10, 6, 1, 1)],
        [(2, 9, 4), (2, 4), (3, 8, 4), (3, 4)],
    ),
    "tail": (
        TAIL, [(10, 6, 1, 1), (9, 10)], [(3, 8, 4), (3, 4), (3, 2, 4, 8), (2, 8)],
    ),
    "pool": (workload("pool", (6, 6), (5, 5), 4), [], []),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("work", "weights", "shapes"), LAYERS.values(), ids=LAYERS)
def test_parameters_are_listed_as_the_definition_lists_them(
    work: Workload, weights: list[tuple[int, ...]], shapes: list[tuple[int, ...]], dtype: Any
) -> None:
    layers = [Affine(numbers(*shape), numbers(shape[0])) for shape in weights]
    packed = pack(dataclasses.replace(work, dtype=dtype), layers)
    assert [array.shape for array in packed] == shapes
    # Biases are float32, and so is what reads the mean of a map.
    assert [array.dtype for array in packed if array.ndim == 3] == [dtype] * len(
        [shape for shape in shapes if len(shape) == 3]
    )
    assert {array.dtype for array in packed if array.ndim != 3} <= {np.dtype(np.float32)}
    assert all(array.flags.c_contiguous for array in packed)

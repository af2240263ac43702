"""Sizes at which every schedule is compared with the reference, whatever stack it is for."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from kernels import fused_pair, workload

from tvm_mobilenet.models.layers import same_padding
from tvm_mobilenet.operators.workload import Operator, Workload

SAME = (0, 0, 1, 1)
AROUND = (1, 1, 1, 1)
NONE = (0, 0, 0, 0)
ODD = (2, 0, 1, 3)

# Channels: multiples of no lanes, of some, of all. Maps: tails of every kind.
POINTWISE = [
    ((3, 5), (1, 1), 1, "none"),
    ((8, 17), (2, 2), 2, "relu"),
    ((24, 40), (5, 5), 1, "relu6"),
    ((17, 100), (7, 7), 1, "relu6"),
    ((100, 24), (11, 13), 1, "relu"),
    ((40, 64), (15, 15), 3, "relu6"),
    ((64, 8), (33, 1), 1, "none"),
    ((128, 48), (14, 14), 1, "relu6"),
    ((256, 128), (7, 7), 2, "relu6"),
    ((144, 96), (28, 28), 1, "relu6"),
    ((40, 120), (1, 1), 2, "hardsigmoid"),
    ((17, 72), (9, 7), 1, "hardswish"),
]
RESIDUAL = [
    ((3, 5), (1, 1), 2, "none"),
    ((96, 24), (11, 13), 1, "none"),
    ((40, 40), (7, 7), 3, "relu6"),
    ((120, 100), (5, 5), 1, "hardswish"),
    ((240, 64), (14, 14), 1, "none"),
]
SCALE = [(3, (1, 1), 1), (17, (5, 5), 2), (72, (28, 28), 1), (960, (7, 7), 1)]
DEPTHWISE = [
    (3, (1, 1), 1, 3, 1, AROUND, "none"),
    (5, (2, 2), 2, 3, 2, SAME, "relu"),
    (8, (5, 5), 1, 3, 1, AROUND, "relu6"),
    (17, (7, 7), 1, 3, 1, AROUND, "relu6"),
    (24, (11, 13), 1, 3, 1, NONE, "relu"),
    (40, (15, 15), 3, 3, 2, AROUND, "relu6"),
    (100, (33, 1), 1, 3, 1, AROUND, "none"),
    (16, (33, 33), 1, 3, 2, AROUND, "relu6"),
    (32, (12, 37), 1, 3, 1, ODD, "relu6"),
    (32, (14, 14), 1, 5, 1, (2, 2, 2, 2), "relu6"),
    (24, (17, 9), 1, 5, 2, (1, 2, 2, 1), "relu"),
    (72, (28, 28), 1, 5, 1, (2, 2, 2, 2), "hardswish"),
    (40, (7, 7), 2, 5, 1, (2, 2, 2, 2), "hardswish"),
    (20, (13, 3), 1, 5, 2, (2, 2, 2, 2), "hardsigmoid"),
    (16, (1, 1), 1, 5, 1, (2, 2, 2, 2), "relu"),
    (40, (9, 9), 2, 1, 2, NONE, "none"),
    (64, (112, 18), 2, 3, 1, AROUND, "relu6"),
]
CONV = [
    ((3, 5), (1, 1), 1, 3, 1, AROUND, "none"),
    ((3, 8), (5, 5), 2, 3, 2, AROUND, "relu"),
    ((1, 17), (7, 7), 1, 3, 1, NONE, "relu6"),
    ((3, 24), (33, 33), 1, 3, 2, AROUND, "relu6"),
    ((3, 32), (64, 64), 1, 3, 2, SAME, "relu6"),
    ((3, 40), (11, 13), 3, 3, 1, ODD, "relu"),
    ((5, 100), (15, 15), 1, 5, 2, (2, 2, 2, 2), "none"),
    ((17, 24), (9, 9), 1, 1, 2, NONE, "relu6"),
    ((8, 16), (33, 4), 1, 3, 1, SAME, "relu6"),
    ((3, 16), (47, 47), 1, 3, 2, AROUND, "hardswish"),
]
POOL = [(3, (1, 1), 1), (17, (5, 5), 2), (100, (11, 13), 1), (1024, (7, 7), 1), (40, (7, 7), 3)]
DENSE = [
    ((3, 1), 1),
    ((17, 5), 2),
    ((100, 17), 3),
    ((40, 100), 1),
    ((256, 1000), 1),
    ((64, 1001), 7),
]


SEPARABLE = [  # channels, size, batch, stride; maps wider and narrower than a tile
    ((32, 64), (14, 14), 1, 1),
    ((64, 128), (28, 28), 1, 2),
    ((32, 32), (13, 11), 2, 1),
    ((16, 48), (15, 9), 2, 2),
    ((24, 40), (9, 17), 1, 1),
    ((8, 12), (5, 3), 1, 2),
    ((48, 16), (1, 1), 3, 1),
    ((96, 24), (7, 7), 1, 1),
    ((40, 200), (2, 31), 1, 1),
]


def windows(operator: Operator, cases: Iterable[Any], lanes: int) -> list[Workload]:
    """Convolutions: channels (a pair, unless depthwise), size, batch, kernel, stride, padding."""
    return [
        workload(
            operator, channels if operator == "conv" else (channels, channels), size, lanes,
            batch=batch, kernel=kernel, stride=stride, padding=padding, activation=activation,
        )
        for channels, size, batch, kernel, stride, padding, activation in cases
    ]  # fmt: skip


def maps(operator: Operator, cases: Iterable[Any], lanes: int) -> list[Workload]:
    """What has neither window nor weights: channels, size, batch."""
    return [
        workload(operator, (channels, channels), size, lanes, batch=batch)
        for channels, size, batch in cases
    ]


def blocks(lanes: int, *, residual: bool = False) -> list[Workload]:
    """Separable blocks."""
    return [
        fused_pair(
            workload(
                "depthwise", channels[:1] * 2, size, lanes, batch=batch, kernel=3, stride=stride,
                padding=same_padding(size, (3, 3), (stride, stride)),
            ),
            channels[1], lanes, "none" if residual else "relu6", residual=residual,
        )
        for channels, size, batch, stride in SEPARABLE
    ]  # fmt: skip


def works(lanes: int) -> dict[str, list[Workload]]:
    """Every case above, blocked for a target, by operator."""
    make = functools.partial(workload, lanes=lanes)
    return {
        "pointwise": [
            make("pointwise", channels, size, batch=batch, activation=activation)
            for channels, size, batch, activation in POINTWISE
        ],
        "residual": [
            make("pointwise", channels, size, batch=batch, activation=activation, residual=True)
            for channels, size, batch, activation in RESIDUAL
        ],
        "scale": maps("scale", SCALE, lanes),
        "depthwise": windows("depthwise", DEPTHWISE, lanes),
        "conv": windows("conv", CONV, lanes),
        "pool": maps("pool", POOL, lanes),
        "dense": [make("dense", channels, (1, 1), batch=batch) for channels, batch in DENSE],
    }  # fmt: skip


OPERATORS = list(works(1))

"""Kernels on maps of 16 bits, for tests: odd sizes, strides, windows, tails, batches."""

from __future__ import annotations

import dataclasses
from typing import Any

from kernels import fused_pair, workload

from tvm_mobilenet.machine.arithmetic import HALF_PRODUCTS
from tvm_mobilenet.operators.workload import Workload

LANES = 16
AROUND = (1, 1, 1, 1)
FIVE = (2, 2, 2, 2)


class Cases:
    """Workloads of one type."""

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype

    def of(self, operator: Any, *sizes: Any, **options: Any) -> Workload:
        """A workload of one layer."""
        work = workload(operator, *sizes, LANES, **options)
        blocks = {"in_block": 1 if operator == "conv" else LANES, "out_block": LANES}
        halves = HALF_PRODUCTS if self._dtype == "float16" else 0
        return dataclasses.replace(work, dtype=self._dtype, half_products=halves, **blocks)

    def separable(
        self, channels: tuple[int, int], size: tuple[int, int], **options: Any
    ) -> Workload:
        """A depthwise layer and a pointwise one."""
        activation, residual = options.pop("activation", "relu6"), options.pop("residual", False)
        first = self.of("depthwise", channels[:1] * 2, size, **options)
        work = fused_pair(first, channels[1], LANES, activation, residual=residual)
        return dataclasses.replace(work, out_block=LANES)

    def products(self) -> list[Workload]:
        """Pointwise layers, classifiers, convolutions."""
        of = self.of
        return [
            of("pointwise", (16, 16), (1, 1)),
            of("pointwise", (3, 5), (1, 3), batch=2),
            of("pointwise", (21, 33), (5, 7), batch=3, activation="relu6"),
            of("pointwise", (68, 40), (7, 7), activation="hardswish"),
            of("pointwise", (24, 48), (3, 5), residual=True),
            of("pointwise", (40, 24), (4, 5), residual=True, activation="relu"),
            of("pointwise", (960, 20), (1, 2), activation="hardsigmoid"),
            of("dense", (52, 37), (1, 1), batch=2),
            of("dense", (16, 1000), (1, 1), activation="relu"),
            of("conv", (3, 32), (17, 15), batch=2, kernel=3, stride=2, padding=AROUND),
            of("conv", (3, 24), (16, 40), kernel=3, stride=2, padding=(0, 0, 1, 1)),
            of("conv", (1, 16), (5, 6), kernel=5, padding=FIVE, activation="hardswish"),
            of("conv", (20, 33), (6, 18), kernel=3, padding=AROUND),
            of("conv", (36, 16), (7, 9), stride=2),
            of("conv", (4, 16), (1, 1), kernel=3, padding=AROUND),
        ]

    def windows(self) -> list[Workload]:
        """Depthwise layers, and separable blocks."""
        of = self.of
        return [
            of("depthwise", (16, 16), (1, 1), kernel=3, padding=AROUND),
            of("depthwise", (24, 24), (5, 3), batch=2, kernel=3, padding=AROUND),
            of("depthwise", (40, 40), (9, 7), kernel=3, stride=2, padding=(0, 0, 1, 1)),
            of("depthwise", (16, 16), (20, 37), kernel=3, padding=AROUND, activation="relu6"),
            of("depthwise", (16, 16), (37, 40), kernel=3, stride=2, padding=AROUND),
            of("depthwise", (32, 32), (11, 6), kernel=5, padding=FIVE),
            of("depthwise", (16, 16), (35, 33), kernel=5, stride=2, padding=FIVE),
            of("depthwise", (16, 16), (12, 9), kernel=4, padding=(1, 2, 2, 1)),
            self.separable((16, 48), (14, 14), kernel=3, padding=AROUND),
            self.separable((40, 24), (9, 7), batch=2, kernel=3, stride=2, padding=(0, 0, 1, 1)),
            self.separable(
                (48, 21), (17, 18), kernel=5, padding=FIVE, activation="none", residual=True
            ),
        ]

    def maps(self) -> list[Workload]:
        """Means and factors."""
        of = self.of
        return [
            of("pool", (24, 24), (7, 7), batch=2),
            of("pool", (16, 16), (1, 2)),
            of("scale", (40, 40), (5, 3), batch=2),
            of("scale", (16, 16), (2, 3), activation="hardswish"),
        ]

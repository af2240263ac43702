"""Pointwise (1 x 1) convolution on a GPU: the tile of ``tensorir/gpu/pointwise``.

Pattern
    Stages ``accumulate(n, o, p, c; k)`` and ``out(n, o, p, c)``, operator "pointwise".

Loop nest, registers, traffic
    Those of :mod:`~tvm_mobilenet.schedules.te.gpu.product`. Rows are the pixels of one image, and
    images an axis of the grid; maps of one pixel have rows of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.schedules.plans.gpu.products import ProductPlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.gpu.product import Place, Product

from tvm_mobilenet.machine import TargetSpec


def schedule_pointwise(s: Any, made: Definition, plan: ProductPlan, target: TargetSpec) -> None:
    """Schedule a pointwise convolution."""
    images, pixels = made.work.batch, made.work.out_pixels

    def read(stage: Any, axes: Sequence[Any]) -> Place:
        n, o, p, c = axes
        return Place([p], n, o, c) if pixels == 1 else Place([n], p, o, c)

    def out(stage: Any, axes: Sequence[Any]) -> Place:
        n, o, p, c = axes
        if pixels == 1:
            return Place([], n, o, c, p)
        return Place([], p, o, c, n) if images == 1 else Place([n], p, o, c)

    product = Product(plan, target.the_gpu, read, out)
    product.schedule(s, made.out, made.stage("accumulate"))

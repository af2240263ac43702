"""Pointwise (1 x 1) convolution on a GPU: the tile of :mod:`tvm_mobilenet.schedules.gpu.pointwise`.

Pattern
    Stages ``accumulate(n, o, p, c; k)`` and ``out(n, o, p, c)``, operator "pointwise".

Loop nest, registers, traffic
    Those of :mod:`~tvm_mobilenet.schedules.te.gpu.product`. Rows are the pixels of one image, and
    images an axis of the grid; maps of one pixel have rows of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.schedules.gpu.product_knobs import choose_tile
from tvm_mobilenet.schedules.gpu.product_tile import Sizes
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.gpu.product import Place, Product

from tvm_mobilenet.target import TargetSpec


def schedule_pointwise(s: Any, work: Definition, knobs: Knobs, target: TargetSpec) -> None:
    """Schedule a pointwise convolution.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        Those of :func:`~tvm_mobilenet.schedules.gpu.product_knobs.choose_tile`.
    target : TargetSpec
        With a GPU.
    """
    accumulate = work.stage("accumulate")
    images, vectors, pixels, lanes = extents(work.out.op.axis)
    _, blocks, _, block = (int(size) for size in accumulate.op.input_tensors[0].shape)
    sizes = Sizes(images * pixels, vectors, blocks, block, lanes, target.item_bytes, pixels == 1)
    tile = choose_tile(knobs, sizes, target.the_gpu)

    def read(stage: Any, axes: Sequence[Any]) -> Place:
        n, o, p, c = axes
        return Place([p], n, o, c) if pixels == 1 else Place([n], p, o, c)

    def out(stage: Any, axes: Sequence[Any]) -> Place:
        n, o, p, c = axes
        if pixels == 1:
            return Place([], n, o, c, p)
        return Place([], p, o, c, n) if images == 1 else Place([n], p, o, c)

    Product(sizes, tile, target.the_gpu, read, out).schedule(s, work.out, accumulate)

"""The plans of matrix products on a GPU: pointwise layers, separable blocks, classifiers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.gpu.product_cycles import best_tile, product_cycles
from tvm_mobilenet.schedules.plans.gpu.product_knobs import choose_tile
from tvm_mobilenet.schedules.plans.gpu.product_tile import ProductTile, Sizes, launch_bound
from tvm_mobilenet.schedules.plans.gpu.tensor_tile import (
    TensorTile,
    best_tensor_tile,
    choose_tensor_tile,
    takes,
    tensor_cycles,
)

from tvm_mobilenet.machine import ITEM_BYTES, TargetSpec
from tvm_mobilenet.operators.workload import Workload


@dataclass(frozen=True, slots=True)
class ProductPlan:
    """How a matrix product is cut.

    Attributes
    ----------
    sizes : Sizes
        Sizes of the product.
    tile : ProductTile or TensorTile
        On the cores that every GPU has, or on tensor cores.
    resident : int
        Blocks of threads that a unit shall hold, for nvcc; 0 does not say.
    """

    sizes: Sizes
    tile: ProductTile | TensorTile
    resident: int


def plan_gpu_pointwise(
    work: Workload, knobs: Knobs, target: TargetSpec, *, tensors: bool = True
) -> ProductPlan:
    """Plan a pointwise layer, whose rows are the pixels of all images.

    Parameters
    ----------
    knobs : Knobs
        ``multiply``: by ``"tensor"`` cores or ``"threads"``, where there are both; and those
        of the tile.
    tensors : bool
        Whether tensor cores may: TE has no fragments.
    """
    rows = work.batch * work.out_pixels
    sizes = Sizes(
        rows, work.out_blocks, work.in_blocks, work.in_block, work.out_block,
        ITEM_BYTES[work.dtype], work.out_pixels == 1,
    )  # fmt: skip
    return _product(sizes, work, knobs, target, tensors=tensors)


def plan_gpu_separable(work: Workload, knobs: Knobs, target: TargetSpec) -> ProductPlan:
    """Plan a separable block: a pointwise layer that computes what it multiplies."""
    sizes = Sizes(
        work.batch * work.out_pixels, work.out_blocks, work.in_blocks, work.in_block,
        work.out_block, ITEM_BYTES[work.dtype], taps=math.prod(work.kernel),
    )  # fmt: skip
    return _product(sizes, work, knobs, target)


def plan_gpu_dense(
    work: Workload, knobs: Knobs, target: TargetSpec, *, tensors: bool = True
) -> ProductPlan:
    """Plan a classifier, whose rows are images.

    Parameters
    ----------
    knobs, tensors
        As for :func:`plan_gpu_pointwise`. Without tensor cores, in TE, a block of three vectors
        is one thread's: TE cannot tell which of them two threads would take.
    """
    lanes = min(target.lanes, work.out_block)
    side = work.out_block // lanes
    sizes = Sizes(
        work.batch, -(-work.out_channels // lanes), work.in_blocks, work.in_block, lanes,
        ITEM_BYTES[work.dtype], True, side,
    )  # fmt: skip
    most = 1 if not tensors and side & (side - 1) else None
    return _product(sizes, work, knobs, target, tensors=tensors, most_vectors=most)


def _product(
    sizes: Sizes,
    work: Workload,
    knobs: Knobs,
    target: TargetSpec,
    *,
    tensors: bool = True,
    most_vectors: int | None = None,
) -> ProductPlan:
    gpu = target.the_gpu
    tile: ProductTile | TensorTile
    if tensors and takes(sizes, work.dtype, gpu):
        by_tensors = tensor_cycles(best_tensor_tile(sizes, gpu), sizes, gpu)
        by_threads = product_cycles(best_tile(sizes, gpu), sizes, gpu)
        default = "tensor" if by_tensors < by_threads else "threads"
        if knobs.choice("multiply", ["threads", "tensor"], default) == "tensor":
            tile = choose_tensor_tile(knobs, sizes, gpu)
            return ProductPlan(sizes, tile, launch_bound(tile, sizes, gpu))
    tile = choose_tile(knobs, sizes, gpu, most_vectors)
    return ProductPlan(sizes, tile, launch_bound(tile, sizes, gpu))

"""Each operator as the cost model sees it: the plan its rule makes, in phases and streams."""

from __future__ import annotations

from collections.abc import Mapping

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.facts import by_loops
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.cache_context import CacheContext
from tvm_mobilenet.prediction.cost import Cost
from tvm_mobilenet.prediction.gpu_predict import gpu_predict
from tvm_mobilenet.prediction.predict_products import Products
from tvm_mobilenet.schedules.knobs import Knobs

_COSTS = by_loops(
    {
        "axes": Products.scale,
        "conv": Products.conv,
        "conv_blocked": Products.windows,
        "conv_nhwc": Products.conv,
        "conv_transpose": Products.windows,
        "copies": Products.scale,
        "dense": Products.dense,
        "depthwise": Products.depthwise,
        "elements": Products.scale,
        "max_pool": Products.depthwise,
        "linear": Products.linear,
        "moves": Products.scale,
        "over_pixels": Products.scale,
        "pointwise": Products.pointwise,
        "pool": Products.pool,
        "resize": Products.scale,
        "product": Products.linear,
        "rows": Products.rows,
        "scale": Products.scale,
        "softmax_rows": Products.rows,
        "separable": Products.separable,
        "tail": Products.conv_pool_dense,
    }
)


def predict(
    work: Workload,
    target: TargetSpec,
    context: CacheContext,
    threads: int,
    knobs: Mapping[str, int | str] | None = None,
) -> Cost:
    """Predict a kernel inside a network.

    Parameters
    ----------
    work : Workload
        The kernel, of any operator.
    target : TargetSpec
        What it is compiled for, with as many cores.
    context : CacheContext
        What the network leaves in the caches before it.
    threads : int
        Threads that run it, at most the target's cores; a GPU does not ask.
    knobs : mapping of str to int or str, optional
        Recorded ones; without them the rule's. A GPU does not ask.
    """
    if target.gpu is not None:
        return gpu_predict(work, target, context)
    cost = Products.written if work.written else _COSTS[work.operator]
    return cost(Products(work, target, context, threads, Knobs(knobs)))

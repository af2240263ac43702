"""How each operator's loops are cut: sizes, knobs and machine in, a plan out.

No TVM in here. TensorIR and TE apply a plan, the cost model reckons with it, the tuner lists and
samples plans: none of them decides again what a plan says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.conv import plan_conv
from tvm_mobilenet.schedules.plans.conv_blocked import plan_conv_blocked, plan_conv_transpose
from tvm_mobilenet.schedules.plans.conv_pool_dense import plan_conv_pool_dense
from tvm_mobilenet.schedules.plans.depthwise import plan_depthwise
from tvm_mobilenet.schedules.plans.gpu.conv import plan_gpu_conv
from tvm_mobilenet.schedules.plans.gpu.conv_blocked import (
    plan_gpu_conv_blocked,
    plan_gpu_conv_transpose,
)
from tvm_mobilenet.schedules.plans.gpu.depthwise import plan_gpu_depthwise
from tvm_mobilenet.schedules.plans.gpu.maps import (
    plan_gpu_pool,
    plan_gpu_scale,
    plan_gpu_vectors,
)
from tvm_mobilenet.schedules.plans.gpu.products import (
    plan_gpu_dense,
    plan_gpu_pointwise,
    plan_gpu_separable,
)
from tvm_mobilenet.schedules.plans.integer.depthwise import plan_filter
from tvm_mobilenet.schedules.plans.integer.maps import plan_images, plan_map, plan_quantize
from tvm_mobilenet.schedules.plans.integer.products import plan_product, plan_rows_of_products
from tvm_mobilenet.schedules.plans.integer.separable import plan_block
from tvm_mobilenet.schedules.plans.maps import (
    plan_copies,
    plan_dense,
    plan_elements,
    plan_max_pool,
    plan_pool,
    plan_rows_of_maps,
    plan_scale,
)
from tvm_mobilenet.schedules.plans.pointwise import plan_pointwise
from tvm_mobilenet.schedules.plans.rows import plan_gpu_rows, plan_rows
from tvm_mobilenet.schedules.plans.rows_of_products import plan_linear
from tvm_mobilenet.schedules.plans.rows_of_products import plan_product as plan_tensors
from tvm_mobilenet.schedules.plans.separable import plan_separable

from tvm_mobilenet.common.stacks import Stack
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.facts import by_loops
from tvm_mobilenet.operators.workload import Operator, Workload

Plan = Callable[[Workload, Knobs, TargetSpec], Any]

_INTEGER_PLANS: dict[str, Plan] = {
    "qconv": plan_rows_of_products,
    "qpixels": plan_rows_of_products,
    "quantize": plan_quantize,
    "qdense": plan_product,
    "qdepthwise": plan_filter,
    "qpointwise": plan_product,
    "qseparable": plan_block,
    "qconcat": plan_quantize,
    "qsoftmax": plan_images,
    **dict.fromkeys(
        ("dequantize", "qadd", "qlargest", "qmean", "qpool", "qscale", "qtable"), plan_map
    ),
    **dict.fromkeys(("quantize_blocks", "dequantize_blocks"), plan_map),
}

_PLANS: dict[str, Plan] = {
    "axes": plan_rows_of_maps,
    "conv": plan_conv,
    "conv_blocked": plan_conv_blocked,
    "conv_nhwc": plan_conv,
    "conv_transpose": plan_conv_transpose,
    "copies": plan_copies,
    "dense": plan_dense,
    "depthwise": plan_depthwise,
    "elements": plan_elements,
    "linear": plan_linear,
    "max_pool": plan_max_pool,
    "moves": plan_rows_of_maps,
    "over_pixels": plan_pool,
    "pointwise": plan_pointwise,
    "pool": plan_pool,
    "product": plan_tensors,
    "resize": plan_elements,
    "rows": plan_rows,
    "scale": plan_scale,
    "separable": plan_separable,
    "softmax_rows": plan_rows,
    "tail": plan_conv_pool_dense,
    **_INTEGER_PLANS,
}

PLANS = by_loops(_PLANS)
"""Operator to the plan of its loops, for processors."""

_TE_PLANS: dict[str, Plan] = {
    **{name: _PLANS[name] for name in ("pool", "rows", "scale")},
    "conv": partial(plan_conv, tails=False),
    "dense": partial(plan_dense, tails=False),
    **dict.fromkeys(("depthwise", "max_pool"), partial(plan_depthwise, tails=False)),
    "pointwise": partial(plan_pointwise, stage=False),
    "separable": partial(plan_separable, tails=False),
}

TE_PLANS = by_loops(_TE_PLANS)
"""The same for TE, whose loops have no shorter last tile that stays in registers."""

_SIXTEEN_PLANS: dict[str, Plan] = {
    "conv": plan_rows_of_products,
    "dense": plan_product,
    "depthwise": plan_filter,
    "pointwise": plan_product,
    "pool": plan_map,
    "rows": plan_rows,
    "scale": plan_map,
    "separable": plan_block,
    **_INTEGER_PLANS,
}

SIXTEEN_PLANS = by_loops(_SIXTEEN_PLANS)
"""The same for processors that store maps in 16 bits, as all that is not in integers then is."""

_GPU_PLANS: dict[str, Plan] = {
    "conv": plan_gpu_conv,
    "conv_blocked": plan_gpu_conv_blocked,
    "conv_transpose": plan_gpu_conv_transpose,
    "dense": plan_gpu_dense,
    "depthwise": plan_gpu_depthwise,
    "elements": plan_gpu_vectors,
    "max_pool": plan_gpu_depthwise,
    "moves": plan_gpu_vectors,
    "pointwise": plan_gpu_pointwise,
    "pool": plan_gpu_pool,
    "rows": plan_gpu_rows,
    "scale": plan_gpu_scale,
    "separable": plan_gpu_separable,
}

GPU_PLANS = by_loops(_GPU_PLANS)
"""The same for graphics processors."""

_TE_GPU_PLANS: dict[str, Plan] = {
    **{name: _GPU_PLANS[name] for name in ("conv", "pool", "rows", "scale")},
    "dense": partial(plan_gpu_dense, tensors=False),
    **dict.fromkeys(("depthwise", "max_pool"), partial(plan_gpu_depthwise, rectangles=False)),
    "pointwise": partial(plan_gpu_pointwise, tensors=False),
}

TE_GPU_PLANS = by_loops(_TE_GPU_PLANS)
"""The same for TE on graphics processors."""


def plans_for(target: TargetSpec, stack: Stack) -> Mapping[Operator, Plan]:
    """Return the plans that a stack can apply for a target."""
    if target.gpu is not None:
        return GPU_PLANS if stack == "relax" else TE_GPU_PLANS
    if target.in_sixteen_bits and stack == "relax":
        return SIXTEEN_PLANS
    return PLANS if stack == "relax" else TE_PLANS


def plan(work: Workload, knobs: Knobs, target: TargetSpec, plans: Mapping[Operator, Plan]) -> Any:
    """Plan a kernel's loops, and refuse knobs that the plan has no question for.

    Parameters
    ----------
    knobs : Knobs
        Asked by name for every choice.
    plans : mapping
        What :func:`plans_for` returns for the target.

    Returns
    -------
    object
        The operator's plan.

    Raises
    ------
    KnobError
        The knobs do not fit.
    """
    made = plans[work.operator](work, knobs, target)
    knobs.finish()
    return made

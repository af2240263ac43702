"""Phase 1: batch norm becomes a scale of the convolution's weights and a bias.

``gamma * (conv(x, w) - mean) / sqrt(variance + eps) + beta`` is
``conv(x, w * s) + (beta - mean * s)`` with ``s = gamma / sqrt(variance + eps)``
(arXiv 1502.03167, section 3.1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax import dpl

from tvm_mobilenet.graph.constants import array_of


def fold_batch_norm(mod: Any) -> Any:
    """Fold every batch norm over the channels of a convolution with constant weights.

    before: ``conv2d(x, W)``, optionally ``+ bias``, then ``batch_norm(...)[0]``
    after: ``conv2d(x, W') + bias'`` with a bias of shape (1, O, 1, 1)

    Parameters
    ----------
    mod : IRModule

    Returns
    -------
    IRModule
        Same function; folded in float64, rounded once.
    """
    data, weight, bias = dpl.wildcard(), dpl.is_const(), dpl.is_const()
    statistics = [dpl.is_const() for _ in range(4)]
    conv = dpl.is_op("relax.nn.conv2d")(data, weight)
    value = conv | dpl.is_op("relax.add")(conv, bias)
    norm = dpl.is_op("relax.nn.batch_norm")(value, *statistics)
    pattern = dpl.is_tuple_get_item(norm, 0)

    def rewrite(matched: Any, found: Any) -> Any:
        norm_attrs, conv_attrs = found[norm].attrs, found[conv].attrs
        channels = array_of(found[weight]).shape[0]
        per_channel = bias not in found or array_of(found[bias]).size == channels
        layouts = (conv_attrs.data_layout, conv_attrs.kernel_layout, int(norm_attrs.axis))
        if layouts != ("NCHW", "OIHW", 1) or norm_attrs.training or not per_channel:
            return matched
        gamma, beta, mean, variance = (array_of(found[s]).astype(np.float64) for s in statistics)
        gamma = gamma if norm_attrs.scale else np.ones(channels)
        beta = beta if norm_attrs.center else np.zeros(channels)
        scale = gamma / np.sqrt(variance + float(norm_attrs.epsilon))
        before = array_of(found[bias]).reshape(-1) if bias in found else 0.0
        folded_weight = array_of(found[weight]) * scale[:, None, None, None]
        folded_bias = beta + (before - mean) * scale
        call = found[conv]
        folded = relax.Call(
            call.op,
            [found[data], relax.const(folded_weight.astype(np.float32))],
            call.attrs,
        )
        shaped = folded_bias.astype(np.float32).reshape(1, -1, 1, 1)
        return relax.op.add(folded, relax.const(shaped))

    functions = {
        gv: dpl.rewrite_call(pattern, rewrite, f) if isinstance(f, relax.Function) else f
        for gv, f in mod.functions.items()
    }
    return relax.transform.DeadCodeElimination()(tvm.IRModule(functions, attrs=mod.attrs))

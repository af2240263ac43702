"""Depthwise-separable block: depthwise and pointwise convolution as one operator.

Two reductions in one function (arXiv 1704.04861, section 3.1), so that a schedule
can keep the map between them in cache.
"""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import biased, biases, exact
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.compute.padding import padded
from tvm_mobilenet.operators.workload import Workload


def separable(work: Workload) -> list[Any]:
    """Define the block; ``mid[k, y, x]`` is the depthwise layer's output.

    ::

        mid[k, y, x] = mid_act(sum data[k, y*s + r, x*s + q] * filter[k, r, q] + filter_bias[k])
        out[o, p] = act(sum_k mid[k, p] * weight[k, o] + bias[o] (+ residual[o, p]))

    Kernel, strides, padding and ``mid_activation`` of the workload are the depthwise layer's.

    Returns
    -------
    list of te.Tensor
        data (N, Kb, H*W, in_block), filter (Kb, KH*KW, in_block), filter_bias
        (Kb, in_block), weight (Ob, depth, out_block), bias (Ob, out_block),
        with a residual that (N, Ob, OH*OW, out_block), and out, of the same
        shape; of the workload's dtype, biases float32. Weights of padded channels are zero.
    """
    kc, oc, blocks = work.in_block, work.out_block, work.in_blocks
    (kh, kw), (sh, sw), (dh, dw) = work.kernel, work.strides, work.dilations
    width, out_width = work.in_size[1], work.out_size[1]
    pixels, depth = work.out_pixels, work.depth
    data = placeholder((work.batch, blocks, work.in_pixels, kc), work.dtype, name="data")
    taps = placeholder((blocks, kh * kw, kc), work.dtype, name="filter")
    taps_bias = biases(blocks, kc, work.mid_activation, "filter_bias")
    weight = placeholder((work.out_blocks, depth, oc), work.dtype, name="weight")
    bias = biases(work.out_blocks, oc, work.activation)
    window = padded(work, (work.batch, blocks), lambda n, k, y, x, c: data[n, k, y * width + x, c])
    r, q = te.reduce_axis((0, kh), name="r"), te.reduce_axis((0, kw), name="q")
    filtered = te.compute(
        (work.batch, blocks, pixels, kc),
        lambda n, k, p, c: te.sum(
            exact(window[n, k, p // out_width * sh + r * dh, p % out_width * sw + q * dw, c])
            * exact(taps[k, r * kw + q, c]),
            axis=[r, q],
        ),
        name="filtered",
    )
    mid = biased("mid", filtered, taps_bias, work.mid_activation, dtype=work.dtype)
    k = te.reduce_axis((0, depth), name="k")
    acc = te.compute(
        (work.batch, work.out_blocks, pixels, oc),
        lambda n, o, p, c: te.sum(
            exact(mid[n, k // kc, p, k % kc]) * exact(weight[o, k, c]), axis=k
        ),
        name="accumulate",
    )
    inputs = [data, taps, taps_bias, weight, bias]
    if not work.residual:
        out = biased("out", acc, bias, work.activation, None, work.dtype, work.watched_channels)
        return [*inputs, out]
    residual = placeholder(acc.shape, work.dtype, name="residual")
    out = biased("out", acc, bias, work.activation, residual, work.dtype, work.watched_channels)
    return [*inputs, residual, out]

"""Depthwise convolution: one filter a channel (arXiv 1704.04861, equation 3)."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import biased, biases, exact
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.compute.padding import padded
from tvm_mobilenet.operators.workload import Workload


def depthwise(work: Workload) -> list[Any]:
    """Define ``out[c, y, x] = act(sum data[c, y*s + r, x*s + q] * weight[c, r, q] + bias[c])``.

    Returns
    -------
    list of te.Tensor
        data (N, Cb, H*W, block), weight (Cb, KH*KW, block), bias (Cb, block),
        out (N, Cb, OH*OW, block); of the workload's dtype, biases float32.
    """
    block, blocks = work.out_block, work.out_blocks
    (kh, kw), (sh, sw), (dh, dw) = work.kernel, work.strides, work.dilations
    width, out_width = work.in_size[1], work.out_size[1]
    data = placeholder((work.batch, blocks, work.in_pixels, block), work.dtype, name="data")
    weight = placeholder((blocks, kh * kw, block), work.dtype, name="weight")
    bias = biases(blocks, block, work.activation)
    window = padded(work, (work.batch, blocks), lambda n, o, y, x, c: data[n, o, y * width + x, c])
    r, q = te.reduce_axis((0, kh), name="r"), te.reduce_axis((0, kw), name="q")
    acc = te.compute(
        (work.batch, blocks, work.out_pixels, block),
        lambda n, o, p, c: te.sum(
            exact(window[n, o, p // out_width * sh + r * dh, p % out_width * sw + q * dw, c])
            * exact(weight[o, r * kw + q, c]),
            axis=[r, q],
        ),
        name="accumulate",
    )
    return [data, weight, bias, biased("out", acc, bias, work.activation, dtype=work.dtype)]

"""Full convolution from plain NCHW into the blocked layout: the first layer of a network."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import biased, biases, exact
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.compute.padding import padded
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def conv(work: Workload) -> list[Any]:
    """Define ``out[o, y, x] = act(sum data[i, y*s + r, x*s + q] * weight[i, r, q, o] + bias[o])``.

    Returns
    -------
    list of te.Tensor
        data (N, I, H, W), or (N, H, W, I) of "conv_nhwc", weight (Ob, I*KH*KW, out_block),
        bias (Ob, out_block), out (N, Ob, OH*OW, out_block); weight and out of the workload's
        dtype, the rest float32.
    """
    channels, oc = work.in_channels, work.out_block
    (kh, kw), (sh, sw) = work.kernel, work.strides
    out_width = work.out_size[1]
    last = OPERATORS[work.operator].channels_last
    shape = (*work.in_size, channels) if last else (channels, *work.in_size)
    data = placeholder((work.batch, *shape), name="data")
    weight = placeholder((work.out_blocks, channels * kh * kw, oc), work.dtype, name="weight")
    bias = biases(work.out_blocks, oc, work.activation)
    window = padded(
        work,
        (work.batch, channels),
        lambda n, i, y, x: data[n, y, x, i] if last else data[n, i, y, x],
    )
    i = te.reduce_axis((0, channels), name="i")
    r, q = te.reduce_axis((0, kh), name="r"), te.reduce_axis((0, kw), name="q")
    acc = te.compute(
        (work.batch, work.out_blocks, work.out_pixels, oc),
        lambda n, o, p, c: te.sum(
            window[n, i, p // out_width * sh + r, p % out_width * sw + q]
            * exact(weight[o, (i * kh + r) * kw + q, c]),
            axis=[i, r, q],
        ),
        name="accumulate",
    )
    out = biased("out", acc, bias, work.activation, None, work.dtype, work.watched_channels)
    return [data, weight, bias, out]

"""Convolution of any kernel and groups on a map in blocks: a matrix product for each tap."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import biased, exact
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.compute.padding import padded
from tvm_mobilenet.operators.workload import Workload


def conv_blocked(work: Workload) -> list[Any]:
    """Define ``out[o, y, x] = act(sum data[g + k, y*s + r*d, x*s + q*d] * weight[...] + bias[o])``.

    ``g`` is the first input channel of the group that ``o`` belongs to.

    Returns
    -------
    list of te.Tensor
        data (N, Kb, H*W, in_block), weight (Ob, KH*KW*depth, out_block), bias (Ob,
        out_block), out (N, Ob, OH*OW, out_block); of the workload's dtype, biases float32.
    """
    kc, oc, depth = work.in_block, work.out_block, work.depth
    (kh, kw), (sh, sw), (dh, dw) = work.kernel, work.strides, work.dilations
    inside, outside = work.in_channels // work.groups, work.out_channels // work.groups
    width, out_width = work.in_size[1], work.out_size[1]
    data = placeholder((work.batch, work.in_blocks, work.in_pixels, kc), work.dtype, name="data")
    weight = placeholder((work.out_blocks, kh * kw * depth, oc), work.dtype, name="weight")
    bias = placeholder((work.out_blocks, oc), name="bias")
    window = padded(
        work, (work.batch, work.in_blocks), lambda n, k, y, x, c: data[n, k, y * width + x, c]
    )
    r, q = te.reduce_axis((0, kh), name="r"), te.reduce_axis((0, kw), name="q")
    k = te.reduce_axis((0, depth), name="k")

    def channel(o: Any, c: Any) -> Any:
        if work.groups == 1:
            return k
        # What fills up the last block reads the last group, times zeros.
        group = te.min((o * oc + c) // outside, work.groups - 1)
        return group * inside + k

    acc = te.compute(
        (work.batch, work.out_blocks, work.out_size[0], 1, out_width, 1, oc),
        lambda n, o, y, _a, x, _b, c: te.sum(
            exact(
                window[
                    n,
                    channel(o, c) // kc,
                    y * sh + r * dh,
                    x * sw + q * dw,
                    channel(o, c) % kc,
                ]
            )
            * exact(weight[o, (r * kw + q) * depth + k, c]),
            axis=[r, q, k],
        ),
        name="accumulate",
    )
    flat = te.compute(
        (work.batch, work.out_blocks, work.out_pixels, oc),
        lambda n, o, p, c: acc[n, o, p // out_width, 0, p % out_width, 0, c],
        name="flat",
    )
    inputs = [data, weight, bias]
    if not work.residual:
        out = biased("out", flat, bias, work.activation, None, work.dtype, work.watched_channels)
        return [*inputs, out]
    residual = placeholder(flat.shape, work.dtype, name="residual")
    out = biased("out", flat, bias, work.activation, residual, work.dtype, work.watched_channels)
    return [*inputs, residual, out]

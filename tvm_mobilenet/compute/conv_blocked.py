"""Convolution of any kernel and groups on a map in blocks: a matrix product for each tap."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import biased, biases, exact
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.compute.padding import padded
from tvm_mobilenet.operators.groups import repeats
from tvm_mobilenet.operators.workload import Workload


def conv_blocked(work: Workload) -> list[Any]:
    """Define ``out[o, y, x] = act(sum data[g + k, y*s + r*d, x*s + q*d] * weight[...] + bias[o])``.

    ``g`` is the first input channel of the group that ``o`` belongs to.

    Returns
    -------
    list of te.Tensor
        data (N, Kb, H*W, in_block), weight (Ob, KH*KW*depth, out_block), bias (Ob,
        out_block), with a residual that (N, Ob, OH*OW, out_block), and out, of the same shape;
        of the workload's dtype, biases float32.
    """
    oc, depth, out_width = work.out_block, work.depth, work.out_size[1]
    (kh, kw), (sh, sw), (dh, dw) = work.kernel, work.strides, work.dilations
    shape = (work.batch, work.in_blocks, work.in_pixels, work.in_block)
    data = placeholder(shape, work.dtype, name="data")
    weight = placeholder((work.out_blocks, kh * kw * depth, oc), work.dtype, name="weight")
    bias = biases(work.out_blocks, oc, work.activation)
    window = _window(work, data)
    r, q = te.reduce_axis((0, kh), name="r"), te.reduce_axis((0, kw), name="q")
    k = te.reduce_axis((0, depth), name="k")

    def element(*place: Any) -> Any:
        n, o, y, _, x, _, c = place
        block, lane = (o, c) if repeats(work) else _place(work, o, c, k)
        read = window[n, block, y * sh + r * dh, x * sw + q * dw, lane]
        return te.sum(exact(read) * exact(weight[o, (r * kw + q) * depth + k, c]), axis=[r, q, k])

    acc = te.compute(
        (work.batch, work.out_blocks, work.out_size[0], 1, out_width, 1, oc),
        element,
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


def _window(work: Workload, data: Any) -> Any:
    """Return the map with its border; its channels in the order of the output's that read them."""
    width = work.in_size[1]

    def own(n: Any, k: Any, y: Any, x: Any, c: Any) -> Any:
        return data[n, k, y * width + x, c]

    def repeated(n: Any, o: Any, y: Any, x: Any, c: Any) -> Any:
        block, lane = _place(work, o, c, 0)
        return data[n, block, y * width + x, lane]

    if repeats(work):
        return padded(work, (work.batch, work.out_blocks), repeated, work.out_block)
    return padded(work, (work.batch, work.in_blocks), own)


def _place(work: Workload, o: Any, c: Any, k: Any) -> tuple[Any, Any]:
    """Return the block and the lane of the k-th channel that lane c of output block o reads."""
    channel = k
    if work.groups > 1:
        group = (o * work.out_block + c) // (work.out_channels // work.groups)
        if work.out_channels % work.out_block:
            # What fills up the last block reads the last group, times zeros.
            group = te.min(group, work.groups - 1)
        channel = group * (work.in_channels // work.groups) + k
    return channel // work.in_block, channel % work.in_block

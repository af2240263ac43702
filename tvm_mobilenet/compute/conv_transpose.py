"""Transposed convolution: for each phase of the output, a convolution with the taps that reach it.

With strides s, cut off before: t, an output row y = s Y + a is reached by the taps
r = (a + t) mod s + s j from the input rows Y + (a + t) div s - j; the columns likewise.
"""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import biased, biases, exact
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.compute.padding import bordered
from tvm_mobilenet.operators.phases import is_depthwise, phase_taps
from tvm_mobilenet.operators.workload import Workload


def conv_transpose(work: Workload) -> list[Any]:
    """Define the convolution of every phase.

    Returns
    -------
    list of te.Tensor
        data (N, Kb, H*W, in_block), weight (Ob, SH*SW*rows*columns*depth, out_block), of the
        taps of a phase, bias (Ob, out_block), out (N, Ob, OH*OW, out_block); of the workload's
        dtype, biases float32.
    """
    kc, oc, depth = work.in_block, work.out_block, work.depth
    (sh, sw), (rows, columns), (top, left, *_) = work.strides, phase_taps(work), work.padding
    inside, outside = work.in_channels // work.groups, work.out_channels // work.groups
    (height, width), in_width = work.out_size, work.in_size[1]
    steps = (-(-height // sh), -(-width // sw))
    data = placeholder((work.batch, work.in_blocks, work.in_pixels, kc), work.dtype, name="data")
    taps = sh * sw * rows * columns
    weight = placeholder((work.out_blocks, taps * depth, oc), work.dtype, name="weight")
    bias = biases(work.out_blocks, oc, work.activation)
    first = (top // sh - (rows - 1), left // sw - (columns - 1))
    reached = (
        steps[0] - 1 + (sh - 1 + top) // sh - first[0] + 1,
        steps[1] - 1 + (sw - 1 + left) // sw - first[1] + 1,
    )
    window = bordered(
        *(work, (work.batch, work.in_blocks), first, reached),
        lambda n, k, y, x, c: data[n, k, y * in_width + x, c],
    )
    j, i = te.reduce_axis((0, rows), name="j"), te.reduce_axis((0, columns), name="i")
    k = te.reduce_axis((0, depth), name="k")

    def element(*place: Any) -> Any:
        n, o, y, a, x, b, c = place
        row = y + (a + top) // sh - j - first[0]
        column = x + (b + left) // sw - i - first[1]
        if is_depthwise(work):
            read = window[n, o, row, column, c]
        else:
            group = te.min((o * oc + c) // outside, work.groups - 1) if work.groups > 1 else 0
            channel = group * inside + k
            read = window[n, channel // kc, row, column, channel % kc]
        tap = ((a * sw + b) * rows + j) * columns + i
        return te.sum(exact(read) * exact(weight[o, tap * depth + k, c]), axis=[j, i, k])

    acc = te.compute(
        (work.batch, work.out_blocks, steps[0], sh, steps[1], sw, oc), element, name="accumulate"
    )
    flat = te.compute(
        (work.batch, work.out_blocks, work.out_pixels, oc),
        lambda n, o, p, c: acc[
            n, o, p // width // sh, p // width % sh, p % width // sw, p % width % sw, c
        ],
        name="flat",
    )
    out = biased("out", flat, bias, work.activation, None, work.dtype, work.watched_channels)
    return [data, weight, bias, out]

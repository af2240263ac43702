"""Pointwise (1 x 1) convolution on flattened pixels (arXiv 1704.04861, equation 5)."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import biased, biases, exact
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.workload import Workload


def pointwise(work: Workload) -> list[Any]:
    """Define ``out[o, p] = act(sum_k data[k, p] * weight[k, o] + bias[o] (+ residual[o, p]))``.

    Returns
    -------
    list of te.Tensor
        data (N, Kb, P, in_block), weight (Ob, depth, out_block), bias
        (Ob, out_block), with a residual that (N, Ob, P, out_block), and out, of the same
        shape; of the workload's dtype, biases float32. Weights of padded input and
        output channels are zero.
    """
    kc, oc = work.in_block, work.out_block
    depth, pixels = work.depth, work.out_pixels
    data = placeholder((work.batch, work.in_blocks, pixels, kc), work.dtype, name="data")
    weight = placeholder((work.out_blocks, depth, oc), work.dtype, name="weight")
    bias = biases(work.out_blocks, oc, work.activation)
    k = te.reduce_axis((0, depth), name="k")
    acc = te.compute(
        (work.batch, work.out_blocks, pixels, oc),
        lambda n, o, p, c: te.sum(
            exact(data[n, k // kc, p, k % kc]) * exact(weight[o, k, c]), axis=k
        ),
        name="accumulate",
    )
    if not work.residual:
        out = biased("out", acc, bias, work.activation, None, work.dtype, work.watched_channels)
        return [data, weight, bias, out]
    residual = placeholder(acc.shape, work.dtype, name="residual")
    out = biased("out", acc, bias, work.activation, residual, work.dtype, work.watched_channels)
    return [data, weight, bias, residual, out]

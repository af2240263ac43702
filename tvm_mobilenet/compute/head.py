"""The end of a classifier: global average pool, then a dense layer."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import activate, exact
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.workload import Workload


def pool(work: Workload) -> list[Any]:
    """Define ``out[c] = sum_p data[c, p] / P``, the mean over a map.

    Returns
    -------
    list of te.Tensor
        data (N, Cb, P, block), out (N, Cb, 1, block); of the workload's dtype.
    """
    block = work.in_block
    data = placeholder((work.batch, work.in_blocks, work.in_pixels, block), work.dtype, name="data")
    p = te.reduce_axis((0, work.in_pixels), name="p")
    acc = te.compute(
        (work.batch, work.in_blocks, 1, block),
        lambda n, o, _, c: te.sum(exact(data[n, o, p, c]), axis=p),
        name="accumulate",
    )
    scale = te.const(1.0 / work.in_pixels, "float32")
    out = te.compute(
        acc.shape, lambda n, o, z, c: (acc[n, o, z, c] * scale).astype(work.dtype), name="out"
    )
    return [data, out]


def dense(work: Workload) -> list[Any]:
    """Define ``out[n, j] = act(sum_k data[n, k] * weight[k, j] + bias[j])`` into a plain vector.

    The output block is a schedule's whole register tile (several vectors), so that the weights
    of a tile are one stream.

    Returns
    -------
    list of te.Tensor
        data (N, Kb, 1, in_block), weight (Ob, depth, out_block), bias
        (Ob, out_block), out (N, out_channels); data and weight of the workload's dtype,
        bias and out float32.
    """
    kc, oc = work.in_block, work.out_block
    depth = work.depth
    data = placeholder((work.batch, work.in_blocks, 1, kc), work.dtype, name="data")
    weight = placeholder((work.out_blocks, depth, oc), work.dtype, name="weight")
    bias = placeholder((work.out_blocks, oc), name="bias")
    k = te.reduce_axis((0, depth), name="k")
    acc = te.compute(
        (work.batch, work.out_blocks, oc),
        lambda n, o, c: te.sum(exact(data[n, k // kc, 0, k % kc]) * exact(weight[o, k, c]), axis=k),
        name="accumulate",
    )
    out = te.compute(
        (work.batch, work.out_channels),
        lambda n, j: activate(acc[n, j // oc, j % oc] + bias[j // oc, j % oc], work.activation),
        name="out",
    )
    return [data, weight, bias, out]

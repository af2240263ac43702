"""Dense layer into a plain vector: the classifier."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.activations import activate
from tvm_mobilenet.compute.epilogue import exact
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.workload import Workload


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

"""Last pointwise layer, global pool and classifier as one operator (``conv_pool_dense``)."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.epilogue import biased, biases
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.workload import Workload


def conv_pool_dense(work: Workload) -> list[Any]:
    """Define the end of a classifier, from the last depthwise layer's output to its logits.

    ::

        act[o, p] = act(sum_k data[k, p] * weight[k, o] + bias[o])
        logits[j] = sum_o (sum_p act[o, p]) / P * classifier[o, j] + classifier_bias[j]

    Returns
    -------
    list of te.Tensor
        data (N, Kb, P, in_block), weight (Ob, depth, out_block), bias (Ob,
        out_block), classifier (Ob, Jb, out_block, class_block), classifier_bias
        (Jb, class_block), out (N, classes); float32. Weights of padded channels
        and classes are zero.
    """
    kc, oc, jc = work.in_block, work.out_block, work.class_block
    depth, pixels, blocks = work.depth, work.out_pixels, work.out_blocks
    class_blocks = -(-work.classes // jc)
    data = placeholder((work.batch, work.in_blocks, pixels, kc), name="data")
    weight = placeholder((blocks, depth, oc), name="weight")
    bias = biases(blocks, oc, work.activation)
    rows = placeholder((blocks, class_blocks, oc, jc), name="classifier")
    rows_bias = placeholder((class_blocks, jc), name="classifier_bias")
    k = te.reduce_axis((0, depth), name="k")
    acc = te.compute(
        (work.batch, blocks, pixels, oc),
        lambda n, o, p, c: te.sum(data[n, k // kc, p, k % kc] * weight[o, k, c], axis=k),
        name="accumulate",
    )
    ragged = work.out_channels if work.out_channels % oc else 0
    act = biased("act", acc, bias, work.activation, channels=ragged)
    p = te.reduce_axis((0, pixels), name="p")
    total = te.compute(
        (work.batch, blocks, oc), lambda n, o, c: te.sum(act[n, o, p, c], axis=p), name="total"
    )
    scale = te.const(1.0 / pixels, "float32")
    mean = te.compute(total.shape, lambda n, o, c: total[n, o, c] * scale, name="mean")
    i = te.reduce_axis((0, blocks * oc), name="i")
    logits = te.compute(
        (work.batch, class_blocks, jc),
        lambda n, j, c: te.sum(mean[n, i // oc, i % oc] * rows[i // oc, j, i % oc, c], axis=i),
        name="logits",
    )
    out = te.compute(
        (work.batch, work.classes),
        lambda n, j: logits[n, j // jc, j % jc] + rows_bias[j // jc, j % jc],
        name="out",
    )
    return [data, weight, bias, rows, rows_bias, out]

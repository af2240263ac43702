"""Products of the rows of a matrix with weights."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.activations import activate
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.workload import Workload


def linear(work: Workload) -> list[Any]:
    """Define ``out[n, j] = act(sum_k data[n, k] * weight[k, j] + bias[j] (+ residual[n, j]))``.

    Returns
    -------
    list of te.Tensor
        data (N, K), weight (Ob, K, width) and bias (Ob, width), whose last columns end with the
        matrix, residual (N, O) where there is one, out (N, O); float32.
    """
    rows, depth, count, width = work.batch, work.in_channels, work.out_channels, work.out_block
    blocks = work.out_blocks
    data = placeholder((rows, depth), name="data")
    weight = placeholder((blocks, depth, width), name="weight")
    bias = placeholder((blocks, width), name="bias")
    residual = placeholder((rows, count), name="residual") if work.residual else None

    def lane(j: Any) -> Any:
        return te.if_then_else(j // width == blocks - 1, j - (count - width), j % width)

    k = te.reduce_axis((0, depth), name="k")
    acc = te.compute(
        (rows, count),
        lambda n, j: te.sum(data[n, k] * weight[j // width, k, lane(j)], axis=k),
        name="accumulate",
    )

    def element(n: Any, j: Any) -> Any:
        value = acc[n, j] + bias[j // width, lane(j)]
        if residual is not None:
            value += residual[n, j]
        return activate(value, work.activation)

    out = te.compute((rows, count), element, name="out")
    return [data, weight, bias, *([] if residual is None else [residual]), out]

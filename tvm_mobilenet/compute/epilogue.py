"""Bias and activation, computed on the accumulator before it leaves the registers."""

from __future__ import annotations

from typing import Any

from tvm import te

from tvm_mobilenet.compute.workload import Activation


def activate(value: Any, activation: Activation) -> Any:
    """Apply an activation to one element.

    Parameters
    ----------
    value : PrimExpr
        The biased accumulator.
    activation : {"none", "relu", "relu6"}
        ReLU is max(x, 0); ReLU6 is min(max(x, 0), 6) (arXiv 1704.04861).

    Returns
    -------
    PrimExpr
    """
    if activation == "none":
        return value
    value = te.max(value, te.const(0.0, "float32"))
    return value if activation == "relu" else te.min(value, te.const(6.0, "float32"))


def biased(name: str, accumulator: Any, bias: Any, activation: Activation) -> Any:
    """Return the output stage: ``activate(accumulator + bias)``.

    Parameters
    ----------
    name : str
        Name of the stage.
    accumulator : te.Tensor
        (N, Ob, P, c), the finished reduction.
    bias : te.Tensor
        (Ob, c).

    Returns
    -------
    te.Tensor
        (N, Ob, P, c).
    """
    return te.compute(
        accumulator.shape,
        lambda n, o, p, c: activate(accumulator[n, o, p, c] + bias[o, c], activation),
        name=name,
    )

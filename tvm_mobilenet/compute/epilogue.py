"""Epilogues: bias, residual and activation, computed on the accumulator while in registers."""

from __future__ import annotations

from typing import Any

from tvm import te

try:
    from tvm import tirx
except ImportError:  # as TVM 0.19 calls it
    from tvm import tir as tirx

from tvm_mobilenet.machine import Dtype
from tvm_mobilenet.operators.workload import Activation


def activate(value: Any, activation: Activation) -> Any:
    """Apply an activation to one element.

    Parameters
    ----------
    value : PrimExpr
        The biased accumulator.
    activation : {"none", "relu", "relu6", "hardsigmoid", "hardswish"}
        ReLU is max(x, 0); ReLU6 is min(max(x, 0), 6) (arXiv 1704.04861); hard sigmoid is
        ReLU6(x + 3) / 6, hard swish x times that (arXiv 1905.02244, section 5.2). Behind
        a hard sigmoid, lanes that belong to no channel hold 1/2 instead of 0; the next
        layer's weights for them are zero.
    """
    if activation == "none":
        return value
    if activation == "relu":
        return te.max(value, te.const(0.0, "float32"))
    if activation == "relu6":
        return te.min(te.max(value, te.const(0.0, "float32")), te.const(6.0, "float32"))
    sixth = te.const(1.0 / 6.0, "float32")
    gate = activate(value + te.const(3.0, "float32"), "relu6") * sixth
    return gate if activation == "hardsigmoid" else value * gate


def exact(value: Any) -> Any:
    """Return a stored element as float32, the type of all arithmetic."""
    return value.astype("float32")


def biased(  # noqa: PLR0917  a stage, then what it adds and how it ends
    name: str,
    accumulator: Any,
    bias: Any,
    activation: Activation,
    residual: Any = None,
    dtype: Dtype = "float32",
    channels: int = 0,
) -> Any:
    """Return the output stage: ``activate(accumulator + bias (+ residual))``.

    Parameters
    ----------
    name : str
        Name of the stage that is made.
    accumulator : te.Tensor
        (N, Ob, P, c), the finished reduction.
    bias : te.Tensor
        (Ob, c).
    residual : te.Tensor, optional
        (N, Ob, P, c).
    dtype : {"float32", "float16"}
        Type in which the result is stored.
    channels : int
        Number of channels of the output, given where a later layer reads lanes that belong to
        no channel: they then hold the activation of 0. Without it they do so only for finite
        inputs, because an infinity times their weights, which are 0, is NaN.

    Returns
    -------
    te.Tensor
        (N, Ob, P, c).
    """
    block = int(accumulator.shape[-1])

    def element(n: Any, o: Any, p: Any, c: Any) -> Any:
        value = accumulator[n, o, p, c] + bias[o, c]
        if residual is not None:
            value += exact(residual[n, o, p, c])
        if channels:
            value = tirx.Select(o * block + c < channels, value, te.const(0.0, "float32"))
        return activate(value, activation).astype(dtype)

    return te.compute(accumulator.shape, element, name=name)

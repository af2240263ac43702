"""Epilogues: bias, residual and activation, computed on the accumulator while in registers."""

from __future__ import annotations

from typing import Any

from tvm import te

try:
    from tvm import tirx
except ImportError:  # as TVM 0.19 calls it
    from tvm import tir as tirx

from tvm_mobilenet.common.functions import PRELU, Activation
from tvm_mobilenet.compute.activations import activate
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.machine import Dtype


def exact(value: Any) -> Any:
    """Return a stored element as float32, the type of all arithmetic."""
    return value.astype("float32")


def biases(blocks: int, block: int, activation: Activation, name: str = "bias") -> Any:
    """Return the placeholder of biases (Ob, c), with slopes below 0 behind them for a PReLU."""
    return placeholder((2 * blocks if activation == PRELU else blocks, block), name=name)


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
        As :func:`biases` returns it.
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
    blocks, block = int(accumulator.shape[1]), int(accumulator.shape[-1])

    def element(n: Any, o: Any, p: Any, c: Any) -> Any:
        value = accumulator[n, o, p, c] + bias[o, c]
        if residual is not None:
            value += exact(residual[n, o, p, c])
        if channels:
            value = tirx.Select(o * block + c < channels, value, te.const(0.0, "float32"))
        if activation == PRELU:
            below = value * bias[blocks + o, c]
            return tirx.Select(value < te.const(0.0, "float32"), below, value).astype(dtype)
        return activate(value, activation).astype(dtype)

    return te.compute(accumulator.shape, element, name=name)

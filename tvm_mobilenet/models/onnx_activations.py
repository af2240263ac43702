"""Activations as ONNX's operators, spelled as exporters of frameworks spell them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.functions import Activation, clips, parsed

Stage = tuple[str, str, list[str], dict[str, Any]]
"""Operator, name of the node, inputs beside the first, attributes."""

Constants = dict[str, NDArray[Any]]

_SOURCE = "source"
"""Stands for what the activation reads."""

_Step = str | tuple[Any, ...]
"""An operator, then what it reads beside the step before: numbers, or :data:`_SOURCE`."""

_STEPS: dict[str, tuple[_Step, ...]] = {
    "none": (),
    "relu": ("Relu",),
    "hardswish": ("HardSwish",),
    "sigmoid": ("Sigmoid",),
    "silu": ("Sigmoid", ("Mul", _SOURCE)),
    "gelu": (
        ("Div", math.sqrt(2)), "Erf", ("Add", 1.0), ("Mul", _SOURCE), ("Mul", 0.5),
    ),
    "gelutanh": (
        ("Mul", _SOURCE), ("Mul", _SOURCE), ("Mul", 0.044715), ("Add", _SOURCE),
        ("Mul", math.sqrt(2 / math.pi)), "Tanh", ("Add", 1.0), ("Mul", _SOURCE), ("Mul", 0.5),
    ),
    "mish": ("Softplus", "Tanh", ("Mul", _SOURCE)),
    "tanh": ("Tanh",),
    "softplus": ("Softplus",),
}  # fmt: skip


def stages_of(activation: Activation, name: str, source: str, constants: Constants) -> list[Stage]:
    """Return the operators of an activation, each of which reads the one before it.

    Parameters
    ----------
    name : str
        What the names of its nodes begin with; the last node has this name.
    source : str
        The tensor that the first reads.
    constants : dict
        Numbers that they read are added to it.
    """
    kind, parameters = parsed(activation)
    attributes = {
        "elu": ("Elu", ("alpha",)), "leakyrelu": ("LeakyRelu", ("alpha",)),
        "selu": ("Selu", ("alpha", "gamma")), "celu": ("Celu", ("alpha",)),
    }.get(kind)  # fmt: skip
    if attributes is not None:
        operator, names = attributes
        return [(operator, name, [], dict(zip(names, parameters, strict=True)))]
    if kind == "hardsigmoid":
        return [("HardSigmoid", name, [], {"alpha": 1 / 6, "beta": 0.5})]
    limits = clips(activation)
    if limits is not None and kind != "relu":
        ends = {f"{activation}.min": limits[0], f"{activation}.max": limits[1]}
        constants.update({end: np.array(value, np.float32) for end, value in ends.items()})
        return [("Clip", name, [*ends], {})]
    stages: list[Stage] = []
    steps = _steps(kind, parameters)
    for at, step in enumerate(steps, start=1):
        operator, *operands = (step,) if isinstance(step, str) else step
        read = [source if each == _SOURCE else _number(each, constants) for each in operands]
        stages.append((operator, name if at == len(steps) else f"{name}.{at}", read, {}))
    return stages


def _steps(kind: str, parameters: tuple[float, ...]) -> tuple[_Step, ...]:
    if kind == "swish":
        return (("Mul", *parameters), "Sigmoid", ("Mul", _SOURCE))
    if kind in ("gate", "gated"):
        slope, offset, top = parameters
        gate = (("Mul", slope), ("Add", offset), ("Clip", 0.0, top))
        return (*gate, ("Mul", _SOURCE)) if kind == "gated" else gate
    return _STEPS[kind]


def _number(value: float, constants: Constants) -> str:
    name = f"number.{value:.9g}"
    constants[name] = np.array(value, np.float32)
    return name

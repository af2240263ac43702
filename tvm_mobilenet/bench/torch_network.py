"""A Model as a PyTorch module, batch norm folded: what PyTorch can do best with it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Activation,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
    Softmax,
)
from tvm_mobilenet.network.fold import folded

Weights = Mapping[str, NDArray[Any]]
Step = tuple[Any, Callable[..., Any]]


def torch_network(model: Model, weights: Weights) -> Any:
    """Build a module that computes a model.

    Parameters
    ----------
    model : Model
        Whose layers are all of this package, none an ONNX file's own operator.
    weights : mapping of str to ndarray
        Every parameter of the model.

    Returns
    -------
    torch.nn.Module
        From NCHW to the output of the last layer; float32, for inference.

    Raises
    ------
    InvalidModelError
        A layer has no counterpart here.
    """
    import torch

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleDict()
            self.steps: list[tuple[Layer, Callable[..., Any]]] = []
            for layer in model.layers:
                module, step = _step(layer, weights)
                if module is not None:
                    self.parts[layer.name.replace(".", "_")] = module
                self.steps.append((layer, step))

        def forward(self, x: Any) -> Any:
            values = {INPUT: x}
            for layer, step in self.steps:
                values[layer.name] = step(*(values[name] for name in layer.inputs))
            return values[model.layers[-1].name]

    return Network().eval().requires_grad_(False)


@singledispatch
def _step(layer: Layer, _weights: Weights) -> Step:
    """Return the module of a layer, if it has parameters, and what computes it."""
    raise InvalidModelError(f"{type(layer).__name__} {layer.name!r} has no torch module here")


@_step.register(Conv2d)
def _conv2d(layer: Conv2d, weights: Weights) -> Step:
    import torch

    top, left, bottom, right = layer.padding
    even = (top, left) == (bottom, right)
    conv = torch.nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        layer.strides,
        (top, left) if even else (0, 0),
        dilation=layer.dilations,
        groups=layer.groups,
    )
    affine = folded(layer, weights)
    conv.weight.data, conv.bias.data = _tensor(affine.weight), _tensor(affine.bias)
    act = _activation(layer.activation)
    if even:
        return conv, lambda x: act(conv(x))
    pad = torch.nn.functional.pad
    return conv, lambda x: act(conv(pad(x, (left, right, top, bottom))))


@_step.register(Dense)
def _dense(layer: Dense, weights: Weights) -> Step:
    import torch

    dense = torch.nn.Linear(layer.in_shape[1], layer.out_features)
    affine = folded(layer, weights)
    dense.weight.data, dense.bias.data = _tensor(affine.weight), _tensor(affine.bias)
    act = _activation(layer.activation)
    return dense, lambda x: act(dense(x))


@_step.register(GlobalAvgPool)
def _global_avg_pool(layer: GlobalAvgPool, _weights: Weights) -> Step:
    return None, lambda x: x.mean((2, 3), keepdim=layer.keep_map)


@_step.register(Softmax)
def _softmax(_layer: Softmax, _weights: Weights) -> Step:
    return None, lambda x: x.softmax(1)


@_step.register(Add)
def _add(_layer: Add, _weights: Weights) -> Step:
    return None, operator.add


@_step.register(Scale)
def _scale(_layer: Scale, _weights: Weights) -> Step:
    return None, operator.mul


@_step.register(Activate)
def _activate(layer: Activate, _weights: Weights) -> Step:
    return None, _activation(layer.activation)


def _tensor(array: NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(np.array(array, np.float32))


def _activation(activation: Activation) -> Callable[[Any], Any]:
    import torch

    functions: dict[str, Callable[[Any], Any]] = {
        "none": lambda x: x,
        "relu": torch.relu,
        "relu6": torch.nn.functional.relu6,
        "hardswish": torch.nn.functional.hardswish,
        "hardsigmoid": torch.nn.functional.hardsigmoid,
        "sigmoid": torch.sigmoid,
    }
    return functions[activation]

"""Write a model in ncnn's own format.

ncnn reads a text file of layers (``.param``) and a file of their weights
(``.bin``). Its converter (pnnx) wants PyTorch; writing the two files takes less
and gives what ncnn's optimizer would: batch norm folded, activation fused.

Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure and
https://github.com/Tencent/ncnn/blob/master/docs/developer-guide/operators.md
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import PeerError
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
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

MAGIC = "7767517"
_ACTIVATIONS = {
    "none": "9=0",
    "relu": "9=1",
    "relu6": "9=3 -23310=2,0.0,6.0",
    "hardswish": "9=6 -23310=2,0.16666667,0.5",
    "hardsigmoid": "9=0",  # a layer of its own
    "sigmoid": "9=4",
}
"""Fused into a layer, by number and parameters."""

_HARD_SIGMOID = "0=0.16666667 1=0.5"

Arrays = Mapping[str, NDArray[Any]]
Written = tuple[str, str, list[NDArray[Any]]]


def write_ncnn(model: Model, weights: Arrays, param: Path, binary: Path) -> None:
    """Write both files.

    Parameters
    ----------
    model : Model
        Batch 1: ncnn knows no batch. The input blob is ``"input"``, every
        layer's output bears the layer's name.
    weights : mapping of str to ndarray
        As :mod:`tvm_mobilenet.models.weights` names and shapes them.
    param, binary : Path
        Where to write.

    Raises
    ------
    PeerError
        If the batch is not 1, or ncnn has no such layer.
    """
    batch, channels, rows, columns = model.input_shape
    if batch != 1:
        raise PeerError(
            f"ncnn runs one image at a time, this model takes {batch}",
            "leave ncnn out of --against, or compile with batch 1",
        )
    lines = [f"Input input 0 1 input 0={columns} 1={rows} 2={channels}"]
    readers = Counter(name for layer in model.layers for name in layer.inputs)
    copies = {name: iter(range(count)) for name, count in readers.items() if count > 1}

    def source(name: str) -> str:
        return f"{name}.{next(copies[name])}" if name in copies else name

    def copied(name: str) -> None:
        """Give each reader a blob of its own: ncnn lets a layer write over what it reads."""
        if name in copies:
            blobs = " ".join(f"{name}.{number}" for number in range(readers[name]))
            lines.append(f"Split {name}.split 1 {readers[name]} {name} {blobs}")

    copied(INPUT)
    vectors: set[str] = set()  # what a pool left, and what was computed from it
    with binary.open("wb") as file:
        for layer in model.layers:
            kind, arguments, tensors = _written(layer, weights)
            if isinstance(layer, GlobalAvgPool):
                vectors.add(layer.name)
            elif isinstance(layer, Conv2d) and layer.inputs[0] in vectors:
                vectors.add(layer.name)
                kind, arguments = "InnerProduct", _product(layer, tensors)
            sources = " ".join(source(name) for name in layer.inputs)
            gated = getattr(layer, "activation", "none") == "hardsigmoid"
            blob = f"{layer.name}.linear" if gated else layer.name
            lines.append(f"{kind} {blob} {len(layer.inputs)} 1 {sources} {blob} {arguments}")
            if gated:
                lines.append(f"HardSigmoid {layer.name} 1 1 {blob} {layer.name} {_HARD_SIGMOID}")
            copied(layer.name)
            for number, tensor in enumerate(tensors):
                if number == 0:
                    file.write(struct.pack("<I", 0))  # the weights that follow are float32
                file.write(np.ascontiguousarray(tensor, np.float32).tobytes())
    blobs = len(lines) + sum(readers[name] - 1 for name in copies)
    param.write_text("\n".join([MAGIC, f"{len(lines)} {blobs}", *lines]) + "\n")


@singledispatch
def _written(layer: Layer, _weights: Arrays) -> Written:
    """Return ncnn's type, arguments and tensors of one layer."""
    raise PeerError(
        f"{type(layer).__name__} {layer.name!r} is not written for ncnn yet",
        "leave ncnn out of --against",
    )


@_written.register(Conv2d)
def _conv2d(layer: Conv2d, weights: Arrays) -> Written:
    affine = folded(layer, weights)
    top, left, bottom, right = layer.padding
    arguments = (
        f"0={layer.out_channels} 1={layer.kernel[1]} 11={layer.kernel[0]} "
        f"3={layer.strides[1]} 13={layer.strides[0]} "
        f"4={left} 14={top} 15={right} 16={bottom} "
        f"5=1 6={affine.weight.size} {_fused(layer)}"
    )
    if layer.dilations != (1, 1):
        arguments += f" 2={layer.dilations[1]} 12={layer.dilations[0]}"
    tensors = [affine.weight, affine.bias]
    if layer.groups == 1:
        return "Convolution", arguments, tensors
    return "ConvolutionDepthWise", f"{arguments} 7={layer.groups}", tensors


@_written.register(GlobalAvgPool)
def _global_avg_pool(_layer: GlobalAvgPool, _weights: Arrays) -> Written:
    return "Pooling", "0=1 4=1", []


@_written.register(Dense)
def _dense(layer: Dense, weights: Arrays) -> Written:
    affine = folded(layer, weights)
    tensors = [affine.weight, affine.bias]
    return "InnerProduct", _product(layer, tensors), tensors


@_written.register(Add)
def _add(_layer: Add, _weights: Arrays) -> Written:
    return "BinaryOp", "0=0", []


@_written.register(Scale)
def _scale(_layer: Scale, _weights: Arrays) -> Written:
    return "BinaryOp", "0=2", []


@_written.register(Softmax)
def _softmax(_layer: Softmax, _weights: Arrays) -> Written:
    return "Softmax", "0=0", []


@_written.register(Activate)
def _activate(layer: Activate, _weights: Arrays) -> Written:
    if layer.activation not in ("relu", "sigmoid"):
        raise _lacking(layer)
    return "ReLU" if layer.activation == "relu" else "Sigmoid", "", []


def _product(layer: Weighted, tensors: list[NDArray[Any]]) -> str:
    """Return the arguments of a product with a vector: outputs, bias or not, weights."""
    weight, *bias = tensors
    return f"0={weight.shape[0]} 1={len(bias)} 2={weight.size} {_fused(layer)}"


def _fused(layer: Weighted) -> str:
    found = _ACTIVATIONS.get(layer.activation)
    if found is None:
        raise _lacking(layer)
    return found


def _lacking(layer: Weighted | Activate) -> PeerError:
    return PeerError(
        f"{layer.activation} of {layer.name!r} is not written for ncnn yet",
        "leave ncnn out of --against",
    )

"""Write a model in ncnn's own format.

ncnn reads a text file of layers (``.param``) and a file of their weights
(``.bin``). Its converter (pnnx) wants PyTorch; writing the two files takes less
and gives what ncnn's optimizer would: batch norm folded, activation fused.

Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure and
https://github.com/Tencent/ncnn/blob/master/docs/developer-guide/operators.md
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import PeerError
from tvm_mobilenet.models.spec import Conv2d, Dense, GlobalAvgPool, Layer, Model, Softmax

MAGIC = "7767517"
_ACTIVATIONS = {"none": "9=0", "relu": "9=1", "relu6": "9=3 -23310=2,0.0,6.0"}

Arrays = Mapping[str, NDArray[Any]]


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
    with binary.open("wb") as file:
        for layer in model.layers:
            kind, arguments, tensors = _layer(layer, weights)
            sources = " ".join(layer.inputs)
            lines.append(
                f"{kind} {layer.name} {len(layer.inputs)} 1 {sources} {layer.name} {arguments}"
            )
            for number, tensor in enumerate(tensors):
                if number == 0:
                    file.write(struct.pack("<I", 0))  # the weights that follow are float32
                file.write(np.ascontiguousarray(tensor, np.float32).tobytes())
    counts = f"{len(lines)} {len(lines)}"
    param.write_text("\n".join([MAGIC, counts, *lines]) + "\n")


def folded(layer: Conv2d, weights: Arrays) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return weight (O, I / groups, KH, KW) and bias (O,) with batch norm in them, float64."""
    weight = weights[f"{layer.name}.weight"].astype(np.float64)
    bias = np.zeros(layer.out_channels)
    if layer.bias:
        bias += weights[f"{layer.name}.bias"]
    if layer.batch_norm is None:
        return weight, bias
    gamma, beta, mean, variance = (
        weights[f"{layer.name}.bn.{part}"].astype(np.float64)
        for part in ("gamma", "beta", "mean", "variance")
    )
    scale = gamma / np.sqrt(variance + layer.batch_norm)
    return weight * scale[:, None, None, None], (bias - mean) * scale + beta


def _layer(layer: Layer, weights: Arrays) -> tuple[str, str, list[NDArray[Any]]]:
    """Return ncnn's type, arguments and tensors of one layer."""
    if isinstance(layer, Conv2d):
        weight, bias = folded(layer, weights)
        top, left, bottom, right = layer.padding
        arguments = (
            f"0={layer.out_channels} 1={layer.kernel[1]} 11={layer.kernel[0]} "
            f"3={layer.strides[1]} 13={layer.strides[0]} "
            f"4={left} 14={top} 15={right} 16={bottom} "
            f"5=1 6={weight.size} {_ACTIVATIONS[layer.activation]}"
        )
        if layer.groups == 1:
            return "Convolution", arguments, [weight, bias]
        return "ConvolutionDepthWise", f"{arguments} 7={layer.groups}", [weight, bias]
    if isinstance(layer, GlobalAvgPool):
        return "Pooling", "0=1 4=1", []
    if isinstance(layer, Dense):
        tensors = [weights[name] for name in layer.parameters]
        bias_term = int(len(tensors) == 2)
        return (
            "InnerProduct",
            f"0={layer.out_shape[1]} 1={bias_term} 2={tensors[0].size}",
            tensors,
        )
    if isinstance(layer, Softmax):
        return "Softmax", "0=0", []
    raise PeerError(
        f"{type(layer).__name__} {layer.name!r} is not written for ncnn yet",
        "leave ncnn out of --against",
    )

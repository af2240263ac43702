"""The same network for everyone else: a Model and its weights as ONNX.

Written as an exporter of a framework would: batch norm as nodes of its own and
nothing folded, so that every runtime applies its own optimisations. The output
of a layer is a tensor of the layer's name, its parameters keep theirs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.files import written_aside
from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.layers import LpNormalization, Weighted
from tvm_mobilenet.models.maps import Concat, Pool2d
from tvm_mobilenet.models.onnx_activations import Constants, Stage, stages_of
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
from tvm_mobilenet.models.spread import inputs_first
from tvm_mobilenet.models.transposed import ConvTranspose2d
from tvm_mobilenet.models.weights import validate

if TYPE_CHECKING:
    import onnx

OPSET = 17

IR_VERSION = 8
"""What ONNX released together with opset 17; newer ones shut out older runtimes."""


def to_onnx(model: Model, weights: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """Convert a model.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Every parameter of the model by its full name; stored as float32.

    Returns
    -------
    onnx.ModelProto
        A model that ``onnx.checker`` accepts, with one float32 input ``input`` (NCHW) and one
        output that has the last layer's name.

    Raises
    ------
    WeightsError
        If the weights do not fit the model.
    InvalidModelError
        If a layer has no counterpart here.
    """
    validate(model, weights)
    constants = {name: np.asarray(weights[name], dtype=np.float32) for name in model.parameters}
    nodes = []
    for layer in model.layers:
        nodes += nodes_of(layer, constants)
    return checked(model, nodes, constants)


def checked(model: Model, nodes: list[onnx.NodeProto], constants: Constants) -> onnx.ModelProto:
    """Return nodes as a model, with the inputs and outputs that `model` has, after ONNX's check."""
    import onnx
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(model.input_dtype))
    graph = helper.make_graph(
        nodes,
        model.name,
        [helper.make_tensor_value_info(INPUT, kind, model.input_shape)],
        [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, model.layer(name).out_shape)
            for name in model.outputs
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
        doc_string=model.title,
    )
    exported: onnx.ModelProto = helper.make_model(
        graph,
        producer_name="tvm_mobilenet",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    onnx.checker.check_model(exported, full_check=True)
    return exported


def export_onnx(
    model: Model, weights: Mapping[str, NDArray[Any]], path: str | os.PathLike[str]
) -> None:
    """Write a model as an ``.onnx`` file, the whole file or none of it.

    Parameters
    ----------
    model, weights
        As for :func:`to_onnx`.
    path : path-like
        The file, which is replaced if it exists.

    Raises
    ------
    OutputError
        If the path cannot be written.
    WeightsError, InvalidModelError
        As for :func:`to_onnx`.
    """
    content = to_onnx(model, weights).SerializeToString()
    with written_aside(path) as file:
        file.write(content)


@singledispatch
def nodes_of(layer: Layer, _constants: Constants) -> list[onnx.NodeProto]:
    """Return the nodes of one layer; constants they need beyond weights are added."""
    raise InvalidModelError(f"cannot export {type(layer).__name__} {layer.name!r} to ONNX")


@nodes_of.register(Conv2d)
def _conv2d(layer: Conv2d, constants: Constants) -> list[onnx.NodeProto]:
    attributes = {
        "kernel_shape": layer.kernel,
        "strides": layer.strides,
        "pads": layer.padding,
        "group": layer.groups,
        **({"dilations": layer.dilations} if layer.dilations != (1, 1) else {}),
    }
    return _product(layer, constants, "Conv", attributes)


@nodes_of.register(ConvTranspose2d)
def _conv_transpose(layer: ConvTranspose2d, constants: Constants) -> list[onnx.NodeProto]:
    name = layer.name
    constants[f"{name}.turned"] = inputs_first(layer, constants[f"{name}.weight"])
    attributes = {
        "kernel_shape": layer.kernel,
        "strides": layer.strides,
        "pads": layer.padding,
        "output_padding": layer.output_padding,
        "group": layer.groups,
    }
    return _product(layer, constants, "ConvTranspose", attributes, f"{name}.turned")


@nodes_of.register(Dense)
def _dense(layer: Dense, constants: Constants) -> list[onnx.NodeProto]:
    return _product(layer, constants, "Gemm", {"transB": 1})


def _product(
    layer: Weighted | ConvTranspose2d,
    constants: Constants,
    operator: str,
    attributes: dict[str, Any],
    weight: str = "",
) -> list[onnx.NodeProto]:
    """Return a product with weights, its batch norm and its activation.

    Parameters
    ----------
    weight : str
        The constant that holds its weights, where that is not the layer's own.
    """
    name = layer.name
    affine = [weight or f"{name}.weight", *([f"{name}.bias"] if layer.bias else [])]
    stages: list[Stage] = [(operator, name, affine, attributes)]
    if layer.batch_norm is not None:
        parts = [f"{name}.bn.{part}" for part in ("gamma", "beta", "mean", "variance")]
        stages.append(("BatchNormalization", f"{name}.bn", parts, {"epsilon": layer.batch_norm}))
    return _activated(layer, stages, constants)


@nodes_of.register(Activate)
def _activate(layer: Activate, constants: Constants) -> list[onnx.NodeProto]:
    return _activated(layer, [], constants)


@nodes_of.register(GlobalAvgPool)
def _global_avg_pool(layer: GlobalAvgPool, _constants: Constants) -> list[onnx.NodeProto]:
    from onnx import helper

    if layer.keep_map:
        return [_node("GlobalAveragePool", layer)]
    pooled = f"{layer.name}.map"
    return [
        helper.make_node("GlobalAveragePool", layer.inputs, [pooled], layer.name),
        helper.make_node("Flatten", [pooled], [layer.name], f"{layer.name}.flatten", axis=1),
    ]


@nodes_of.register(Add)
def _add(layer: Add, _constants: Constants) -> list[onnx.NodeProto]:
    return [_node("Add", layer)]


@nodes_of.register(Scale)
def _scale(layer: Scale, _constants: Constants) -> list[onnx.NodeProto]:
    return [_node("Mul", layer)]


@nodes_of.register(Concat)
def _concat(layer: Concat, _constants: Constants) -> list[onnx.NodeProto]:
    return [_node("Concat", layer, axis=1)]


@nodes_of.register(Pool2d)
def _pool2d(layer: Pool2d, _constants: Constants) -> list[onnx.NodeProto]:
    """Return a pool whose padding is as long as its last windows, so that sizes are not rounded."""
    ends = [
        max((count - 1) * stride + taps - begin - size, 0)
        for count, stride, taps, begin, size in zip(
            layer.size,
            layer.strides,
            layer.kernel,
            layer.padding[:2],
            layer.in_shape[2:],
            strict=True,
        )
    ]
    windows = {
        "kernel_shape": layer.kernel,
        "strides": layer.strides,
        "pads": (*layer.padding[:2], *ends),
    }
    return [_node("MaxPool" if layer.kind == "max" else "AveragePool", layer, **windows)]


@nodes_of.register(Softmax)
def _softmax(layer: Softmax, _constants: Constants) -> list[onnx.NodeProto]:
    return [_node("Softmax", layer, axis=1)]


@nodes_of.register(LpNormalization)
def _lp_normalization(layer: LpNormalization, constants: Constants) -> list[onnx.NodeProto]:
    from onnx import helper

    if not layer.least:
        return [_node("LpNormalization", layer, axis=1, p=2)]
    (source,), least = layer.inputs, f"{layer.name}.least"
    constants[least] = np.array(layer.least, np.float32)
    norm, divisor = f"{layer.name}.norm", f"{layer.name}.divisor"
    return [
        helper.make_node("ReduceL2", [source], [norm], norm, axes=[1]),
        helper.make_node("Clip", [norm, least], [divisor], divisor),
        helper.make_node("Div", [source, divisor], [layer.name], layer.name),
    ]


@nodes_of.register(LayerNorm)
def _layer_norm(layer: LayerNorm, _constants: Constants) -> list[onnx.NodeProto]:
    from onnx import helper

    inputs = [*layer.inputs, *layer.parameters]
    attributes = {"axis": 1, "epsilon": layer.epsilon}
    return [helper.make_node("LayerNormalization", inputs, [layer.name], layer.name, **attributes)]


def _node(operator: str, layer: Layer, **attributes: Any) -> onnx.NodeProto:
    """Return the one node that computes a layer."""
    from onnx import helper

    return helper.make_node(operator, layer.inputs, [layer.name], layer.name, **attributes)


def _activated(
    layer: Weighted | ConvTranspose2d | Activate, stages: list[Stage], constants: Constants
) -> list[onnx.NodeProto]:
    """Return a layer's nodes: those of some stages, and behind them its activation's."""
    source = f"{stages[-1][1]}.out" if stages else layer.inputs[0]
    behind = stages_of(layer.activation, f"{layer.name}.{layer.activation}", source, constants)
    return _chained(layer, [*stages, *behind])


def _chained(layer: Layer, stages: list[Stage]) -> list[onnx.NodeProto]:
    """Return a node for each stage, the first of which reads the layer's input."""
    from onnx import helper

    nodes, source = [], layer.inputs[0]
    for number, (operator, node_name, constant_inputs, attributes) in enumerate(stages, start=1):
        # Only the last tensor of a layer bears its name.
        target = layer.name if number == len(stages) else f"{node_name}.out"
        nodes.append(
            helper.make_node(
                operator, [source, *constant_inputs], [target], node_name, **attributes
            )
        )
        source = target
    return nodes

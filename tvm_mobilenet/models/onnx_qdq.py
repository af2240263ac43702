"""A quantised network for everyone else: ONNX with QuantizeLinear and DequantizeLinear.

Each layer that computes in integers stands as its float operator between a DequantizeLinear for
each input and a QuantizeLinear, which is how runtimes recognise what to compute in integers. The
elements of a layer's value are a tensor of the layer's name.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.files import written_aside
from tvm_mobilenet.common.functions import clips
from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.onnx_activations import Constants
from tvm_mobilenet.models.onnx_export import checked, nodes_of
from tvm_mobilenet.models.pixels import Pixels
from tvm_mobilenet.models.quantized.model import Dequantize, Quantize, QuantizedModel, limits_of
from tvm_mobilenet.models.spec import Activate, GlobalAvgPool, Layer
from tvm_mobilenet.models.tensors import TensorType

if TYPE_CHECKING:
    import onnx

_LARGEST_BIAS = 2**31 - 1

_INTEGERS, _NUMBERS = ".int8", ".float"
"""What is behind a parameter's name in that of its elements, and behind a layer's in that of the
value that its operator computes in float32."""


def write_qdq(
    network: Network,
    path: str | os.PathLike[str],
    rounded: Mapping[str, TensorType] | None = None,
) -> None:
    """Write a quantised network as an ``.onnx`` file, the whole file or none of it.

    Parameters
    ----------
    network : Network
        One with records, or a float network, which becomes an ordinary file.
    path : path-like
        The file, which is replaced if it exists.
    rounded : mapping, optional
        As for :func:`to_qdq`.

    Raises
    ------
    OutputError
        If the path cannot be written.
    QuantizationError, InvalidModelError
        As for :func:`to_qdq`.
    """
    content = to_qdq(network, rounded).SerializeToString()
    with written_aside(path) as file:
        file.write(content)


def to_qdq(network: Network, rounded: Mapping[str, TensorType] | None = None) -> onnx.ModelProto:
    """Convert a quantised network.

    Weights are int8, with a scale for each output channel on axis 0. A layer's bias is int32 in
    units of its sums, or float32 where one of its channels is too large for that: then a runtime
    decides itself how to compute the layer.

    Parameters
    ----------
    network : Network
        One with records.
    rounded : mapping of str to TensorType, optional
        By name, layers whose sums leave as float32 and shall be rounded to these types all the
        same: runtimes other than ours compute a layer in float32 unless its value is quantised.

    Returns
    -------
    onnx.ModelProto
        A model that ``onnx.checker`` accepts.

    Raises
    ------
    QuantizationError
        If a record does not fit its layer, or the network takes raw pixels.
    InvalidModelError
        If a layer has no counterpart in ONNX.
    """
    written = _Written(
        QuantizedModel(network.model, network.records), network.weights, rounded or {}
    )
    for layer in network.model.layers:
        written.add(layer)
    return checked(network.model, written.nodes, written.constants)


@dataclasses.dataclass
class _Written:
    """The nodes so far, in order, and the constants that they read."""

    network: QuantizedModel
    weights: Mapping[str, NDArray[Any]]
    rounded: Mapping[str, TensorType]
    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: Constants = dataclasses.field(default_factory=dict)

    def add(self, layer: Layer) -> None:
        """Add a layer, in integers or in float32."""
        if isinstance(layer, Pixels):
            raise QuantizationError(
                "a network of raw pixels has a border of another colour in each channel, and "
                "ONNX's Pad has one number for all",
                "write an artifact (.so), or quantise without --pixels",
            )
        if isinstance(layer, Quantize):
            self._quantized(layer.inputs[0], layer.name, self.network.type_of(layer.name))
        elif isinstance(layer, Dequantize):
            self._dequantized(layer.inputs[0], layer.name)
        elif layer.name in self.network.records:
            self._add_integer(layer)
        else:
            for name in layer.parameters:
                self.constants[name] = np.asarray(self.weights[name], np.float32)
            self.nodes += nodes_of(layer, self.constants)

    def _add_integer(self, layer: Layer) -> None:
        """Add a float operator that reads dequantised values, and what quantises its own."""
        name, record = layer.name, self.network.records[layer.name]
        inputs = tuple(self._numbers(value, name, at) for at, value in enumerate(layer.inputs))
        before = record.before or self.rounded.get(name, record.output)
        target = f"{name}{_NUMBERS}" if before.quantized else name
        operator = dataclasses.replace(layer, name=target, inputs=inputs)
        if isinstance(operator, GlobalAvgPool):
            operator = dataclasses.replace(operator, keep_map=True)
        if isinstance(layer, Weighted) and isinstance(operator, Weighted):
            if record.before is not None or _implied(operator.activation, before):
                operator = dataclasses.replace(operator, activation="none")
            self._add_parameters(layer, target)
        self.nodes += nodes_of(operator, self.constants)
        if not before.quantized:
            return
        if record.before is not None and isinstance(layer, Weighted):
            self._add_activation(layer, target, record.before, record.output)
        elif not record.output.quantized:
            self._quantized(target, f"{name}.rounded", before)
            self._dequantized(f"{name}.rounded", name, before)
        elif isinstance(layer, GlobalAvgPool) and not layer.keep_map:
            self._quantized(target, f"{name}.map", record.output)
            self._node("Flatten", [f"{name}.map"], name, axis=1)
        else:
            self._quantized(target, name, record.output)

    def _add_activation(
        self, layer: Weighted, sums: str, before: TensorType, to: TensorType
    ) -> None:
        """Add what reads rounded sums: an activation that is no clipping."""
        name = layer.name
        self._quantized(sums, f"{name}.sums", before)
        self._dequantized(f"{name}.sums", f"{name}.sums{_NUMBERS}", before)
        made = Activate(
            f"{name}.activated", (f"{name}.sums{_NUMBERS}",), layer.out_shape, layer.activation
        )
        self.nodes += nodes_of(made, self.constants)
        self._quantized(made.name, name, to)

    def _add_parameters(self, layer: Weighted, target: str) -> None:
        """Add a layer's weight and bias, dequantised under the operator's name."""
        record, source = self.network.records[layer.name], self.network.type_of(layer.inputs[0])
        assert record.weight is not None  # QuantizedModel holds every layer with weights to it
        weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
        of = record.weight
        self.constants[f"{weight}{_INTEGERS}"] = np.asarray(self.weights[weight], of.dtype)
        scales = np.asarray(of.scale, np.float32)
        if len(scales) == 1:
            scales = np.repeat(scales, layer.out_shape[1])
        zeros = np.full(len(scales), of.zero_point, of.dtype)
        self._step("DequantizeLinear", f"{weight}{_INTEGERS}", f"{target}.weight", scales, zeros)
        units = np.float32(source.scale[0]) * scales
        elements = np.rint(np.asarray(self.weights[bias], np.float64) / units)
        if np.abs(elements).max() > _LARGEST_BIAS:
            self.constants[f"{target}.bias"] = np.asarray(self.weights[bias], np.float32)
            return
        self.constants[f"{bias}.int32"] = elements.astype(np.int32)
        zeros = np.zeros(len(scales), np.int32)
        self._step("DequantizeLinear", f"{bias}.int32", f"{target}.bias", units, zeros)

    def _numbers(self, value: str, reader: str, at: int) -> str:
        """Return the float32 form of what a layer reads.

        Every reader has a DequantizeLinear of its own, which is how runtimes know groups.
        """
        if not self.network.type_of(value).quantized:
            return value
        target = f"{reader}.input{at}"
        self._dequantized(value, target)
        return target

    def _quantized(self, source: str, target: str, to: TensorType) -> None:
        self._step("QuantizeLinear", source, target, *_parameters_of(to))

    def _dequantized(self, source: str, target: str, of: TensorType | None = None) -> None:
        of = of or self.network.type_of(source)
        self._step("DequantizeLinear", source, target, *_parameters_of(of))

    def _step(
        self, operator: str, source: str, target: str, scale: NDArray[Any], zero: NDArray[Any]
    ) -> None:
        parameters = {f"{target}.scale": scale, f"{target}.zero_point": zero}
        self.constants |= parameters
        self._node(operator, [source, *parameters], target, **({"axis": 0} if scale.ndim else {}))

    def _node(self, operator: str, inputs: list[str], target: str, **attributes: int) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [target], target, **attributes))


def _parameters_of(of: TensorType) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the scale and zero point of a type as a step reads them."""
    return np.array(of.scale[0], np.float32), np.array(of.zero_point, of.dtype)


def _implied(activation: str, to: TensorType) -> bool:
    """Return whether an activation clips no more than rounding to a type does."""
    if not to.quantized or clips(activation) is None:
        return False
    return limits_of(activation, to) == to.limits

"""Layers of a quantised graph: which of them compute in integers, and what is rounded between."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from tvm_mobilenet.common.functions import Activation, clips, tabled
from tvm_mobilenet.errors import OnnxFileError
from tvm_mobilenet.machine import RANGES
from tvm_mobilenet.models.folding import without_batch_norm
from tvm_mobilenet.models.importer.graph import Array, Elements, Graph, Node
from tvm_mobilenet.models.importer.layers import Layers
from tvm_mobilenet.models.importer.roundings import moves, type_of_rounding
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.maps import Concat, Pool2d
from tvm_mobilenet.models.quantized.forms import integer_form
from tvm_mobilenet.models.quantized.model import (
    FLOAT,
    Quantization,
    Quantize,
    has_kernel,
    limits_of,
)
from tvm_mobilenet.models.spec import INPUT, Activate, Add, Conv2d, GlobalAvgPool, Scale, Softmax
from tvm_mobilenet.models.tensors import TensorType

_APART = 128
"""Between int8 and uint8, and their zero points, of the same numbers."""


class IntegerLayers(Layers):
    """Layers and weights of a graph with roundings.

    A layer computes in integers if what it reads and its weight are of elements, and its value is
    rounded; a convolution or dense layer also if it is not, and its sums leave as float32. A
    rounding that is no layer's becomes a :class:`~tvm_mobilenet.models.quantized.model.Quantize`.
    All else stays in float32: among it weights by channel that int8 does not hold less their zero
    points, and convolutions that are dilated or of many groups and not depthwise.

    Attributes
    ----------
    records : dict of str to Quantization
        By name, the layers that compute in integers, whose weights are int8; and the input,
        where it is of elements.
    values : dict of str to TensorType
        By name, what layers of float32 give that move what is rounded, and do not change it.

    Raises
    ------
    OnnxFileError
        The image is bytes that stand for several things.
    """

    def __init__(self, graph: Graph) -> None:
        self.records: dict[str, Quantization] = {}
        self.values: dict[str, TensorType] = {}
        self._elements: dict[str, Elements] = {}
        self._keeps_tables = False
        super().__init__(graph)
        self._finish()

    # Weights, which are known by the constant that a node reads.

    def _lower_conv(self, node: Node) -> bool:
        return self._product(node, Layers._lower_conv, transposed=False)

    def _lower_gemm(self, node: Node) -> bool:
        if node.attrs.get("alpha", 1.0) != 1.0:
            return super()._lower_gemm(node)
        return self._product(node, Layers._lower_gemm, transposed=not node.attrs.get("transB", 0))

    def _lower_matmul(self, node: Node) -> bool:
        return self._product(node, Layers._lower_matmul, transposed=True)

    def _product(
        self, node: Node, lower: Callable[[Layers, Node], bool], *, transposed: bool
    ) -> bool:
        """Lower a convolution or product, and keep the elements of its weight for later."""
        known, source = self._graph.elements.get(node.inputs[1]), self.names.get(node.inputs[0])
        if known is None or source is None or not self._type(source).quantized:
            return lower(self, node)
        self._keeps_tables = True
        found = lower(self, node)
        self._keeps_tables = False
        if found:
            parts = (known.numbers, known.scale)
            self._elements[[*self.layers][-1]] = Elements(
                *(p.T if transposed else p for p in parts)
            )
        return found

    def _take_activation(self, tensor: str) -> tuple[str, Activation]:
        """Leave what is no clipping: a table reads elements, and no sums."""
        out, activation = super()._take_activation(tensor)
        if self._keeps_tables and tabled(activation):
            node = self._only_reader(tensor)
            self._taken.discard(id(node))
            return tensor, "none"
        return out, activation

    def _replace(self, layer: Layer, name: str) -> None:
        super()._replace(layer, name)
        for known in (self.records, self._elements):
            if layer.name in known:
                known[name] = known.pop(layer.name)  # type: ignore[assignment]

    # Roundings.

    def _type(self, name: str) -> TensorType:
        """Return what a value's elements are, or would be."""
        record = self.records.get(name)
        return self.values.get(name, FLOAT) if record is None else record.output

    def _lower_other(self, node: Node) -> None:
        super()._lower_other(node)
        moved = [self.names[name] for name in node.inputs if name in self.names]
        types = {self._type(name) for name in moved}
        if moves(self._graph, node) and len(types) == 1 and FLOAT not in types:
            (of,) = types
            made = [self.names[out] for out in node.outputs if out in self.names]
            self.values.update(dict.fromkeys(made, of))

    def _take_bytes(self, to: TensorType) -> None:
        """Let the image be of elements, which is what all that reads it says."""
        readers = self._readers[self._graph.input]
        types = {reader.attrs.get("type") for reader in readers}
        if types != {to}:
            odd = next(reader for reader in readers if reader.attrs.get("type") != to)
            raise OnnxFileError(
                f"the node {odd.name!r} takes the bytes of the image for something else than "
                "another node does",
                "dequantise the image once",
            )
        self.records[INPUT] = Quantization(to)

    def _lower_round8(self, node: Node) -> bool:
        """Let the layer that a rounding follows do it, or else a step."""
        (source,), to = node.inputs, type_of_rounding(node)
        name = self.names[source]
        if name == INPUT and self._graph.dtype(source) == to.dtype and INPUT not in self.records:
            self._take_bytes(to)
        if _same_numbers(self._type(name), to):
            self._readers[source].remove(node)
            self.names[node.out] = name
            return True
        layer = self._alone(name)
        found = None if layer is None else self._rounded(layer, to)
        if found is None:
            step = Quantize(self._name(node.out), (name,), self._graph.shape(source))
            self.records[step.name] = Quantization(to)
            return self._add(step)
        layer, record = found
        self.records[layer.name] = record
        self._replace(layer, self._name(node.out))
        return True

    def _rounded(self, layer: Layer, to: TensorType) -> tuple[Layer, Quantization] | None:
        """Return a layer and its record where it can round its value to a type itself."""
        if layer.name in self.records:
            return None
        if isinstance(layer, Weighted):
            weight = self._weight_type(layer)
            return None if weight is None else (layer, Quantization(to, weight))
        if isinstance(layer, Activate):
            return self._activated(layer, to)
        read = [self._type(name).quantized for name in layer.inputs]
        form = integer_form(layer)
        if isinstance(form, Concat | Pool2d) and all(read):
            return form, Quantization(to)
        able = isinstance(layer, GlobalAvgPool | Scale | Softmax) and all(read)
        if able or (isinstance(layer, Add) and any(read)):
            return layer, Quantization(to)
        return None

    def _activated(self, layer: Activate, to: TensorType) -> tuple[Layer, Quantization] | None:
        """As :meth:`_rounded`; the layer before an activation takes it, if it can."""
        before, prior = self._type(layer.inputs[0]), self._alone(layer.inputs[0])
        clipped = clips(layer.activation) is not None
        if not before.quantized:
            implied = clipped and limits_of(layer.activation, to) == to.limits
            found = self._rounded(prior, to) if implied and prior is not None else None
            if found is not None:
                del self.layers[layer.name]
            return found
        if (
            isinstance(prior, Weighted)
            and prior.activation == "none"
            and (not clipped or before == to)
        ):
            del self.layers[layer.name]
            known = self.records[prior.name]
            record = Quantization(to, known.weight, None if clipped else before)
            return dataclasses.replace(prior, activation=layer.activation), record
        return layer, Quantization(to)

    def _weight_type(self, layer: Weighted) -> TensorType | None:
        """Return the type of a weight where a layer can compute in integers, else None."""
        known = self._elements.get(layer.name)
        other = isinstance(layer, Conv2d) and not has_kernel(layer)
        if known is None or other or not self._type(layer.inputs[0]).quantized:
            return None
        scales = known.scale.reshape(len(known.scale), -1)
        factor = _norm_factor(layer, self.weights)
        if (scales != scales[:, :1]).any() or not (np.isfinite(factor) & (factor > 0)).all():
            return None
        scales = scales[:, 0] * factor
        alike = scales[:1] if (scales == scales[0]).all() else scales
        low, high = RANGES["int8"]
        least, most = int(known.numbers.min()), int(known.numbers.max())
        if low <= least and most <= high:
            return TensorType("int8", tuple(map(float, alike)), 0)
        # Nine bits: any zero point will do by which uint8 holds them, and 0 is none.
        zero = max(-least, 1)
        if len(alike) > 1 or most + zero > RANGES["uint8"][1]:
            return None
        return TensorType("uint8", (float(alike[0]),), zero)

    def _finish(self) -> None:
        """Let sums that nothing rounds leave as float32; store integers as integers."""
        for layer in [*self.layers.values()]:
            if not isinstance(layer, Weighted):
                continue
            if layer.name not in self.records and (weight := self._weight_type(layer)) is not None:
                self.records[layer.name] = Quantization(FLOAT, weight)
            if layer.name in self.records:
                self._store(layer)
        self._move_elements()

    def _move_elements(self) -> None:
        """Let layers that only move what is rounded do so in integers, where elements come."""
        for name, layer in self.layers.items():
            of = self.values.get(name)
            if of is None or name in self.records or INPUT in layer.inputs:
                continue
            read = [self.records.get(source) for source in layer.inputs]
            known = all(record is not None and record.output.quantized for record in read)
            if known and isinstance(integer_form(layer), Concat | Pool2d):
                self.records[name] = Quantization(of)

    def _store(self, layer: Weighted) -> None:
        weight = f"{layer.name}.weight"
        _, bias = without_batch_norm(layer, self.weights)
        for name in layer.parameters:
            del self.weights[name]
        numbers = self._elements[layer.name].numbers.reshape(layer.parameters[weight])
        of = self.records[layer.name].weight
        assert of is not None  # a layer with a weight has its type
        self.weights[weight] = np.ascontiguousarray(numbers + (of.zero_point or 0), of.dtype)
        self.weights[f"{layer.name}.bias"] = bias.astype(np.float32)


def _same_numbers(one: TensorType, other: TensorType) -> bool:
    """Whether elements of both stand for the same numbers."""
    if one == other:
        return True
    types = {of.dtype: of.zero_point or 0 for of in (one, other)}
    both = types.keys() == RANGES.keys() and one.scale == other.scale
    return both and types["uint8"] - types["int8"] == _APART


def _norm_factor(layer: Weighted, weights: dict[str, Array]) -> Array:
    """Return what a layer's batch norm multiplies its weights by, (O,)."""
    if layer.batch_norm is None:
        return np.ones(layer.out_shape[1], np.float32)
    gamma, variance = (weights[f"{layer.name}.bn.{name}"] for name in ("gamma", "variance"))
    return np.asarray(gamma / np.sqrt(variance.astype(np.float64) + layer.batch_norm))

"""From a simplified graph to the layers of a model: what ours are, and operators for the rest."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np

from tvm_mobilenet.common.functions import Activation
from tvm_mobilenet.errors import OnnxFileError
from tvm_mobilenet.models.importer.activations import ACTIVATION
from tvm_mobilenet.models.importer.affine import Affine
from tvm_mobilenet.models.importer.foreign import foreign
from tvm_mobilenet.models.importer.graph import Array, Graph, Node
from tvm_mobilenet.models.importer.lp_norms import LEAST
from tvm_mobilenet.models.importer.transposed import is_narrow, placed, square_channels
from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.layers import LpNormalization
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Scale,
    Softmax,
    symbol,
)
from tvm_mobilenet.models.spread import outputs_first
from tvm_mobilenet.models.transposed import ConvTranspose2d

_RESERVED = (INPUT, "x", "main")
_AUTOMATIC = re.compile(r"(lv|gv)\d*")
"""Names that mean nothing to TVM."""


_FEWEST_CHANNELS = 4
"""Channels of a map that is worth blocks."""


def _parameter(name: str, value: Array, shape: Shape) -> Array:
    """Return a parameter of a layer; ONNX's own checks do not look at its numbers or sizes."""
    if value.shape != shape:
        raise OnnxFileError(
            f"{name} is {value.shape}, and should be {shape}", "export the model again"
        )
    if not np.isfinite(value).all():
        raise OnnxFileError(f"{name} has numbers that are not finite", "export the model again")
    return np.ascontiguousarray(value, np.float32)


class Layers:
    """Layers and weights of a graph.

    Attributes
    ----------
    layers : dict of str to Layer
        Layers by name, in topological order.
    weights : dict of str to ndarray
        Arrays of float32 by parameter name.
    names : dict of str to str
        Tensor to the layer that computes it.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._readers = graph.readers()
        self.layers: dict[str, Layer] = {}
        self.weights: dict[str, Array] = {}
        self.names: dict[str, str] = {graph.input: INPUT}
        self._symbols = {symbol(name) for name in _RESERVED}
        self._taken: set[int] = set()
        for node in graph.nodes:
            if id(node) not in self._taken:
                self._lower(node)

    # What follows a node, and is only its own.

    def _only_reader(self, tensor: str) -> Node | None:
        readers = self._readers.get(tensor, [])
        alone = len(readers) == 1 and tensor not in self._graph.outputs
        return readers[0] if alone else None

    def _take_affine(self, tensor: str, affine: Affine) -> str:
        """Let what scales and shifts a tensor channel by channel join; return where it ends."""
        while (node := self._only_reader(tensor)) is not None:
            if not affine.take(self._graph, node, tensor):
                break
            self._taken.add(id(node))
            tensor = node.out
        return tensor

    def _take_activation(self, tensor: str) -> tuple[str, Activation]:
        node = self._only_reader(tensor)
        if node is None or node.op != ACTIVATION:
            return tensor, "none"
        self._taken.add(id(node))
        return node.out, node.attrs["activation"]

    # One node after the other.

    def _lower(self, node: Node) -> None:
        rule = getattr(self, f"_lower_{node.op.lower()}", None)
        if (rule is None or not rule(node)) and not self._lower_affine(node):
            self._lower_other(node)

    def _name(self, tensor: str) -> str:
        """Name the layer that computes a tensor: as the tensor, if nobody else is."""
        name = tensor
        while symbol(name) in self._symbols or _AUTOMATIC.fullmatch(name):
            name += "_"
        self._symbols.add(symbol(name))
        self.names[tensor] = name
        return name

    def _inputs(self, *tensors: str) -> tuple[str, ...]:
        return tuple(self.names[tensor] for tensor in tensors)

    def _add(self, layer: Layer, **parameters: Array) -> bool:
        self.layers[layer.name] = layer
        for name, value in parameters.items():
            key = f"{layer.name}.{name.replace('bn_', 'bn.')}"
            self.weights[key] = _parameter(key, value, layer.parameters[key])
        return True

    def _constant(self, tensor: str) -> Array | None:
        """Return a float32 constant, None of anything else."""
        value = self._graph.constants.get(tensor)
        return value if value is not None and value.dtype == np.float32 else None

    def _added(self, tensor: str) -> Array | None:
        """Return what is added to a product; -inf, which masks classes, is no parameter."""
        value = self._constant(tensor)
        return value if value is not None and np.isfinite(value).all() else None

    def _maps(self, *tensors: str) -> bool:
        """Whether these are computed tensors of float32."""
        return all(
            tensor in self.names and self._graph.dtype(tensor) == "float32" for tensor in tensors
        )

    def _lower_conv(self, node: Node) -> bool:
        graph, source = self._graph, node.inputs[0]
        weight, bias = self._constant(node.inputs[1]), self._added(node.input(2))
        shape = graph.shape(source)
        known = weight is not None and (bias is not None or not node.input(2))
        plain = known and len(shape) == 4
        if not plain or weight is None or not self._maps(source):
            return False
        affine = Affine(weight.shape[0], bias)
        out = self._take_affine(node.out, affine)
        out, activation = self._take_activation(out)
        keys = ("kernel_shape", "strides", "pads", "dilations")
        kernel, strides, pads, apart = (node.attrs[key] for key in keys)
        layer = Conv2d(
            self._name(out),
            self._inputs(source),
            shape,
            int(weight.shape[0]),
            (int(kernel[0]), int(kernel[1])),
            (int(strides[0]), int(strides[1])),
            (int(pads[0]), int(pads[1]), int(pads[2]), int(pads[3])),
            node.attrs["group"],
            bias=affine.bias is not None,
            batch_norm=affine.epsilon,
            activation=activation,
            dilations=(int(apart[0]), int(apart[1])),
        )
        return self._add(layer, weight=weight, **affine.parameters())

    def _lower_convtranspose(self, node: Node) -> bool:
        graph, source = self._graph, node.inputs[0]
        weight, bias = self._constant(node.inputs[1]), self._added(node.input(2))
        known = weight is not None and (bias is not None or not node.input(2))
        places = placed(graph, node) if known and self._maps(source) else None
        if places is None or weight is None:
            return False
        groups = int(node.attrs.get("group", 1))
        weight = outputs_first(weight, groups)
        affine = Affine(len(weight), bias)
        out, activation = self._take_activation(self._take_affine(node.out, affine))
        if groups == 1 and is_narrow(places, graph.shape(source)[2:], weight):
            return self._add_squares(source, out, weight, affine, activation)
        layer = ConvTranspose2d(
            self._name(out),
            self._inputs(source),
            graph.shape(source),
            len(weight),
            *places,
            groups,
            bias=affine.bias is not None,
            batch_norm=affine.epsilon,
            activation=activation,
        )
        return self._add(layer, weight=weight, **affine.parameters())

    def _add_squares(
        self, source: str, out: str, weight: Array, affine: Affine, activation: Activation
    ) -> bool:
        """Add a convolution of single pixels, and what makes squares of its channels."""
        graph, (outputs, _, side, _) = self._graph, weight.shape
        n, _, *size = shape = graph.shape(source)
        channels = graph.fresh(f"{out}_squares")
        graph.types[channels] = ("float32", (n, side * side * outputs, *size))
        layer = Conv2d(
            self._name(channels),
            self._inputs(source),
            shape,
            side * side * outputs,
            (1, 1),
            bias=affine.bias is not None,
            batch_norm=affine.epsilon,
            activation=activation,
        )
        each = {name: np.tile(value, side * side) for name, value in affine.parameters().items()}
        self._add(layer, weight=square_channels(weight), **each)
        self._lower_other(Node("DepthToSpace", channels, [channels], [out], {"blocksize": side}))
        return True

    def _lower_affine(self, node: Node) -> bool:
        """Let what scales and shifts the channels of a map be a depthwise layer of one tap.

        The image is left alone: a first convolution reads it in no blocks.
        """
        source = next((tensor for tensor in node.inputs if tensor in self.names), "")
        shape = self._graph.shape(source) if source else ()
        if len(shape) != 4 or not self._maps(source) or self.names[source] == INPUT:
            return False
        affine = Affine(shape[1], None)
        constants = [self._graph.constants.get(tensor) for tensor in node.inputs]
        if max((value.size for value in constants if value is not None), default=0) < 2:
            return False  # a number for all channels is part of an activation, or of one to come
        if shape[1] < _FEWEST_CHANNELS or not affine.take(self._graph, node, source):
            return False
        out, activation = self._take_activation(self._take_affine(node.out, affine))
        layer = Conv2d(
            self._name(out),
            self._inputs(source),
            shape,
            shape[1],
            (1, 1),
            groups=shape[1],
            bias=affine.bias is not None,
            batch_norm=affine.epsilon,
            activation=activation,
        )
        ones = np.ones((shape[1], 1, 1, 1), np.float32)
        return self._add(layer, weight=ones, **affine.parameters())

    def _lower_gemm(self, node: Node) -> bool:
        weight, bias = self._constant(node.inputs[1]), self._added(node.input(2))
        if weight is None or node.attrs.get("transA", 0) or not self._maps(node.inputs[0]):
            return False
        features = weight if node.attrs.get("transB", 0) else weight.T
        if node.input(2):
            if bias is None or bias.size not in (1, features.shape[0]):
                return False
            bias = np.broadcast_to(bias.reshape(-1), features.shape[:1])
            bias = bias * np.float32(node.attrs.get("beta", 1.0))
        alpha = np.float32(node.attrs.get("alpha", 1.0))
        return self._dense(node, features * alpha, bias)

    def _lower_matmul(self, node: Node) -> bool:
        weight = self._constant(node.inputs[1])
        flat = self._maps(node.inputs[0]) and len(self._graph.shape(node.inputs[0])) == 2
        if weight is None or weight.ndim != 2 or not flat:
            return False
        return self._dense(node, weight.T, None)

    def _dense(self, node: Node, weight: Array, bias: Array | None) -> bool:
        """Add a dense layer of weights (O, I), and what is added to it."""
        affine = Affine(weight.shape[0], bias)
        out, activation = self._take_activation(self._take_affine(node.out, affine))
        layer = Dense(
            self._name(out),
            self._inputs(node.inputs[0]),
            self._graph.shape(node.inputs[0]),
            int(weight.shape[0]),
            bias=affine.bias is not None,
            activation=activation,
            batch_norm=affine.epsilon,
        )
        return self._add(layer, weight=weight, **affine.parameters())

    def _lower_activation(self, node: Node) -> bool:
        (source,) = node.inputs
        layer = Activate(
            self._name(node.out),
            self._inputs(source),
            self._graph.shape(source),
            node.attrs["activation"],
        )
        return self._add(layer)

    def _lower_globalaveragepool(self, node: Node) -> bool:
        (source,) = node.inputs
        shape = self._graph.shape(source)
        if len(shape) != 4 or not self._maps(source):
            return False
        return self._add(
            GlobalAvgPool(self._name(node.out), self._inputs(source), shape, keep_map=True)
        )

    def _lower_add(self, node: Node) -> bool:
        one, other = node.inputs
        shape = self._graph.shape(one)
        if not self._maps(one, other) or self._graph.shape(other) != shape or one == other:
            return False
        return self._add(Add(self._name(node.out), self._inputs(one, other), shape))

    def _lower_mul(self, node: Node) -> bool:
        if not self._maps(*node.inputs):
            return False
        one, other = sorted(node.inputs, key=lambda t: -math.prod(self._graph.shape(t)))
        shape, factors = self._graph.shape(one), self._graph.shape(other)
        if len(shape) != 4 or factors != (*shape[:2], 1, 1) or shape == factors:
            return False
        return self._add(Scale(self._name(node.out), self._inputs(one, other), shape))

    def _lower_softmax(self, node: Node) -> bool:
        (source,) = node.inputs
        shape = self._graph.shape(source)
        if len(shape) != 2 or int(node.attrs.get("axis", -1)) % 2 != 1:
            return False
        return self._add(Softmax(self._name(node.out), self._inputs(source), shape))

    def _lower_layernormalization(self, node: Node) -> bool:
        source, attrs = node.inputs[0], node.attrs
        shape = self._graph.shape(source)
        gamma, beta = self._constant(node.input(1)), self._added(node.input(2))
        rows = len(shape) == 2 and int(attrs.get("axis", -1)) % 2 == 1 and self._maps(source)
        if not rows or gamma is None or (beta is None and node.input(2)):
            return False
        if beta is None:
            beta = np.zeros(shape[1:], np.float32)
        if not gamma.shape == beta.shape == shape[1:]:
            return False
        epsilon = float(attrs.get("epsilon", 1e-5))
        layer = LayerNorm(self._name(node.out), self._inputs(source), shape, epsilon)
        return self._add(layer, weight=gamma, bias=beta)

    def _lower_lpnormalization(self, node: Node) -> bool:
        (source,) = node.inputs
        shape, attrs = self._graph.shape(source), node.attrs
        rows = len(shape) == 2 and int(attrs.get("axis", -1)) % 2 == 1 and self._maps(source)
        if not rows or int(attrs.get("p", 2)) != 2:
            return False
        least = float(attrs.get(LEAST, 0.0))
        return self._add(LpNormalization(self._name(node.out), self._inputs(source), shape, least))

    def _lower_reshape(self, node: Node) -> bool:
        """Drop a view between NC11 and NC where the layers before it can do without."""
        source, before = node.inputs[0], self._graph.shape(node.inputs[0])
        after = self._graph.shape(node.out)
        if self._only_reader(source) is None or source not in self.names:
            return False
        name = self.names[source]
        if len(before) == 4 and before[2:] == (1, 1) and after == before[:2]:
            changed = self._flat(name)
        elif len(before) == 2 and after == (*before, 1, 1):
            changed = self._mapped(name)
        else:
            changed = None
        if changed is None:
            return False
        for layer in changed:
            self._replace(layer, layer.name)
        # The last of them is now what computes the tensor behind the view.
        self._replace(self.layers[name], self._name(node.out))
        return True

    def _replace(self, layer: Layer, name: str) -> None:
        """Put a layer in the place of the one of its name, and call it `name`."""
        renamed = dataclasses.replace(layer, name=name)
        self.layers = {
            (name if old == layer.name else old): (renamed if old == layer.name else other)
            for old, other in self.layers.items()
        }
        for before, after in zip(layer.parameters, renamed.parameters.items(), strict=True):
            self.weights[after[0]] = self.weights.pop(before).reshape(after[1])

    def _alone(self, name: str) -> Layer | None:
        """Return a layer whose output one other layer reads."""
        tensors = [tensor for tensor, layer in self.names.items() if layer == name]
        readers = [reader for tensor in tensors for reader in self._readers.get(tensor, [])]
        returned = any(tensor in self._graph.outputs for tensor in tensors)
        return self.layers.get(name) if len(readers) == 1 and not returned else None

    def _flat(self, name: str) -> list[Layer] | None:
        """Return layers that compute NC instead of NC11, as far up as there is a map."""
        layer = self._alone(name)
        if isinstance(layer, GlobalAvgPool) and layer.keep_map:
            return [dataclasses.replace(layer, keep_map=False)]
        if not isinstance(layer, Conv2d) or layer.kind != "pointwise":
            return None
        before = self._flat(layer.inputs[0]) if layer.in_shape[2:] == (1, 1) else None
        if before is None:
            return None
        dense = Dense(
            name,
            layer.inputs,
            layer.in_shape[:2],
            layer.out_channels,
            bias=layer.bias,
            activation=layer.activation,
            batch_norm=layer.batch_norm,
        )
        return [*before, dense]

    def _mapped(self, name: str) -> list[Layer] | None:
        """Return layers that compute NC11 instead of NC."""
        layer = self._alone(name)
        if isinstance(layer, GlobalAvgPool) and not layer.keep_map:
            return [dataclasses.replace(layer, keep_map=True)]
        before = self._mapped(layer.inputs[0]) if isinstance(layer, Dense) else None
        if before is None or not isinstance(layer, Dense):
            return None
        conv = Conv2d(
            name,
            layer.inputs,
            (*layer.in_shape, 1, 1),
            layer.out_features,
            (1, 1),
            bias=layer.bias,
            batch_norm=layer.batch_norm,
            activation=layer.activation,
        )
        return [*before, conv]

    def _lower_other(self, node: Node) -> None:
        """Add a layer for each output that somebody reads."""
        for out in node.outputs:
            if out and (self._readers.get(out) or out in self._graph.outputs):
                layer, weights = foreign(self._graph, node, out, self._name(out), self.names)
                self._add(layer, **weights)

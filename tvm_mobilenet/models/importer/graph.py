"""An ONNX graph while it is being simplified: nodes, constants as arrays, shapes as numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.layer import Shape

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]


@dataclass(eq=False, slots=True)
class Node:
    """One operator.

    Attributes
    ----------
    op : str
        ONNX's name of the operator, or ``"Activation"`` for one of our activations, which the
        attribute of that name says.
    name : str
        The node's name, or that of its first output.
    inputs, outputs : list of str
        Names of tensors; ``""`` for one that is left out.
    attrs : dict
        Attributes by name, as ``onnx.helper.get_attribute_value`` returns them.
    """

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def out(self) -> str:
        """The first output."""
        return self.outputs[0]

    def input(self, at: int) -> str:
        """Return an input, ``""`` where there is none."""
        return self.inputs[at] if at < len(self.inputs) else ""


@dataclass(frozen=True, slots=True)
class Elements:
    """The integers of a constant that a file quantises, of the constant's shape.

    Attributes
    ----------
    numbers : ndarray of int16
        Elements, less their zero points.
    scale : ndarray of float32
        What one more stands for, for each of them.
    """

    numbers: Array
    scale: Array


@dataclass(slots=True)
class Graph:
    """A network of one input.

    Attributes
    ----------
    outputs : list of str
        Tensors that the network returns.
    titles : list of str
        Names that the file has for the outputs.
    nodes : list of Node
        Nodes in topological order.
    types : dict of str to (str, tuple of int)
        NumPy's name of the type, and the shape, of every tensor for which they are known.
    elements : dict of str to Elements
        By constant, what a file has instead of its numbers, where that is integers of 8 bits.
    """

    input: str
    outputs: list[str]
    titles: list[str]
    nodes: list[Node]
    constants: dict[str, Array]
    types: dict[str, tuple[str, Shape]]
    opset: int
    elements: dict[str, Elements] = field(default_factory=dict)

    def shape(self, tensor: str) -> Shape:
        """Return the shape of a tensor or constant."""
        if tensor in self.constants:
            return tuple(self.constants[tensor].shape)
        return self.types[tensor][1]

    def dtype(self, tensor: str) -> str:
        """Return the element type of a tensor or constant."""
        if tensor in self.constants:
            return str(self.constants[tensor].dtype)
        return self.types[tensor][0]

    def readers(self) -> dict[str, list[Node]]:
        """Return who reads each tensor, once for each time."""
        found: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for tensor in node.inputs:
                found[tensor].append(node)
        return found

    def producers(self) -> dict[str, Node]:
        """Return who computes each tensor."""
        return {tensor: node for node in self.nodes for tensor in node.outputs}

    def rename(self, tensor: str, by: str) -> None:
        """Let everybody who reads `tensor` read `by`."""
        for node in self.nodes:
            node.inputs = [by if name == tensor else name for name in node.inputs]
        self.outputs = [by if name == tensor else name for name in self.outputs]

    def add_constant(self, name: str, value: Array) -> str:
        """Store a constant under a name that nothing else has; return it."""
        name = self.fresh(name)
        self.constants[name] = value
        return name

    def fresh(self, name: str) -> str:
        """Return a name that no tensor has."""
        while name in self.constants or name in self.types:
            name += "'"
        return name

    def keep(self, nodes: Iterable[Node]) -> None:
        """Keep these nodes, and of them those that the outputs need."""
        kept, needed = [], set(self.outputs)
        for node in reversed([*nodes]):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        self.nodes = kept[::-1]

    def model(
        self, nodes: list[Node] | None = None, *, values: int | None = None
    ) -> onnx.ModelProto:
        """Return it, or some of its nodes, as ONNX again; types of the outputs left open.

        Constants with more numbers than `values` become inputs, of which only the type is known.
        """
        from onnx import helper, numpy_helper

        some = self.nodes if nodes is None else nodes
        read = {tensor for node in some for tensor in node.inputs}
        made = {tensor for node in some for tensor in node.outputs if tensor}
        constants = {
            name
            for name in read & set(self.constants)
            if values is None or self.constants[name].size <= values
        }
        inputs = sorted(read - made - constants - {""})
        outputs = self.outputs if nodes is None else sorted(made - {""})
        graph = helper.make_graph(
            [to_proto(node) for node in some],
            "part",
            [value_info(name, self.dtype(name), self.shape(name)) for name in inputs],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            [numpy_helper.from_array(self.constants[name], name) for name in sorted(constants)],
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=IR_VERSION
        )


IR_VERSION = 10
"""IR version of the models made here, which only onnx and TVM read."""


def to_proto(node: Node) -> onnx.NodeProto:
    """Return a node as ONNX."""
    from onnx import helper

    return helper.make_node(node.op, node.inputs, node.outputs, node.name, **node.attrs)


def value_info(name: str, dtype: str, shape: Shape) -> onnx.ValueInfoProto:
    """Return the declaration of a tensor."""
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, shape)


def nodes_of(model: onnx.ModelProto) -> list[Node]:
    """Return a model's nodes; one without a name is called as its first output."""
    from onnx import helper

    return [
        Node(
            node.op_type,
            node.name or node.output[0],
            list(node.input),
            list(node.output),
            {a.name: helper.get_attribute_value(a) for a in node.attribute},
        )
        for node in model.graph.node
    ]

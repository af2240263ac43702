"""ONNX nodes as they are written, call by call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_mobilenet.errors import UnsupportedOperatorError
from tvm_mobilenet.frontends.program import Array, Call, Program, Tensor
from tvm_mobilenet.models.layer import Shape

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 18, 8
"""What the importer reads without rewriting, and onnx 1.16 can already read."""


class Writer:
    """A graph that grows by the calls of a program.

    Rules write nodes with it; what they are given by their names, they get names of.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._stored: dict[Tensor, str] = {}
        self._written: set[str] = set()
        self._taken = {tensor.name for call in program.calls for tensor in call.outputs}
        self._taken |= {tensor.name for tensor in program.inputs}
        self._now = program.stack

    def _fresh(self, title: str) -> str:
        """Return a name for a part of what is being written."""
        name = f"{self._now}.{title}"
        while name in self._taken:
            name += "'"
        self._taken.add(name)
        return name

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """Store numbers."""
        name = self._fresh("constant")
        self._constants[name] = np.asarray(value, dtype)
        return name

    def read(self, tensor: Tensor) -> str:
        """Return the name of a tensor, stored first if it is a constant.

        Raises
        ------
        UnsupportedOperatorError
            It is a result that the rule of its operator does not write, such as a mask.
        """
        if tensor.value is None:
            if tensor.maker is not None and tensor.name not in self._written:
                raise tensor.maker.refused(f"its result {tensor.name!r} is read, too")
            return tensor.name
        if tensor not in self._stored:
            self._stored[tensor] = self.constant(tensor.value, tensor.dtype)
        return self._stored[tensor]

    def emit(self, operator: str, *inputs: str, outputs: int = 1, **attrs: Any) -> Any:
        """Append a node; its outputs are a list where there are several."""
        from onnx import helper

        names = [self._fresh(operator.lower()) for _ in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, **attrs))
        return names if outputs > 1 else names[0]

    def reshaped(self, name: str, shape: Sequence[int]) -> str:
        """See a tensor in another shape."""
        return str(self.emit("Reshape", name, self.constant(shape)))

    def scalar(self, value: float, dtype: str) -> str:
        """Store one number of a type."""
        return self.constant(value, dtype)

    def cast(self, name: str, before: str, after: str) -> str:
        """Convert a tensor to another type."""
        from onnx import helper

        if before == after:
            return name
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(after))
        return str(self.emit("Cast", name, to=kind))

    def permuted(self, name: str, before: str, after: str, call: Call) -> str:
        """Bring axes, a letter each, into another order.

        Raises
        ------
        UnsupportedOperatorError
            One of the layouts is blocked, or has axes that the other has not.
        """
        if before == after:
            return name
        if sorted(before) != sorted(after) or not before.isalpha():
            raise call.refused(f"its layout is {before}, and cannot be made {after}")
        return str(self.emit("Transpose", name, perm=[before.index(axis) for axis in after]))

    def axis_shape(self, count: int, axis: int, rank: int) -> Shape:
        """Return the shape in which a vector lies along one axis and is broadcast over others."""
        shape = [1] * rank
        shape[axis] = count
        return tuple(shape)

    def write(self, call: Call, rule: Callable[[Writer, Call], str | list[str]]) -> None:
        """Write a call by its rule; what that returns gets the names of the call's outputs."""
        self._now, first = call.out.name, len(self._nodes)
        made = rule(self, call)
        names = [made] if isinstance(made, str) else made
        makers = {name: node for node in self._nodes[first:] for name in node.output}
        for name, tensor in zip(names, call.outputs, strict=False):
            if name not in makers:  # what was there before
                self._nodes.append(_identity(name, tensor.name))
            else:
                node = makers[name]
                node.output[:] = [tensor.name if out == name else out for out in node.output]
                node.name = tensor.name
            self._written.add(tensor.name)

    def model(self) -> onnx.ModelProto:
        """Return everything that was written, as a model.

        Raises
        ------
        UnsupportedOperatorError
            ONNX gives a tensor another type or shape than TVM does.
        """
        from onnx import helper, numpy_helper, shape_inference

        program, image = self._program, self._program.image()
        outputs, returned = [], set[str]()
        for tensor in program.outputs:
            name = self.read(tensor)
            if name in returned or name not in self._written:  # the image, a constant, twice one
                name = self.emit("Identity", name)
            returned.add(name)
            outputs.append(_declared(name, tensor))
        inside = [
            _declared(tensor.name, tensor)
            for call in program.calls
            for tensor in call.outputs
            if tensor.name in self._written - returned
        ]
        read = {name for node in self._nodes for name in node.input}
        graph = helper.make_graph(
            self._nodes,
            program.stack,
            [_declared(image.name, image)],
            outputs,
            [
                numpy_helper.from_array(v, name)
                for name, v in self._constants.items()
                if name in read
            ],
            value_info=inside,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        try:
            shape_inference.infer_shapes(model, strict_mode=True)
        except shape_inference.InferenceError as error:
            raise UnsupportedOperatorError(
                f"ONNX has no such operator as the module: {' '.join(str(error).split())[:400]}",
                "cut the module before it, or write it in other operators",
            ) from None
        return model


def _identity(source: str, name: str) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node("Identity", [source], [name], name)


def _declared(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(name, kind, tensor.shape)

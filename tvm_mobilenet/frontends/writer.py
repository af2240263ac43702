"""ONNX nodes as they are written, call by call."""

from __future__ import annotations

from collections.abc import Sequence
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

    Every method returns the name of the tensor that it made.
    """

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._written: set[str] = set()
        self._count = 0

    def _fresh(self) -> str:
        self._count += 1
        return f"%{self._count}"  # nothing of TVM's is called so

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """Store numbers."""
        name = self._fresh()
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
        if not tensor.name.startswith("%"):
            tensor.name = self._fresh()
            self._constants[tensor.name] = tensor.value
        return tensor.name

    def emit(self, operator: str, *inputs: str, outputs: int = 1, **attrs: Any) -> Any:
        """Append a node; its outputs are a list where there are several."""
        from onnx import helper

        names = [self._fresh() for _ in range(outputs)]
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

    def write(self, call: Call, made: str | Sequence[str]) -> None:
        """End a call: what was made of it gets the names of its outputs."""
        from onnx import helper

        names = [made] if isinstance(made, str) else list(made)
        for name, tensor in zip(names, call.outputs, strict=False):
            maker = next((node for node in reversed(self._nodes) if name in node.output), None)
            if maker is None or not name.startswith("%"):  # what was there before
                identity = helper.make_node("Identity", [name], [tensor.name])
                self._nodes.append(identity)
                continue
            maker.output[:] = [tensor.name if out == name else out for out in maker.output]
            maker.name = tensor.name
        self._written.update(tensor.name for tensor, _ in zip(call.outputs, names, strict=False))

    def model(self, program: Program) -> onnx.ModelProto:
        """Return everything that was written, as the model of a program.

        Raises
        ------
        UnsupportedOperatorError
            ONNX gives a tensor another type or shape than TVM does.
        """
        from onnx import helper, numpy_helper, shape_inference

        image = program.image()
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


def _declared(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(name, kind, tensor.shape)

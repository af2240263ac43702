"""onnx's evaluator as a reference: in double precision, so that it rounds next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx


def in_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with every float32 tensor and type made float64.

    Parameters
    ----------
    model : onnx.ModelProto
        Without subgraphs; left as it is.

    Returns
    -------
    onnx.ModelProto
        For onnx's reference evaluator, which computes in the type of its operands.
    """
    import onnx
    from onnx import TensorProto

    doubled = onnx.ModelProto()
    doubled.CopyFrom(model)
    graph = doubled.graph
    for tensor in graph.initializer:
        _double(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
            elif attribute.name == "value" and attribute.type == onnx.AttributeProto.TENSOR:
                _double(attribute.t)
    return doubled


def _double(tensor: Any) -> None:
    from onnx import TensorProto, numpy_helper

    if tensor.data_type == TensorProto.FLOAT:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def evaluator(model: onnx.ModelProto) -> Any:
    """Return onnx's reference evaluator of a model, for inference.

    Its own BatchNormalization of opsets before 14 takes the statistics of the image, as in
    training, wherever a momentum is stated, which is by default: ours takes those given, unless
    the node names outputs of training.
    """
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class BatchNormalization(OpRun):  # type: ignore[misc]
        def _run(self, x: Any, *parts: Any, epsilon: Any = None, **_: Any) -> tuple[Any]:
            gamma, beta, mean, variance = parts
            if any(self.onnx_node.output[1:]):  # which asks for training
                axes = tuple(axis for axis in range(x.ndim) if axis != 1)
                mean, variance = x.mean(axes), x.var(axes)
            shape = (-1,) + (1,) * (x.ndim - 2)
            scale = gamma / np.sqrt(variance + (1e-5 if epsilon is None else epsilon))
            return (x * scale.reshape(shape) + (beta - mean * scale).reshape(shape),)

    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return ReferenceEvaluator(model, new_ops=[BatchNormalization] if opset < 14 else None)

"""Axes as Relay's importer of ONNX takes them: as attributes, as until opset 11."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_OPSET = 11
"""The last one in which all axes are attributes."""


def axes_as_attributes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose reductions, and what adds and drops axes, state these as attributes.

    Of axes as an input, which TVM 0.19 has for opset 18 as for those before, it reads the first.

    Parameters
    ----------
    model : onnx.ModelProto
        As :func:`tvm_mobilenet.models.importer.expand.expand` gives it: none of the operators
        that stand together in it means something else in opset 11.
    """
    from onnx import helper, numpy_helper

    if not any(_states_axes(node) for node in model.graph.node):
        return model
    changed = type(model)()
    changed.CopyFrom(model)
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in changed.graph.node:
        if _states_axes(node) and len(node.input) > 1:
            axes = numpy_helper.to_array(values[node.input[1]]).tolist()
            del node.input[1:]
            node.attribute.append(helper.make_attribute("axes", axes))
    read = {name for node in changed.graph.node for name in node.input}
    del changed.graph.initializer[:]
    changed.graph.initializer.extend(value for name, value in values.items() if name in read)
    changed.opset_import[0].version = _OPSET
    return changed


def _states_axes(node: onnx.NodeProto) -> bool:
    return node.op_type.startswith("Reduce") or node.op_type in ("Squeeze", "Unsqueeze")

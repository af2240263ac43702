"""Networks in half precision: computed in float32, between an input and outputs as they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tvm_mobilenet.models.importer.tensors import tensors_of

if TYPE_CHECKING:
    import onnx


def in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with every float16 and bfloat16 tensor made float32.

    before: ``y: float16 = Conv(x: float16)``; ``Cast(Conv(Cast(x, float16)), float32)``
    after: ``y = Cast(Conv(Cast(x, float32)), float16)``; ``Conv(x)``, with casts to its own type

    The model's inputs and outputs keep their types. Between them results are more exact than
    the file asks for, as in ONNX Runtime, which also computes so on processors and drops most of
    the casts; and numbers beyond float16's 65504 stay finite.

    Parameters
    ----------
    model : onnx.ModelProto
        A model without functions and subgraphs. It is not changed, and is returned itself if it
        has no such tensor.
    """
    from onnx import TensorProto, helper

    halves = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
    if not halves & _types_of(model):
        return model
    widened = type(model)()
    widened.CopyFrom(model)
    graph = widened.graph
    _widen(widened, halves)
    initial = {tensor.name for tensor in graph.initializer}
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    renamed: dict[str, str] = {}
    before, after = [], []
    for value in graph.input:
        if value.type.tensor_type.elem_type not in halves:
            continue
        if value.name in initial:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            continue
        inner = renamed[value.name] = _fresh(value.name, taken)
        before.append(helper.make_node("Cast", [value.name], [inner], inner, to=TensorProto.FLOAT))
    made = {name for node in graph.node for name in node.output}
    for value in graph.output:
        kind = value.type.tensor_type.elem_type
        if kind in halves and value.name in made - set(renamed):
            inner = renamed[value.name] = _fresh(value.name, taken)
            after.append(helper.make_node("Cast", [inner], [value.name], value.name, to=kind))
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return widened


def _types_of(model: onnx.ModelProto) -> set[int]:
    """Return the types of tensors that a model states."""
    values = (*model.graph.input, *model.graph.output)
    found = {value.type.tensor_type.elem_type for value in values}
    found |= {tensor.data_type for tensor in tensors_of(model)}
    return found | {attribute.i for attribute in _naming_types(model)}


def _naming_types(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    """Yield the attributes that name a type."""
    for node in model.graph.node:
        yield from (a for a in node.attribute if a.name in ("to", "dtype"))


def _widen(model: onnx.ModelProto, halves: set[int]) -> None:
    """Make tensors, and what casts or makes tensors, float32."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    for tensor in tensors_of(model):
        if tensor.data_type in halves:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for attribute in _naming_types(model):
        if attribute.i in halves:
            attribute.i = TensorProto.FLOAT


def _fresh(name: str, taken: set[str]) -> str:
    """Return a name for what a tensor is in float32, and take it."""
    name += ".float32"
    while name in taken:
        name += "'"
    taken.add(name)
    return name

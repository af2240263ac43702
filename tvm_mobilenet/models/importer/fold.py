"""Computes everything that does not depend on the image: constants and shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_mobilenet.errors import OnnxFileError, UnsupportedOperatorError
from tvm_mobilenet.models.importer.constants import Room, fold_constants, values_of
from tvm_mobilenet.models.importer.graph import Graph, Node, nodes_of
from tvm_mobilenet.models.importer.read import opset_of
from tvm_mobilenet.models.importer.sizes import LARGEST_MAP
from tvm_mobilenet.models.importer.tensors import tensors_of
from tvm_mobilenet.models.importer.types import check_types
from tvm_mobilenet.models.layer import Shape

if TYPE_CHECKING:
    import onnx


_SHAPES = 4096
"""Numbers of a constant that may say a shape, and must be told for that; weights are more."""


def fold(model: onnx.ModelProto) -> Graph:
    """Return the graph with every constant computed and every shape known.

    Nodes that read constants alone, or nothing but the shape of a tensor, are computed by
    onnx's evaluator, unless the result is too large. The model's input must have a fixed shape.

    Raises
    ------
    OnnxFileError
        Shapes or types contradict each other.
    UnsupportedOperatorError
        A node whose output has a shape that depends on the image, or makes a constant that is
        too large.
    """
    graph = _graph(model)
    _forget_unread(graph)
    resized: dict[str, Shape] = {}
    room = Room(sum(math.prod(tensor.dims) for tensor in tensors_of(model)))
    while True:
        _infer(graph, resized)
        if found := _resized(graph, resized):
            resized |= found
            continue
        folded = fold_constants(graph, room)
        folded = _count_axes(graph) or folded
        unknown = [node for node in graph.nodes if _unknown(graph, node)]
        if not unknown:
            break
        if not folded:
            node = unknown[0]
            raise UnsupportedOperatorError(
                f"the node {node.name!r}, {node.op}, gives a tensor whose shape depends on "
                "the image",
                "export the model for a fixed input, or cut it before this node",
            )
    _check_maps(graph)
    graph.keep(graph.nodes)
    check_types(graph)
    return graph


def _check_maps(graph: Graph) -> None:
    """Refuse tensors that nothing could hold, and such as hold nothing."""
    for node in graph.nodes:
        for tensor in filter(None, node.outputs):
            dtype, shape = graph.types[tensor]
            size = math.prod((np.dtype(dtype).itemsize, *shape))
            if not 0 < size <= LARGEST_MAP:
                raise OnnxFileError(
                    f"the node {node.name!r}, {node.op}, gives a tensor of "
                    f"{'x'.join(map(str, shape))}: {size} bytes, of 1 to {LARGEST_MAP}",
                    "ask for fewer or smaller images, or cut the model before this node",
                )


def _graph(model: onnx.ModelProto) -> Graph:
    from onnx import helper, numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    (value,) = (value for value in model.graph.input if value.name not in constants)
    shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    nodes = nodes_of(model)
    outputs = [output.name for output in model.graph.output]
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    types = {value.name: (str(dtype), shape)}
    return Graph(value.name, outputs, list(outputs), nodes, constants, types, opset_of(model))


def _forget_unread(graph: Graph) -> None:
    """Let outputs go that nobody reads, such as statistics and masks of training."""
    read = {tensor for node in graph.nodes for tensor in node.inputs} | set(graph.outputs)
    for node in graph.nodes:
        if node.op == "Split":  # their number may say how large each is
            named = enumerate(node.outputs)
            node.outputs = [out or graph.fresh(f"{node.name}.part{at}") for at, out in named]
            continue
        if node.op == "BatchNormalization":
            # Before opset 14 to name the other outputs is to ask for training.
            if graph.opset < 14 and any(node.outputs[1:]):
                node.attrs["training_mode"] = 1
            if graph.opset >= 14:  # their number is checked
                continue
        node.outputs = [out if out in read else "" for out in node.outputs]
        while len(node.outputs) > 1 and not node.outputs[-1]:
            node.outputs.pop()
    graph.keep(graph.nodes)


def _infer(graph: Graph, resized: dict[str, Shape]) -> None:
    """Ask onnx for the types of all tensors, but not of those resized.

    Not for what it would find by computing with shapes itself: that takes memory as it likes.
    What it leaves open is known one round later, when constants and shapes are folded.
    """
    import onnx
    from onnx import helper, shape_inference

    known = dataclasses.replace(graph, constants=dict(graph.constants))
    known.nodes = [_stand_in(known, node, resized) for node in graph.nodes]
    try:
        inferred = shape_inference.infer_shapes(known.model(values=_SHAPES), strict_mode=True)
    except (shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        why = f"the shapes of the model contradict each other: {' '.join(str(error).split())[:400]}"
        raise OnnxFileError(
            _baked_batch(graph) or why,
            "export it again, with a dynamic batch dimension if the batch is not its own",
        ) from None
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        kind = value.type.tensor_type
        fixed = all(dim.HasField("dim_value") for dim in kind.shape.dim)
        if kind.elem_type and kind.HasField("shape") and fixed:
            shape = tuple(dim.dim_value for dim in kind.shape.dim)
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
            graph.types[value.name] = (str(dtype), shape)
    for node in graph.nodes:  # what onnx infers nothing of
        like = {"Dropout": 0, "BatchNormalization": 1}.get(node.op)
        if like is not None and node.inputs[0] in graph.types:
            other = (graph.dtype(node.inputs[like]), graph.shape(node.inputs[like]))
            for tensor in filter(None, node.outputs[1:]):
                graph.types.setdefault(tensor, other)


_SAME_SHAPE = {"GroupNormalization", "MeanVarianceNormalization"}
"""Operators whose shapes onnx does not infer, or by a function that other opsets lack."""


def _stand_in(graph: Graph, node: Node, resized: dict[str, Shape]) -> Node:
    """Return a node of which onnx infers the right shape."""
    if node.op in _SAME_SHAPE:
        return Node("Identity", node.name, node.inputs[:1], node.outputs)
    if node.out in resized:
        shape = graph.add_constant(f"{node.out}.shape", np.array(resized[node.out], np.int64))
        like = graph.add_constant(f"{node.out}.like", np.zeros(1, graph.dtype(node.inputs[0])))
        return Node("Expand", node.name, [like, shape], node.outputs)
    return node


def _resized(graph: Graph, known: dict[str, Shape]) -> dict[str, Shape]:
    """Return the shapes of tensors resized by scales where onnx infers others.

    A size is the product in float32, as runtimes have it: 10 times 1.4 is 14; onnx 1.23 says 13.
    """
    found = {}
    for node in graph.nodes:
        if node.op not in ("Resize", "Upsample") or node.inputs[0] not in graph.types:
            continue
        at = 1 if node.op == "Upsample" or graph.opset < 11 else 2
        scales = node.attrs.get("scales", graph.constants.get(node.input(at)))
        if scales is None or not len(scales):
            continue
        shape = list(graph.shape(node.inputs[0]))
        axes = node.attrs.get("axes", range(len(shape)))
        numbers = _checked_scales(node, scales, axes, len(shape))
        for axis, scale in zip(axes, numbers, strict=True):
            shape[axis] = int(np.floor(np.float32(shape[axis]) * np.float32(scale)))
        if tuple(shape) not in (known.get(node.out), graph.types.get(node.out, ("", ()))[1]):
            found[node.out] = tuple(shape)
    return found


def _checked_scales(node: Node, scales: Any, axes: Sequence[int], rank: int) -> list[float]:
    """Return scales in a row; refuse such as no map can be resized by."""
    numbers = np.asarray(scales, np.float64).ravel()
    whole = len(numbers) == len(axes) and all(-rank <= axis < rank for axis in axes)
    # A map of one pixel that became larger would be more than a tensor can hold.
    if not whole or not ((numbers > 0) & (numbers <= LARGEST_MAP)).all():
        told = ", ".join(f"{number:g}" for number in numbers[:8])
        raise OnnxFileError(
            f"the node {node.name!r}, {node.op}, resizes by ({told}), which is no scale for each "
            f"of {len(axes)} axes",
            "export it again",
        )
    found: list[float] = numbers.tolist()
    return found


def _count_axes(graph: Graph) -> bool:
    """Count axes from the front: old opsets, and onnx's inference for them, know no others."""
    changed = False
    for node in graph.nodes:
        axes = node.attrs.get("axes", [])
        if any(axis < 0 for axis in axes) and node.inputs[0] in graph.types:
            rank = len(graph.shape(node.inputs[0]))
            node.attrs["axes"] = [axis % rank for axis in axes]
            changed = True
    return changed


def _baked_batch(graph: Graph) -> str:
    """Say which node has a batch of 1 written into it, where that is what contradicts."""
    import onnx
    from onnx import shape_inference

    dtype, (batch, *sizes) = graph.types[graph.input]
    if batch == 1:
        return ""
    alone = dataclasses.replace(graph, types={graph.input: (dtype, (1, *sizes))})
    try:
        shape_inference.infer_shapes(alone.model(values=_SHAPES), strict_mode=True)
    except (shape_inference.InferenceError, onnx.checker.ValidationError):
        return ""
    made = {node.out: node for node in graph.nodes}
    for node in graph.nodes:
        target = graph.constants.get(node.input(1))
        if target is None and node.input(1) in made and made[node.input(1)].op == "Constant":
            (target,) = values_of(graph, made[node.input(1)], Room(0)) or (None,)
        if node.op == "Reshape" and target is not None and target.ravel()[:1] == 1:
            shape = ", ".join(map(str, target.ravel()))
            return (
                f"the model cannot take {batch} images a run: a batch of 1 is written into the "
                f"node {node.name!r}, a Reshape to ({shape})"
            )
    return f"the model cannot take {batch} images a run: with them its shapes contradict each other"


def _unknown(graph: Graph, node: Node) -> bool:
    return any(t and t not in graph.types and t not in graph.constants for t in node.outputs)

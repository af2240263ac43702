"""The many ways to write the same thing become one, node by node."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tvm_mobilenet.errors import OnnxFileError
from tvm_mobilenet.models.importer.graph import Array, Graph, Node
from tvm_mobilenet.models.layer import Shape
from tvm_mobilenet.models.layers import same_padding

_VIEWS = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}
_MAYBE_NOTHING = {"Cast", "Expand", "Pad", "Reshape", "Slice", "Tile", "Transpose"}
_WINDOWED = {"Conv", "AveragePool", "MaxPool", "ConvTranspose", "LpPool"}
_ONE_TERM = {"Concat", "Max", "Mean", "Min", "Sum"}


def simplify(graph: Graph, *, views: bool) -> None:
    """Rewrite nodes that do nothing, views, padding and pools.

    =============================================== ===================================
    before                                          after
    =============================================== ===================================
    ``Identity``, ``Cast`` to its own type          nothing
    ``Split``                                       a ``Slice`` for each output
    ``Sum`` of two                                  ``Add``
    ``auto_pad``, ``Pad`` before a convolution      ``pads``
    ``Flatten``, ``Squeeze``, ``Transpose`` (1)     ``Reshape`` to a constant shape
    ``Gather`` of all there is, in its order        the same
    ``ReduceMean``, ``AveragePool`` of a whole map  ``GlobalAveragePool``, and ``Reshape``
    =============================================== ===================================

    (1) of axes of one element

    Parameters
    ----------
    graph : Graph
        The graph, which is changed.
    views : bool
        Whether a ``Transpose`` that only moves axes of one element becomes a ``Reshape``, and
        pools are recognised whatever follows them: after this no transposition is moved.
    """
    rules = [_drop_nothing, _split_to_slices, _explicit_padding, _merge_pads]
    if views:
        rules += [_to_views, _whole_pools]
    for rule in rules:
        rule(graph)
        graph.keep(graph.nodes)
    if views:
        merge_views(graph)


def _drop_nothing(graph: Graph) -> None:
    kept = []
    for node in graph.nodes:
        if _does_nothing(graph, node):
            graph.rename(node.out, node.inputs[0])
        else:
            if node.op == "Sum" and len(node.inputs) == 2:
                node.op = "Add"
            kept.append(node)
    graph.nodes = kept


def _does_nothing(graph: Graph, node: Node) -> bool:
    if node.op == "Identity" or (node.op in _ONE_TERM and len(node.inputs) == 1):
        return True
    source = node.input(0)
    if node.op not in _MAYBE_NOTHING or source in graph.constants:
        return False
    same = graph.types[source] == graph.types[node.out]
    if node.op == "Transpose":
        return same and list(node.attrs.get("perm", [])) == sorted(node.attrs.get("perm", [0, -1]))
    if node.op == "Pad":
        pads = _pads_of(graph, node)
        return pads is not None and not pads.any()
    if node.op == "Slice":  # one that turns an axis around keeps the shape as well
        steps = graph.constants.get(node.input(4))
        return same and (steps is None or bool((steps > 0).all()))
    return same


def _split_to_slices(graph: Graph) -> None:
    """Let nothing that layers are made of have two outputs."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op != "Split":
            nodes.append(node)
            continue
        axis = int(node.attrs.get("axis", 0)) % len(graph.shape(node.inputs[0]))
        start = 0
        for out in node.outputs:
            end = start + graph.shape(out)[axis]
            bounds = {"starts": [start], "ends": [end], "axes": [axis]}
            nodes.append(_slice(graph, node, out, bounds))
            start = end
    graph.nodes = nodes


def _slice(graph: Graph, node: Node, out: str, bounds: dict[str, list[int]]) -> Node:
    name = f"{node.name}.{out}"
    inputs = [
        graph.add_constant(f"{out}.{bound}", np.array(value, np.int64))
        for bound, value in bounds.items()
    ]
    return Node("Slice", name, [node.inputs[0], *inputs], [out])


def _to_views(graph: Graph) -> None:
    for node in graph.nodes:
        moved = node.op == "Transpose" and is_view(
            graph.shape(node.inputs[0]), perm_of(graph, node)
        )
        if node.op in _VIEWS or moved or _gathers_all(graph, node):
            _check_sizes(graph, node)
            shape = np.array(graph.shape(node.out), np.int64)
            target = graph.add_constant(f"{node.out}.shape", shape)
            node.op, node.inputs, node.attrs = "Reshape", [node.inputs[0], target], {}


def _gathers_all(graph: Graph, node: Node) -> bool:
    """Whether a node takes each element of an axis in its place, as ``as_strided`` is exported."""
    if node.op != "Gather" or node.inputs[0] not in graph.types:
        return False
    shape, indices = graph.shape(node.inputs[0]), graph.constants.get(node.inputs[1])
    length = shape[int(node.attrs.get("axis", 0)) % max(len(shape), 1)]
    if indices is None or indices.size != length:
        return False
    return bool((indices.ravel() % length == np.arange(length)).all())


def _check_sizes(graph: Graph, node: Node) -> None:
    before, after = graph.shape(node.inputs[0]), graph.shape(node.out)
    if math.prod(before) != math.prod(after):
        raise OnnxFileError(
            f"the shapes of the model contradict each other: the node {node.name!r} makes "
            f"{after} of {before}",
            "export it with a dynamic batch dimension, or leave the batch as it is",
        )


def perm_of(graph: Graph, node: Node) -> list[int]:
    """Return the order of axes of a ``Transpose``."""
    rank = len(graph.shape(node.inputs[0]))
    perm = [int(axis) for axis in node.attrs.get("perm", range(rank)[::-1])]
    if sorted(perm) != [*range(rank)]:  # which onnx does not check
        raise OnnxFileError(
            f"the node {node.name!r} transposes {rank} axes by {perm}", "export the model again"
        )
    return perm


def is_view(shape: Shape, perm: list[int]) -> bool:
    """Whether to transpose is to reshape: only axes of one element move."""
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)


def merge_views(graph: Graph) -> None:
    """Let each ``Reshape`` read what the first of several reads; drop those that do nothing."""
    producers, kept = graph.producers(), []
    for node in graph.nodes:
        if node.op == "Reshape":
            before = producers.get(node.inputs[0])
            if before is not None and before.op == "Reshape":
                node.inputs[0] = before.inputs[0]
            if graph.shape(node.inputs[0]) == graph.shape(node.out):
                graph.rename(node.out, node.inputs[0])
                continue
        kept.append(node)
    graph.keep(kept)


def _explicit_padding(graph: Graph) -> None:
    """Turn ``auto_pad`` into numbers, and give every window all its attributes."""
    for node in graph.nodes:
        if node.op not in _WINDOWED or node.op == "ConvTranspose":
            continue
        shape = graph.shape(node.inputs[0])
        size = shape[2:]
        kernel = node.attrs.get("kernel_shape") or graph.shape(node.inputs[1])[2:]
        count = len(size)
        strides = list(node.attrs.get("strides") or [1] * count)
        dilations = list(node.attrs.get("dilations") or [1] * count)
        auto = _text(node.attrs.pop("auto_pad", "NOTSET"))
        pads = list(node.attrs.get("pads") or [0] * 2 * count)
        if auto == "VALID":
            pads = [0] * 2 * count
        elif auto.startswith("SAME"):
            reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
            pads = _same(size, reach, strides, lower=auto == "SAME_LOWER")
        node.attrs |= {"kernel_shape": list(kernel), "strides": strides, "pads": pads}
        if node.op == "Conv":
            node.attrs |= {"dilations": dilations, "group": int(node.attrs.get("group", 1))}


def _same(size: Any, reach: list[int], strides: list[int], *, lower: bool) -> list[int]:
    """Return SAME padding of any number of axes; an odd pixel goes last, or first."""
    before, after = [], []
    for length, taps, stride in zip(size, reach, strides, strict=True):
        top, _, bottom, _ = same_padding((length, 1), (taps, 1), (stride, 1))
        before.append(bottom if lower else top)
        after.append(top if lower else bottom)
    return before + after


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _pads_of(graph: Graph, node: Node) -> Array | None:
    """Return the pads of a ``Pad`` for all axes, begins then ends; None if not known."""
    pads = graph.constants.get(node.input(1))
    if pads is None or not node.input(3):
        return pads
    rank = len(graph.shape(node.inputs[0]))
    axes = graph.constants.get(node.input(3))
    if axes is None:
        return None
    full = np.zeros((2, rank), np.int64)
    full[:, axes] = pads.reshape(2, -1)
    return full.ravel()


def _merge_pads(graph: Graph) -> None:
    """Let a convolution pad what a ``Pad`` in front of it pads with zeros."""
    producers = graph.producers()
    for node in graph.nodes:
        pad = producers.get(node.input(0))
        if node.op != "Conv" or pad is None or pad.op != "Pad":
            continue
        pads = _pads_of(graph, pad)
        if pads is None or not _pads_zeros(graph, pad) or (pads < 0).any():
            continue
        begins, ends = pads.reshape(2, -1)
        if begins[:2].any() or ends[:2].any():
            continue
        added = [int(pixels) for pixels in (*begins[2:], *ends[2:])]
        own = node.attrs["pads"]
        node.attrs["pads"] = [a + b for a, b in zip(own, added, strict=True)]
        node.inputs[0] = pad.inputs[0]


def _pads_zeros(graph: Graph, pad: Node) -> bool:
    if _text(pad.attrs.get("mode", "constant")) != "constant":
        return False
    value = graph.constants.get(pad.input(2))
    return not pad.input(2) or (value is not None and not value.any())


def _whole_pools(graph: Graph) -> None:
    nodes: list[Node] = []
    for node in graph.nodes:
        dropped = _pools_all(graph, node)
        if dropped is None:
            nodes.append(node)
            continue
        shape = graph.shape(node.inputs[0])
        pooled = Node("GlobalAveragePool", node.name, [node.inputs[0]], [node.out])
        nodes.append(pooled)
        if dropped:
            pooled.outputs = [graph.fresh(f"{node.out}.map")]
            graph.types[pooled.out] = ("float32", (*shape[:2], 1, 1))
            target = graph.add_constant(f"{node.out}.shape", np.array(shape[:2], np.int64))
            nodes.append(Node("Reshape", f"{node.name}.flat", [pooled.out, target], [node.out]))
    graph.nodes = nodes


def _pools_all(graph: Graph, node: Node) -> bool | None:
    """Whether a mean of a whole map drops the map; None of another node."""
    if node.input(0) not in graph.types or graph.dtype(node.inputs[0]) != "float32":
        return None
    shape = graph.shape(node.inputs[0])
    if len(shape) != 4:
        return None
    if node.op == "AveragePool":
        whole = tuple(node.attrs["kernel_shape"]) == shape[2:] and not any(node.attrs["pads"])
        return False if whole and math.prod(graph.shape(node.out)[2:]) == 1 else None
    if node.op != "ReduceMean":
        return None
    axes = reduced_axes(graph, node)
    return len(graph.shape(node.out)) != len(shape) if axes == [2, 3] else None


def reduced_axes(graph: Graph, node: Node) -> list[int] | None:
    """Return the axes of a reduction, none negative, sorted; None if not known."""
    rank = len(graph.shape(node.inputs[0]))
    axes: list[int] = []
    if node.input(1):
        if node.input(1) not in graph.constants:
            return None
        axes = graph.constants[node.input(1)].ravel().tolist()
    if not axes:
        return None if node.attrs.get("noop_with_empty_axes") else list(range(rank))
    return sorted(int(axis) % rank for axis in axes)

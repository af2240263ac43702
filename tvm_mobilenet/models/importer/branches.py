"""Parallel branches of one map become one convolution, as they are made before deployment.

A block that was trained as the sum of convolutions, of their batch norms and of the map itself
(RepVGG, arXiv 2101.03697; MobileOne, arXiv 2206.04040) is linear: one convolution with the sum of
their taps, each where it lies, computes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.importer.affine import Affine
from tvm_mobilenet.models.importer.graph import Array, Graph, Node

Float64: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, slots=True)
class _Branch:
    """A convolution of a map, its batch norms inside; of the map itself, one tap.

    Attributes
    ----------
    source : str
        The map.
    weight, bias : ndarray
        OIHW, (O,).
    before : tuple of int
        (top, left) padding.
    kind : tuple
        Strides and groups, which branches that are joined have in common.
    trained : bool
        Whether it has parameters: it is not the map as it is.
    """

    source: str
    weight: Float64
    bias: Float64
    before: tuple[int, int]
    kind: tuple[tuple[int, int], int]
    trained: bool


def join_branches(graph: Graph) -> None:
    """Let one convolution compute what branches of a map add up to.

    before: ``Add(Add(BN(Conv3x3(x)), BN(Conv1x1(x))), BN(x))``
    after: ``Conv3x3(x)``; what is added besides, is added to it
    """
    finder = _Finder(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += finder.instead(node) or [node]
    graph.keep(nodes)


class _Finder:
    """Finds sums of branches in a graph, which does not change meanwhile."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._readers, self._producers = graph, graph.readers(), graph.producers()

    def instead(self, root: Node) -> list[Node] | None:
        """Return what computes a sum with fewer convolutions; None where nothing does."""
        if not self._is_sum(root) or self._inside(root.out):
            return None
        leaves = list(self._leaves(root))
        convolved = {leaf: branch for leaf in leaves if (branch := self._convolved(leaf))}
        for like in convolved.values():
            found = {
                leaf: convolved.get(leaf) or self._alone(leaf, like)
                for leaf in leaves
                if leaf not in convolved or convolved[leaf].kind == like.kind
            }
            joined = {
                leaf: branch
                for leaf, branch in found.items()
                if branch is not None and branch.source == like.source
            }
            if sum(branch.trained for branch in joined.values()) < 2:
                continue
            conv = self._sum_of(list(joined.values()), root)
            if conv is not None:
                return self._added(conv, [leaf for leaf in leaves if leaf not in joined], root)
        return None

    def _is_sum(self, node: Node) -> bool:
        graph = self._graph
        if node.op != "Add" or len(graph.shape(node.out)) != 4:
            return False
        shapes = {graph.shape(tensor) for tensor in (*node.inputs, node.out)}
        return len(shapes) == 1 and not any(tensor in graph.constants for tensor in node.inputs)

    def _only(self, tensor: str) -> bool:
        """Whether one node reads a tensor, and nobody else is given it."""
        return len(self._readers.get(tensor, [])) == 1 and tensor not in self._graph.outputs

    def _inside(self, tensor: str) -> bool:
        """Whether a sum is a part of a longer one."""
        return self._only(tensor) and self._is_sum(self._readers[tensor][0])

    def _leaves(self, node: Node) -> Iterator[str]:
        for tensor in node.inputs:
            before = self._producers.get(tensor)
            if before is not None and self._is_sum(before) and self._only(tensor):
                yield from self._leaves(before)
            else:
                yield tensor

    def _norms(self, tensor: str) -> tuple[str, Float64, Float64]:
        """Return what a tensor's batch norms read, and their scale and shift together."""
        channels = self._graph.shape(tensor)[1]
        scale, shift = np.ones(channels), np.zeros(channels)
        while (node := self._producers.get(tensor)) is not None and self._only(tensor):
            affine = Affine(channels, None)
            if node.op != "BatchNormalization" or not affine.take(
                self._graph, node, node.inputs[0]
            ):
                break
            gamma, beta, mean, variance = (
                affine.parameters()[f"bn_{part}"].astype(np.float64)
                for part in ("gamma", "beta", "mean", "variance")
            )
            factor = gamma / np.sqrt(variance + (affine.epsilon or 0.0))
            shift += scale * (beta - mean * factor)
            scale *= factor
            tensor = node.inputs[0]
        return tensor, scale, shift

    def _convolved(self, leaf: str) -> _Branch | None:
        """Return the convolution that a leaf is, if its taps lie side by side."""
        source, scale, shift = self._norms(leaf)
        conv = self._producers.get(source)
        if conv is None or conv.op != "Conv" or not self._only(source):
            return None
        weight, bias = (self._constant(conv.input(at)) for at in (1, 2))
        known = weight is not None and (bias is not None or not conv.input(2))
        if not known or weight is None or weight.ndim != 4:
            return None
        if set(conv.attrs["dilations"]) != {1} and weight.shape[2:] != (1, 1):
            return None
        strides, pads = conv.attrs["strides"], conv.attrs["pads"]
        return _Branch(
            conv.inputs[0],
            weight * scale[:, None, None, None],
            (0.0 if bias is None else bias) * scale + shift,
            (int(pads[0]), int(pads[1])),
            ((int(strides[0]), int(strides[1])), int(conv.attrs["group"])),
            trained=True,
        )

    def _constant(self, tensor: str) -> Float64 | None:
        value: Array | None = self._graph.constants.get(tensor)
        usable = value is not None and value.dtype == np.float32 and np.isfinite(value).all()
        return value.astype(np.float64) if usable and value is not None else None

    def _alone(self, leaf: str, like: _Branch) -> _Branch | None:
        """Return a leaf that scales the map itself, as a convolution of one tap."""
        source, scale, shift = (leaf, None, None) if leaf == like.source else self._norms(leaf)
        if source != like.source or like.kind[0] != (1, 1):
            return None
        channels = self._graph.shape(source)[1]
        if len(like.weight) != channels:
            return None
        inside = like.weight.shape[1]
        weight = np.zeros((channels, inside, 1, 1))
        numbers = np.arange(channels)
        weight[numbers, numbers % inside, 0, 0] = 1.0 if scale is None else scale
        bias = np.zeros(channels) if shift is None else shift
        return _Branch(source, weight, bias, (0, 0), like.kind, trained=scale is not None)

    def _sum_of(self, branches: Sequence[_Branch], root: Node) -> Node | None:
        """Return one convolution; None where it would multiply more, or give another map."""
        top, left = (max(branch.before[axis] for branch in branches) for axis in (0, 1))
        places = [(top - branch.before[0], left - branch.before[1]) for branch in branches]
        placed = list(zip(places, branches, strict=True))
        rows, columns = (
            max(place[axis] + branch.weight.shape[2 + axis] for place, branch in placed)
            for axis in (0, 1)
        )
        first, graph = branches[0], self._graph
        taps = [b.weight[0, 0].size for b in branches if b.trained]
        if rows * columns > sum(taps):
            return None
        weight = np.zeros((*first.weight.shape[:2], rows, columns))
        for (row, column), branch in placed:
            height, width = branch.weight.shape[2:]
            weight[:, :, row : row + height, column : column + width] += branch.weight
        (strides, group), pads = first.kind, [top, left]
        sizes, wanted = graph.shape(first.source)[2:], graph.shape(root.out)[2:]
        for size, out, stride, count, before in zip(
            sizes, wanted, strides, (rows, columns), (top, left), strict=True
        ):
            pads.append(max(0, (out - 1) * stride + count - size - before))
            if (size + before + pads[-1] - count) // stride + 1 != out:
                return None
        bias = np.sum([branch.bias for branch in branches], axis=0)
        constants = (
            graph.add_constant(f"{root.out}.{name}", value.astype(np.float32))
            for name, value in (("weight", weight), ("bias", bias))
        )
        attrs = {
            "kernel_shape": [rows, columns],
            "strides": list(strides),
            "pads": pads,
            "dilations": [1, 1],
            "group": group,
        }
        return Node("Conv", root.name, [first.source, *constants], [root.out], attrs)

    def _added(self, conv: Node, others: Sequence[str], root: Node) -> list[Node]:
        """Return a convolution and the sums of it and of what else there is."""
        nodes = [conv]
        for other in others:
            before = self._graph.fresh(f"{root.out}.sum")
            self._graph.types[before] = self._graph.types[root.out]
            nodes[-1].outputs = [before]
            nodes.append(Node("Add", f"{root.name}.{other}", [before, other], [root.out]))
        return nodes

"""Which transposed convolutions of a file are a layer of ours, and where their output lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvm_mobilenet.models.importer.graph import Array, Graph, Node
from tvm_mobilenet.models.onnx_windows import text

Pair = tuple[int, int]

_NARROW = 4
"""Channels of an output of which a vector would be nearly empty."""


def placed(graph: Graph, node: Node) -> tuple[Pair, Pair, Pair, Pair] | None:
    """Return kernel, strides, what is cut off before, and the size of a transposed convolution.

    Returns
    -------
    tuple or None
        (height, width) each; None where its taps are set apart, or it has not two axes, or
        where it puts a border in front of what its windows reach.
    """
    kernel, sizes = graph.shape(node.inputs[1])[2:], graph.shape(node.inputs[0])[2:]
    attrs, out = node.attrs, graph.shape(node.out)[2:]
    if len(kernel) != 2 or set(attrs.get("dilations") or [1]) != {1}:
        return None
    strides = list(attrs.get("strides") or [1, 1])
    auto = text(attrs.get("auto_pad", "NOTSET"))
    before = list((attrs.get("pads") or [0, 0])[:2])
    if auto == "VALID":
        before = [0, 0]
    elif auto != "NOTSET" or attrs.get("output_shape"):
        extra = attrs.get("output_padding") or [0, 0]
        totals = [
            (size - 1) * stride + more + taps - kept
            for size, stride, more, taps, kept in zip(
                sizes, strides, extra, kernel, out, strict=True
            )
        ]
        # What is odd goes to the end with SAME_UPPER, to the beginning with anything else.
        before = [total // 2 if auto == "SAME_UPPER" else -(-total // 2) for total in totals]
    if min(before) < 0:
        return None
    return _pair(kernel), _pair(strides), _pair(before), _pair(out)


def is_narrow(places: tuple[Pair, Pair, Pair, Pair], in_size: Sequence[int], weight: Array) -> bool:
    """Whether a transposed convolution is better one of single pixels, whose channels are pixels.

    Each pixel becomes a square of its own, of so few channels that vectors of them are nearly
    empty: with the pixels of the square for channels they are fuller. The weight is (O, I, KH, KW).
    """
    kernel, strides, before, size = places
    squares = kernel == strides and kernel[0] == kernel[1] > 1 and before == (0, 0)
    whole = [pixels * stride for pixels, stride in zip(in_size, strides, strict=True)]
    return squares and [*size] == whole and len(weight) < _NARROW


def square_channels(weight: Array) -> Array:
    """Return weights (O, I, K, K) as those of single pixels, in the order of DepthToSpace."""
    return np.ascontiguousarray(weight.transpose(2, 3, 0, 1).reshape(-1, weight.shape[1], 1, 1))


def _pair(numbers: Sequence[int]) -> Pair:
    height, width = map(int, numbers)
    return (height, width)

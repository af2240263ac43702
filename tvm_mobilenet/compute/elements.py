"""Two maps element by element."""

from __future__ import annotations

import math
from typing import Any

from tvm import te

try:
    from tvm import tirx
except ImportError:  # as TVM 0.19 calls it
    from tvm import tir as tirx

from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.models.elements import Elementwise
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def elements(work: Workload) -> list[Any]:
    """Define ``out[c, p] = data[c, p] + other[c, p]``, a difference or a product.

    Returns
    -------
    list of te.Tensor
        data and other (N, Cb, P, block), each 1 where it has one image, channel or pixel,
        out (N, Cb, P, block).
    """
    facts = OPERATORS[work.operator]
    (layer,) = facts.layers(work)
    assert isinstance(layer, Elementwise)
    blocks = (work.in_block, *facts.other_blocks(work))
    shapes = [
        (n, -(-channels // block), math.prod(pixels), block)
        for (n, channels, *pixels), block in zip(layer.in_shapes, blocks, strict=True)
    ]
    data, other = (
        placeholder(shape, name=name) for shape, name in zip(shapes, ("data", "other"), strict=True)
    )
    whole = (work.batch, work.out_blocks, work.out_pixels, work.out_block)

    def read(tensor: Any, place: tuple[Any, ...]) -> Any:
        pairs = zip(map(int, tensor.shape), place, strict=True)
        return tensor[tuple(0 if n == 1 else at for n, at in pairs)]

    ragged = work.out_channels % work.out_block
    masked = ragged and min(shape[1] for shape in layer.in_shapes) == 1

    def element(*place: Any) -> Any:
        value = computed(*place)
        if not masked:
            return value
        # Lanes of no channel have no part of what all channels share.
        real = place[1] * work.out_block + place[3] < work.out_channels
        return tirx.Select(real, value, te.const(0.0, "float32"))

    def computed(*place: Any) -> Any:
        one, two = read(data, place), read(other, place)
        if layer.swapped:
            one, two = two, one
        if layer.operator == "Add":
            return one + two
        return one * two if layer.operator == "Mul" else one - two

    return [data, other, te.compute(whole, element, name="out")]

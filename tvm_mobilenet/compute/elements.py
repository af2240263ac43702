"""Two maps element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import te

try:
    from tvm import tirx
except ImportError:  # as TVM 0.19 calls it
    from tvm import tir as tirx

from tvm_mobilenet.compute.activations import activate
from tvm_mobilenet.compute.elementary import constant
from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.compute.windows import larger
from tvm_mobilenet.operators.elements import Activation, described
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def elements(work: Workload) -> list[Any]:
    """Define ``out[c, p]`` as ``data[c, p] + other[c, p]``, a product …; or as an activation alone.

    Returns
    -------
    list of te.Tensor
        data and, unless that is a number, other (N, Cb, P, block), each 1 where it has one image,
        channel or pixel, out (N, Cb, P, block).
    """
    whole = (work.batch, work.out_blocks, work.out_pixels, work.out_block)
    if work.operator == Activation.name:
        data = placeholder(whole, name="data")
        made = te.compute(whole, lambda *at: activate(data[at], work.activation), name="out")
        return [data, made]
    layer = described(work)
    blocks = (work.in_block, *OPERATORS[work.operator].other_blocks(work))
    shapes = [
        (n, -(-channels // block), math.prod(pixels), block)
        for (n, channels, *pixels), block in zip(layer.in_shapes, blocks, strict=True)
    ]
    maps = [
        placeholder(shape, name=name)
        for shape, name in zip(shapes, ("data", "other"), strict=False)
    ]
    ragged = work.out_channels % work.out_block
    shared = layer.number is not None or min(shape[1] for shape in layer.in_shapes) == 1
    masked = ragged and (shared or layer.operator == "Div")

    def element(*place: Any) -> Any:
        one = _read(maps[0], place)
        two = constant(layer.number) if layer.number is not None else _read(maps[1], place)
        value = _together(layer.operator, *((two, one) if layer.swapped else (one, two)))
        if masked:
            # Lanes of no channel have no part of what all channels share.
            real = place[1] * work.out_block + place[3] < work.out_channels
            value = tirx.Select(real, value, te.const(0.0, "float32"))
        return activate(value, work.activation)

    return [*maps, te.compute(whole, element, name="out")]


def _read(tensor: Any, place: tuple[Any, ...]) -> Any:
    pairs = zip(map(int, tensor.shape), place, strict=True)
    return tensor[tuple(0 if n == 1 else at for n, at in pairs)]


def _together(operator: str, one: Any, two: Any) -> Any:
    if operator == "PRelu":
        return tirx.Select(one < constant(0.0), one * two, one)
    computed: dict[str, Callable[[Any, Any], Any]] = {
        "Add": lambda a, b: a + b,
        "Div": lambda a, b: a / b,
        "Max": larger,
        "Min": lambda a, b: tirx.Select(a < b, a, tirx.Select(b <= a, b, a + b)),
        "Mul": lambda a, b: a * b,
        "Sub": lambda a, b: a - b,
    }
    return computed[operator](one, two)

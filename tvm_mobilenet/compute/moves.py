"""Elements of maps in other places."""

from __future__ import annotations

import math
from typing import Any

from tvm import te

from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.moves import described
from tvm_mobilenet.operators.workload import Workload


def moves(work: Workload) -> list[Any]:
    """Define ``out[c, y, x] = data[channels[c], rows[y], columns[x]]``.

    Channels are those of all maps one after the other, and may differ from place to place in a
    period of rows and columns; see :class:`tvm_mobilenet.models.moves.Moves`.

    Returns
    -------
    list of te.Tensor
        data (N, Cb, H*W, block), channels (places, Ob * block), rows (OH,) and columns (OW,)
        of int32, the other maps as data, out (N, Ob, OH*OW, block).
    """
    layer, width = described(work), work.in_size[1]
    (rows, columns), (a, b) = work.out_size, layer.period
    lanes = work.out_blocks * work.out_block
    data = placeholder((work.batch, work.in_blocks, work.in_pixels, work.in_block), name="data")
    channel = placeholder((a * b, lanes), "int32", name="channels")
    row = placeholder((rows,), "int32", name="rows")
    column = placeholder((columns,), "int32", name="columns")
    blocks = OPERATORS[work.operator].other_blocks(work)
    others = [
        placeholder((work.batch, -(-n // block), math.prod(pixels), block), name=f"other{i}")
        for i, ((_, n, *pixels), block) in enumerate(zip(layer.other_shapes, blocks, strict=True))
    ]

    def element(n: Any, o: Any, p: Any, c: Any) -> Any:
        y, x = p // columns, p % columns
        at = channel[y % a * b + x % b, o * work.out_block + c]
        pixel = row[y] * width + column[x]
        value = te.const(0.0, "float32")
        first = 0
        for tensor, shape in zip((data, *others), layer.in_shapes, strict=True):
            own, block = at - first, int(tensor.shape[-1])
            moved = tensor[n, own // block, pixel, own % block]
            value = te.if_then_else(own >= 0, moved, value)
            first += shape[1]
        filled = te.any(at == -1, row[y] < 0, column[x] < 0)
        value = te.if_then_else(filled, te.const(layer.fill, "float32"), value)
        return te.if_then_else(at == -2, te.const(0.0, "float32"), value)

    out = te.compute(
        (work.batch, work.out_blocks, rows * columns, work.out_block), element, name="out"
    )
    return [data, channel, row, column, *others, out]

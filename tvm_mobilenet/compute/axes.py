"""Maps in blocks whose channels lie last behind it, or lay last before."""

from __future__ import annotations

from typing import Any

from tvm import te

try:
    from tvm import tirx
except ImportError:  # as TVM 0.19 calls it
    from tvm import tir as tirx

from tvm_mobilenet.compute.inputs import placeholder
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def axes(work: Workload) -> list[Any]:
    """Define ``out[n, y, x, c] = data[n, c / block, y * width + x, c % block]``, or the reverse.

    Returns
    -------
    list of te.Tensor
        data and out, one (N, H, W, C) and the other (N, Cb, H*W, block).
    """
    block, (height, width) = work.in_block, work.in_size
    blocked = (work.batch, work.in_blocks, work.in_pixels, block)
    plain = (work.batch, height, width, work.in_channels)
    if OPERATORS[work.operator].writes_plain:
        data = placeholder(blocked, name="data")
        out = te.compute(
            plain,
            lambda n, y, x, c: data[n, c // block, y * width + x, c % block],
            name="out",
        )
        return [data, out]
    data = placeholder(plain, name="data")

    def element(n: Any, o: Any, p: Any, c: Any) -> Any:
        channel = o * block + c
        inside = te.min(channel, work.in_channels - 1)
        value = data[n, p // width, p % width, inside]
        return tirx.Select(channel < work.in_channels, value, te.const(0.0, "float32"))

    return [data, te.compute(blocked, element, name="out")]

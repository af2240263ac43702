"""From a workload to a TensorIR function that carries its workload with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.compute.conv import conv
from tvm_mobilenet.compute.depthwise import depthwise
from tvm_mobilenet.compute.head import dense, pool
from tvm_mobilenet.compute.pointwise import pointwise
from tvm_mobilenet.compute.scale import scale
from tvm_mobilenet.compute.separable import separable
from tvm_mobilenet.compute.softmax import softmax
from tvm_mobilenet.compute.strassen import ACTIVATION, strassen
from tvm_mobilenet.compute.tail import tail
from tvm_mobilenet.compute.workload import AHEAD_OF, Workload

DEFINITIONS = {
    "conv": conv,
    "depthwise": depthwise,
    "pointwise": pointwise,
    "separable": separable,
    "strassen": strassen,
    "tail": tail,
    "pool": pool,
    "scale": scale,
    "dense": dense,
    "softmax": softmax,
}

OPERATOR = "tvm_mobilenet.operator"
"""Function attribute: the operator, by which a schedule recognises its function."""

OUT_WIDTH = "tvm_mobilenet.out_width"
"""Function attribute: pixels in a row of the output, to unflatten the pixel axis."""


AHEAD = "tvm_mobilenet.ahead"
"""Function attribute: :attr:`Ahead.numbers` of each of its last inputs."""

LINE = 16
"""float32 elements in a cache line of 64 bytes."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Weights of a later kernel that a kernel prefetches.

    Attributes
    ----------
    shape : tuple of int
        Of all of them, as the later kernel takes them.
    parts : int
        Equal parts that they are cut into: threads begin with one each.
    first, lines : int
        Cache lines of each part: the first, and how many.
    """

    shape: tuple[int, ...]
    parts: int
    first: int
    lines: int

    @property
    def key(self) -> str:
        """A name, for symbols."""
        sizes = "x".join(map(str, self.shape))
        return f"{sizes}_{self.first}to{self.first + self.lines}"

    @property
    def numbers(self) -> list[int]:
        """Parts, lines of each, the first to prefetch, and how many."""
        whole = math.prod(self.shape) // LINE
        return [self.parts, whole // self.parts, self.first, self.lines]


def prim_func(work: Workload, ahead: Sequence[Ahead] = ()) -> Any:
    """Build the unscheduled function of a workload.

    Parameters
    ----------
    work : Workload
    ahead : sequence of Ahead
        What it prefetches for others: a parameter for each, behind its inputs.

    Returns
    -------
    tirx.PrimFunc
        Parameters as the operator's definition lists them, output last
        (destination-passing style); symbol :attr:`Workload.key`, and what it prefetches.
    """
    from tvm import te

    *inputs, out = DEFINITIONS[work.operator](work)
    others = [te.placeholder(piece.shape, name=f"ahead{i}") for i, piece in enumerate(ahead)]
    func = te.create_prim_func([*inputs, *others, out])
    if work.operator == "strassen":
        func = func.with_attr(ACTIVATION, work.activation)
    name = work.key
    if ahead:
        numbers = [number for piece in ahead for number in piece.numbers]
        func = func.with_attr(AHEAD, numbers)
        name += f"_{AHEAD_OF}_" + "_".join(piece.key for piece in ahead)
    return (
        func.with_attr("global_symbol", name)
        .with_attr(OPERATOR, work.operator)
        .with_attr(OUT_WIDTH, work.out_size[1])
    )

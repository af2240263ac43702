"""From a workload to a TensorIR function that carries its workload with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.compute.conv import conv
from tvm_mobilenet.compute.depthwise import depthwise
from tvm_mobilenet.compute.head import dense, pool
from tvm_mobilenet.compute.pointwise import pointwise
from tvm_mobilenet.compute.scale import scale
from tvm_mobilenet.compute.separable import separable
from tvm_mobilenet.compute.softmax import softmax
from tvm_mobilenet.compute.tail import tail
from tvm_mobilenet.operators.ahead import AHEAD, Ahead
from tvm_mobilenet.operators.workload import AHEAD_OF, WORKLOAD, Workload

DEFINITIONS = {
    "conv": conv,
    "depthwise": depthwise,
    "pointwise": pointwise,
    "separable": separable,
    "tail": tail,
    "pool": pool,
    "scale": scale,
    "dense": dense,
    "softmax": softmax,
}


def prim_func(work: Workload, ahead: Sequence[Ahead] = ()) -> Any:
    """Build the unscheduled function of a workload.

    Parameters
    ----------
    ahead : sequence of Ahead
        Weights of later kernels that it prefetches, each a parameter behind its inputs.

    Returns
    -------
    tirx.PrimFunc
        Parameters as the operator's definition lists them, output last
        (destination-passing style). Its symbol is :attr:`Workload.key`, followed by the
        keys of what it prefetches.
    """
    from tvm import te

    *inputs, out = DEFINITIONS[work.operator](work)
    others = [te.placeholder(piece.shape, name=f"ahead{i}") for i, piece in enumerate(ahead)]
    func = te.create_prim_func([*inputs, *others, out])
    name = work.key
    if ahead:
        numbers = [number for piece in ahead for number in piece.numbers]
        func = func.with_attr(AHEAD, numbers)
        name += f"_{AHEAD_OF}_" + "_".join(piece.key for piece in ahead)
    return func.with_attr("global_symbol", name).with_attr(WORKLOAD, work.text)

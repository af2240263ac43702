"""From a workload to a TensorIR function that carries its workload with it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tvm_mobilenet.operators.ahead import AHEAD, Ahead
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import AHEAD_OF, WORKLOAD, Workload, element_of


def define(work: Workload) -> list[Any]:
    """Define an operator, as the file of ``compute/`` does that is called as its facts' own.

    Returns
    -------
    list of te.Tensor
        Its inputs, and last its output.
    """
    name = OPERATORS[work.operator].file
    found: list[Any] = getattr(import_module(f"tvm_mobilenet.compute.{name}"), name)(work)
    return found


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

    *inputs, out = define(work)
    others = [
        te.placeholder(piece.shape, element_of(piece.dtype), name=f"ahead{i}")
        for i, piece in enumerate(ahead)
    ]
    func = te.create_prim_func([*inputs, *others, out])
    name = work.key
    if ahead:
        numbers = [number for piece in ahead for number in piece.numbers]
        func = func.with_attr(AHEAD, numbers)
        name += f"_{AHEAD_OF}_" + "_".join(piece.key for piece in ahead)
    return func.with_attr("global_symbol", name).with_attr(WORKLOAD, work.text)

"""Kernels that are written with their loops: on elements of 8 bits, and on numbers of 16."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.nan import keeping_nan
from tvm_mobilenet.schedules.plans import plan, plans_for
from tvm_mobilenet.schedules.tensorir.cpu.integer.rules import WRITERS as OF_INTEGERS
from tvm_mobilenet.schedules.tensorir.cpu.sixteen.rules import NUMBERS
from tvm_mobilenet.schedules.tensorir.cpu.sixteen.rules import WRITERS as OF_SIXTEEN

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def written(work: Workload, knobs: Knobs, target: TargetSpec) -> Any:
    """Write a kernel.

    Parameters
    ----------
    knobs : Knobs
        As for :func:`tvm_mobilenet.schedules.plans.plan`.

    Returns
    -------
    tirx.PrimFunc
        With its loops, carrying its workload. Parameters: a map, then what
        :func:`tvm_mobilenet.network.fold.packed` makes of its layers', then other maps, then the
        output.

    Raises
    ------
    KnobError
        The knobs do not fit.
    """
    planned = plan(work, knobs, target, plans_for(target, "relax"))
    if work.integer:
        return OF_INTEGERS[work.operator](work, planned, target)
    made = OF_SIXTEEN[work.operator](work, planned, target, NUMBERS[work.dtype])
    return keeping_nan(made, target.machine)

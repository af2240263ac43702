"""One factor a channel with TE: (n, channel block) on threads → pixels → lanes."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.cpu.threads import ELEMENT
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.micro_kernel import share

from tvm_mobilenet.target import TargetSpec


def schedule_scale(s: Any, work: Definition, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    """Schedule a scale.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        ``threads``: all or one.
    target : TargetSpec

    Returns
    -------
    list of Prefetch
        None: there is one long stream.
    """
    out = s[work.out]
    n, o, p, c = out.op.axis
    batch, blocks, pixels, lanes = extents(out.op.axis)
    units = out.fuse(n, o)
    out.reorder(units, p, c)
    out.vectorize(c)
    share(out, units, batch * blocks, ELEMENT * batch * blocks * pixels * lanes, knobs, target)
    return []

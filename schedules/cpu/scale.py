"""One factor a channel: a multiplication for each element that is read and written.

Pattern
    ``out(n, o, p, c)``, operator "scale".

Loop nest, outer to inner
    (n, channel block) on threads → pixels → lanes

Registers
    The factors of a block, and the element.

Bound
    The map, read and written once, from where the depthwise layer left it.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.cpu.micro_kernel import extent
from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.cpu.threads import ELEMENT, share
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec


def schedule_scale(sch: Any, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    """Schedule a scale.

    Parameters
    ----------
    sch : s_tir.Schedule
        Over the function of a scale workload.
    knobs : Knobs
        ``threads``: all or one.
    target : TargetSpec

    Returns
    -------
    list of Prefetch
        None: what it reads has just been written.
    """
    n, o, p, c = sch.get_loops(sch.get_sblock("out"))
    batch, blocks, pixels, lanes = (extent(sch, loop) for loop in (n, o, p, c))
    units = sch.fuse(n, o)
    share(sch, units, ELEMENT * batch * blocks * pixels * lanes, knobs, target)
    sch.vectorize(c)
    return []

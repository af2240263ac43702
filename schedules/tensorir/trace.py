"""Schedules that MetaSchedule found: their steps, as JSON, taken again."""

from __future__ import annotations

import json
from typing import Any

from tvm import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace
from tvm_mobilenet.schedules.knobs import KnobError

from tvm_mobilenet.errors import last_line


def replay(func: Any, text: str) -> Any:
    """Take the steps of a trace.

    Parameters
    ----------
    func : tirx.PrimFunc
        Unscheduled; what the trace was made for.
    text : str
        What TVM's ``Trace.as_json`` returns, as JSON.

    Raises
    ------
    KnobError
        A step cannot be taken.
    """
    return taken(func, text).mod["main"]


def taken(func: Any, text: str) -> Any:
    """Return the schedule itself after the steps of a trace; see :func:`replay`."""
    sch = Schedule(IRModule({"main": func}))
    try:
        Trace.apply_json_to_schedule(json.loads(text), sch)
    # TVM raises what its C++ names, for whatever a damaged trace makes it meet.
    except Exception as error:
        raise KnobError(
            f"its trace cannot be replayed: {last_line(error)[:200]}",
            "the record was made by another version: delete its line, or tune again",
        ) from None
    return sch

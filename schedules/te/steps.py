"""Ansor's schedules: the steps of a state, applied to a definition anew."""

from __future__ import annotations

import json
from typing import Any

import tvm
from tvm.auto_scheduler import ComputeDAG, measure_record
from tvm_mobilenet.schedules.knobs import KnobError
from tvm_mobilenet.schedules.te.definition import Definition

from tvm_mobilenet.errors import last_line

WORKLOAD = "tvm_mobilenet"
"""Ansor's name for the function that makes a definition of a workload."""


def dag_of(work: Definition) -> Any:
    """Return Ansor's view of a definition."""
    return ComputeDAG(list(work.tensors))


def replay(work: Definition, steps: str) -> Any:
    """Schedule a definition by the steps of an Ansor state.

    Parameters
    ----------
    steps : str
        JSON: the second part of ``i`` in a line of an Ansor log.

    Raises
    ------
    KnobError
        The text is no list of steps, or they do not fit this definition.
    """
    dag = dag_of(work)
    # A line of a log, of which only the state counts: TVM reads one in no other way.
    task = ["", "llvm", [1, 64, 64, 0, 0, 0, 0, 0], "", 0, []]
    try:
        line = json.dumps({"i": [task, json.loads(steps)], "r": [[1.0], 0, 1.0, 1], "v": "v0.6"})
        state = measure_record.load_record_from_string(line)[0].state
        s, _ = dag.apply_steps_from_state(state)
    except (tvm.TVMError, ValueError, TypeError) as error:
        raise KnobError(
            f"Ansor's steps do not fit the definition: {last_line(error)}",
            "the record was made by another version: delete its line, or tune again",
        ) from error
    return s

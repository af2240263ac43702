"""What the details of a workload say to those that plan and write its loops."""

from __future__ import annotations

import json

from tvm_mobilenet.operators.workload import Workload

Axis = tuple[int, int, int]
"""Elements, and how far apart they lie where they are read and where they are written."""


def lanes_of(work: Workload) -> int:
    """Return the lanes of a vector of a product's columns."""
    lanes: int = json.loads(work.detail)["lanes"]
    return lanes

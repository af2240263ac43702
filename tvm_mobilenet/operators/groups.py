"""What the groups of a convolution read."""

from __future__ import annotations

from tvm_mobilenet.operators.workload import Workload


def repeats(work: Workload) -> bool:
    """Whether groups are one input channel each, which is copied for every output that reads it.

    A transposed convolution's are not: it has many more pixels than it reads.
    """
    return work.operator == "conv_blocked" and 1 < work.groups == work.in_channels

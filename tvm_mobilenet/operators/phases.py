"""Which taps of a transposed convolution reach an output pixel."""

from __future__ import annotations

from tvm_mobilenet.operators.workload import Workload


def phase_taps(work: Workload) -> tuple[int, int]:
    """Return the (rows, columns) of the taps of a phase, at most."""
    (kh, kw), (sh, sw) = work.kernel, work.strides
    return (-(-kh // sh), -(-kw // sw))


def is_depthwise(work: Workload) -> bool:
    """Whether every channel is a group of its own, and not the only one."""
    return work.groups == work.in_channels == work.out_channels and work.groups > 1

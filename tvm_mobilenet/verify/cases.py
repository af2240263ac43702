"""Data and answer of one kernel by itself, whatever it computes in."""

from __future__ import annotations

from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.integer_case import integer_case
from tvm_mobilenet.verify.kernel_case import KernelCase, kernel_case


def case_of(work: Workload) -> KernelCase:
    """Return what a workload's kernel is tuned on."""
    return integer_case(work) if work.integer else kernel_case(work)

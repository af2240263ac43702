"""What a roofline shows of a profile: a point for each kernel."""

from __future__ import annotations

from typing import NamedTuple

from tvm_mobilenet.common.tables import together
from tvm_mobilenet.profile.breakdown import KernelProfile, ProfileReport


class Point(NamedTuple):
    """A kernel, with all layers that share it."""

    number: int
    label: str
    operator: str
    intensity: float
    """Operations per byte."""
    gflops: float
    """In the network, mean over its layers."""
    share_of_peak: float
    share_of_time: float
    """Part of all kernels' time that its layers take together."""


def points(report: ProfileReport) -> list[Point]:
    """Return what there is to draw: kernels with multiply-adds, as they come first."""
    groups: dict[str, list[KernelProfile]] = {}
    for row in report.rows:
        if row.macs:
            groups.setdefault(row.kernel, []).append(row)
    whole = report.totals()["network"]
    found = []
    for number, rows in enumerate(groups.values(), 1):
        spent = sum(row.network_us for row in rows)
        names = [together(row.layers) for row in rows]
        label = ", ".join(names) if len(names) < 3 else f"{names[0]} … {names[-1]} ({len(names)})"
        found.append(
            Point(
                number,
                label,
                rows[0].operator,
                rows[0].intensity,
                2 * sum(row.macs for row in rows) / spent / 1e3,
                sum(row.compute_us for row in rows) / spent,
                spent / whole,
            )
        )
    return found

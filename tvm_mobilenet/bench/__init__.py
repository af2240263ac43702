"""Time an artifact against the processor's bound and against other runtimes.

``session`` runs the comparison, ``pool`` and ``worker`` keep every runtime in a
process of its own, ``peers``, ``ncnn_files`` and ``litert_files`` (in the format of
``tflite``) hand them the same network, ``peak`` measures what the processor could
do, ``comparison`` holds the outcome;
``bandwidth`` and ``machine`` measure the rest of what a kernel is up against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_mobilenet.common.lazily import export

if TYPE_CHECKING:
    from tvm_mobilenet.bench.comparison import OURS, BenchReport, Row
    from tvm_mobilenet.bench.session import bench

__all__ = ["OURS", "BenchReport", "Row", "bench"]

_HOMES = {
    "OURS": "comparison",
    "BenchReport": "comparison",
    "Row": "comparison",
    "bench": "session",
}
export(__name__, _HOMES)

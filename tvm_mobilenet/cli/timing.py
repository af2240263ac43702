"""``bench``: time an artifact against the bound and other runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.cli.logs import LOGGER
from tvm_mobilenet.cli.output import Form, progress_bar, show
from tvm_mobilenet.errors import TvmMobilenetError

if TYPE_CHECKING:
    from tvm_mobilenet.bench import BenchReport
    from tvm_mobilenet.bench.gpu_comparison import GpuReport


def bench_artifact(
    artifact: Path, *, against: Sequence[str], threads: Sequence[int], form: Form, **options: Any
) -> None:
    """Time against the bound and the peers, here: on the processor or on a GPU."""
    from tvm_mobilenet import api

    with progress_bar() as progress:
        report = api.bench(artifact, threads=threads, against=against, progress=progress, **options)
    show(form, report.table(), data=report.to_dict())
    if getattr(report, "disturbed", False):
        LOGGER.warning("other processes used the processors meanwhile; measure again in quiet")
    _check_agreement(report)


def _check_agreement(report: BenchReport | GpuReport) -> None:
    odd = [f"{row.runtime} ({row.relative_error:.0e})" for row in report.disagreeing]
    if odd:
        raise TvmMobilenetError(
            f"outputs differ from ours beyond {report.tolerance:.0e}: {', '.join(odd)}",
            "their times are of another network; verify the artifact first",
        )

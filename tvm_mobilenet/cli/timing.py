"""``bench``: time an artifact against the bound and other runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_mobilenet.cli.logs import LOGGER
from tvm_mobilenet.cli.output import print_json, print_table, progress_bar
from tvm_mobilenet.errors import InputError, TvmMobilenetError

if TYPE_CHECKING:
    from tvm_mobilenet.bench import BenchReport


def names(text: str) -> tuple[str, ...]:
    """Return names written with commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def numbers(text: str) -> tuple[int, ...]:
    """Return whole numbers written with commas, each once."""
    try:
        return tuple(dict.fromkeys(int(part) for part in names(text)))
    except ValueError:
        raise InputError(
            f"--threads takes whole numbers, not {text!r}", "for example --threads 1,2"
        ) from None


def bench_artifact(
    artifact: Path,
    *,
    against: Sequence[str],
    threads: Sequence[int],
    weights: str | None,
    model: Path | None,
    rounds: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Time against the bound and the peers."""
    from tvm_mobilenet.bench import bench
    from tvm_mobilenet.runtime.artifact import read_manifest

    manifest = read_manifest(artifact)
    if manifest["target"].get("gpu") is not None:
        from tvm_mobilenet.cli.on_gpu import bench_gpu_artifact

        bench_gpu_artifact(
            artifact,
            manifest,
            as_json,
            against=against,
            weights=weights,
            rounds=rounds,
            seconds=seconds,
        )
        return
    with progress_bar() as progress:
        report = bench(
            artifact,
            threads=threads,
            against=against,
            weights=weights,
            model=model,
            rounds=rounds,
            seconds=seconds,
            progress=progress,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        print_bench(report)
    if report.disturbed:
        LOGGER.warning("other processes used the processors meanwhile; measure again in quiet")
    _check_agreement(report)


def print_bench(report: BenchReport) -> None:
    """Print a row for each runtime, and the bounds."""
    columns = ["runtime", "version", ">threads", ">median ms", ">p10", ">p90"]
    columns += [">GFLOP/s", ">of peak", ">ratio", ">differs by"]
    rows = []
    for row in report.rows:
        ratio = report.ratio[row.threads].get(row.runtime)
        rows.append(
            [
                row.runtime,
                row.version,
                row.threads,
                f"{row.median_ms:.3f}",
                f"{row.p10_ms:.3f}",
                f"{row.p90_ms:.3f}",
                f"{report.gflops(row):.1f}",
                f"{report.share(row):.1%}",
                "" if ratio is None else f"{ratio:.3f}",
                "" if ratio is None else f"{row.relative_error:.0e}",
            ]
        )
    bounds = (
        f"{threads} threads: peak {report.peak_gflops[threads]:.0f} GFLOP/s, bound {bound:.3f} ms"
        for threads, bound in report.bound_ms.items()
    )
    print_table(report.model, columns, rows, "\n".join(bounds))


def _check_agreement(report: BenchReport) -> None:
    odd = [f"{row.runtime} ({row.relative_error:.0e})" for row in report.disagreeing]
    if odd:
        raise TvmMobilenetError(
            f"outputs differ from ours beyond {report.tolerance:.0e}: {', '.join(odd)}",
            "their times are of another network; verify the artifact first",
        )

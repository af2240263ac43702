"""``bench`` and ``profile`` of artifacts whose kernels run on a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.bench.gpu_report import TORCH
from tvm_mobilenet.cli.output import print_json, print_table, progress_bar, waiting
from tvm_mobilenet.errors import PlotError, TvmMobilenetError

if TYPE_CHECKING:
    from tvm_mobilenet.bench.gpu_report import GpuReport
    from tvm_mobilenet.cli.options import Stored
    from tvm_mobilenet.profile.gpu import GpuProfile


@contextmanager
def compiled_for(
    model: str, target: str, dtype: Stored | None, batch: int | None, *, weights: str | None
) -> Iterator[Path]:
    """Compile a model for the time of a measurement; yield its path."""
    from tvm_mobilenet import api
    from tvm_mobilenet.cli.making import target_of
    from tvm_mobilenet.models.network import find_model

    spec = target_of(target, None, None, None, dtype=dtype)
    found = find_model(model, {} if batch is None else {"batch": batch})
    with waiting(f"compiling {model} for {target}"):
        compiled = api.compile(found, target=spec, weights=weights)
    yield compiled.path


def bench_gpu_artifact(
    artifact: Path, manifest: Mapping[str, Any], as_json: bool, **options: Any
) -> None:
    """Time on the GPU of this machine, print a row for each runtime."""
    from tvm_mobilenet.bench.gpu import bench_on_gpu

    with progress_bar() as progress:
        report = bench_on_gpu(artifact, manifest, progress=progress, **options)
    if as_json:
        print_json(report.to_dict())
    else:
        print_gpu_bench(report)
    odd = [f"{row.runtime} ({row.relative_error:.0e})" for row in report.disagreeing]
    if odd:
        raise TvmMobilenetError(
            f"outputs differ from ours beyond {report.tolerance:.0e}: {', '.join(odd)}",
            "their times are of another network; verify the artifact first",
        )


def print_gpu_bench(report: GpuReport) -> None:
    """Print a row for each runtime, and what was predicted."""
    columns = ["runtime", "version", ">device ms", ">p10", ">p90", ">host ms", ">ratio"]
    columns += [">differs by", "~"]
    rows = []
    for row in report.rows:
        how = TORCH[row.runtime].how if row.runtime in TORCH else ""
        if row.failed:
            rows.append([row.runtime, row.version, *[""] * 6, f"failed: {row.failed}"])
            continue
        ratio = report.ratio.get(row.runtime)
        rows.append(
            [
                row.runtime,
                row.version,
                f"{row.device_ms:.4f}",
                f"{row.p10_ms:.4f}",
                f"{row.p90_ms:.4f}",
                f"{row.host_ms:.4f}",
                "" if ratio is None else f"{ratio:.3f}",
                "" if ratio is None else f"{row.relative_error:.0e}",
                how,
            ]
        )
    lines = [
        "device: from an input on it to an output on it, calls one after the other; host: from "
        "NumPy array to NumPy array. float32 is float32: TF32 is off.",
        ", ".join(f"{name} {value}" for name, value in report.gpu.items()),
    ]
    if report.predicted_ms is not None:
        lines.append(f"predicted for {report.target}: {report.predicted_ms:.4f} ms")
    title = f"{report.model}, batch {report.batch}, {report.dtype}, on {report.gpu['device']}"
    print_table(title, columns, rows, "\n".join(lines))


def profile_gpu_artifact(artifact: Path, plot: Path | None, repeats: int, as_json: bool) -> None:
    """Time kernel by kernel on the GPU of this machine."""
    from tvm_mobilenet.profile.gpu import profile_on_gpu

    if plot is not None:
        raise PlotError("there is no drawing of a GPU's roofline", "leave --plot out")
    with waiting("timing every kernel"):
        report = profile_on_gpu(artifact, repeats)
    if as_json:
        print_json(report.to_dict())
    else:
        print_gpu_profile(report)


def print_gpu_profile(report: GpuProfile) -> None:
    """Print a row for each kernel, and sums."""
    columns = ["layers", ">us", ">bound", "by", ">of bound", ">GFLOP/s", ">MB", ">GB/s"]
    rows = [
        [
            " + ".join(row.layers),
            f"{row.us:.1f}",
            f"{row.bound_us:.1f}",
            row.bound_by,
            f"{row.bound_us / row.us:.1%}",
            f"{2e-3 * row.macs / row.us:.1f}" if row.macs else "-",
            f"{row.bytes / 1e6:.2f}",
            f"{1e-3 * row.bytes / row.us:.1f}",
        ]
        for row in report.rows
    ]
    print_table(
        f"{report.model} for {report.target}, {report.dtype}, on {report.device}",
        columns,
        rows,
        f"one call {report.call_us / 1e3:.4f} ms from NumPy to NumPy; its kernels "
        f"{report.kernels_us / 1e3:.4f} ms on the device, their bounds "
        f"{report.bound_us / 1e3:.4f} ms.\n"
        f"Bounds are of the data sheet of {report.chip}, not measured.",
    )

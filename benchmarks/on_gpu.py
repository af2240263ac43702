"""Everything that needs an NVIDIA GPU, in one go: tests, tuner, profile, PyTorch; `make test-gpu`.

    python benchmarks/on_gpu.py --out benchmarks/results

Writes a folder named after the GPU: for each network, batch and type a file of JSON with the
comparison with PyTorch and a profile, and all comparisons as a table, README.md. Status 2
without a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tvm_mobilenet as tm
from tvm_mobilenet.bench.gpu import bench_on_gpu
from tvm_mobilenet.bench.gpu_comparison import GpuReport
from tvm_mobilenet.common.files import written_aside
from tvm_mobilenet.errors import PeerError, TvmMobilenetError
from tvm_mobilenet.machine import GPUS, parse
from tvm_mobilenet.machine.driver import Gpu, find_gpu
from tvm_mobilenet.models import build
from tvm_mobilenet.profile.gpu import profile_on_gpu
from tvm_mobilenet.runtime.artifact import read_manifest

TESTS = Path(__file__).resolve().parent.parent / "tests" / "gpu_device"
NO_GPU = 2


def main() -> int:
    """Do what was asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--models", nargs="+", default=["v1"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float16"])
    parser.add_argument("--trials", type=int, default=0, help="tune every network first")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-tests", action="store_true")
    parser.add_argument("--no-torch", action="store_true")
    options = parser.parse_args()
    try:
        gpu = find_gpu()
    except TvmMobilenetError as error:
        print(f"error: {error}", file=sys.stderr)
        return NO_GPU
    print(f"on {gpu.name}, {gpu.arch}", flush=True)
    status = 0
    if not options.no_tests:
        command = [sys.executable, "-m", "pytest", "-q", str(TESTS)]
        if importlib.util.find_spec("xdist"):  # most of it is nvcc
            command += ["-n", "auto", "--maxprocesses", "12", "--dist", "worksteal"]
        status = subprocess.run(command, check=False).returncode
    folder = options.out / re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    reports = list(measured(folder, gpu, options))
    write(folder / "README.md", "\n".join(table(gpu, reports)))
    print(f"results: {folder}")
    return status


def measured(folder: Path, gpu: Gpu, options: argparse.Namespace) -> Iterator[GpuReport]:
    """Compile, profile and compare every network; write each down at once."""
    target = gpu.arch
    if target not in GPUS:
        target = [n for n, spec in GPUS.items() if spec.capability[0] == gpu.capability[0]][-1]
    for name in options.models:
        for dtype in options.dtypes:
            for batch in options.batches:
                model = build(name, batch=batch)
                records: Any = None
                if options.trials:
                    records = folder / "records"
                    spec = parse(target, dtype=dtype)
                    tm.tune(model, trials=options.trials, target=spec, log_dir=records)
                stem = f"{name}_b{batch}_{dtype}"
                # Verified on the way: an artifact that is wrong here is an error.
                compiled = tm.compile(model, target=target, dtype=dtype, records=records)
                profile = profile_on_gpu(compiled.path)
                report = compared(compiled.path, options)
                both = {"bench": report.to_dict(), "profile": profile.to_dict()}
                write(folder / f"{stem}.json", json.dumps(both, indent=1))
                print("\n".join(row_of(report)), flush=True)
                yield report


def compared(path: Path, options: argparse.Namespace) -> GpuReport:
    """Time an artifact, and PyTorch where it is installed."""
    manifest = read_manifest(path)
    if not options.no_torch:
        try:
            return bench_on_gpu(path, manifest, against=["torch"], rounds=options.rounds)
        except PeerError as error:
            print(f"without PyTorch: {error}", file=sys.stderr)
    return bench_on_gpu(path, manifest, rounds=options.rounds)


def table(gpu: Gpu, reports: Sequence[GpuReport]) -> list[str]:
    """Return all comparisons as Markdown."""
    facts = {name: value for report in reports[:1] for name, value in report.gpu.items()}
    lines = [
        f"# {gpu.name}",
        "",
        f"Made by `python {' '.join(sys.argv)}`: "
        + ", ".join(f"{name} {value}" for name, value in facts.items())
        + ".",
        "",
        "Milliseconds of a call. device: from an input on the GPU to an output on it, calls one "
        "after the other; host: from NumPy array to NumPy array. Ratio: PyTorch's device time "
        "over ours. TF32 is off, cuDNN autotuned, batch norm folded for PyTorch too.",
        "",
        "| network | batch | dtype | runtime | device | p10 | p90 | host | ratio | predicted |",
        "|---|---:|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for report in reports:
        lines += row_of(report)
    return [*lines, ""]


def row_of(report: GpuReport) -> list[str]:
    """Return the lines of one comparison."""
    lines = []
    for row in report.rows:
        begin = f"| {report.model} | {report.batch} | {report.dtype} | {row.runtime} "
        if row.failed:
            lines.append(f"{begin}| failed: {row.failed.splitlines()[0][:200]} | | | | | |")
            continue
        ratio, predicted = report.ratio.get(row.runtime), report.predicted_ms
        told = "" if ratio is not None or predicted is None else f"{predicted:.4f}"
        lines.append(
            f"{begin}| {row.device_ms:.4f} | {row.p10_ms:.4f} | {row.p90_ms:.4f} "
            f"| {row.host_ms:.4f} | {'' if ratio is None else f'{ratio:.3f}'} | {told} |"
        )
    return lines


def write(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    with written_aside(path) as aside:
        aside.write(text.encode())


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())

"""MobileNets in int8 and bfloat16, ours and the peers', beside float32: tables by threads.

    python benchmarks/int8.py --json out/int8.json
    python benchmarks/int8.py --models v1 v2 --threads 1 --without-ours
    python benchmarks/int8.py --grid --rows out/int8_grid.jsonl

Weights of seed 0, calibrated on random images, the same for all: times depend on neither. Every
runtime has a process of its own; they take turns. The ratio is the median of the fastest peer,
in int8 or bfloat16, over ours in int8; the bound is that of `vpdpbusd`, four times the float32
peak that is measured between the same rounds. Where the processor multiplies bfloat16, another
ratio is that of OpenVINO as installed, which computes in it, over ours in bfloat16.

`--grid` measures MobileNet V1's 16 networks instead, ours and the peers' in int8 alone, in some
12 minutes. Each row is appended to the file of `--rows` as it is measured, and what that file has
of this machine, this version and these peers is not measured again: what was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import tvm_mobilenet as tm
from tvm_mobilenet.bench.comparison import OURS, PEAK, geometric_mean, peak_of
from tvm_mobilenet.bench.int8_files import write_in_integers
from tvm_mobilenet.bench.litert_files import write_tflite
from tvm_mobilenet.bench.peers import ONNX_FILE, OPENVINO_BF16, TFLITE_FILE, version_of
from tvm_mobilenet.bench.pool import in_turn, workers
from tvm_mobilenet.common.tables import threads_text
from tvm_mobilenet.machine import host
from tvm_mobilenet.machine.arithmetic import has_products
from tvm_mobilenet.machine.host import processor_name
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.onnx_export import export_onnx
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.quantization.calibration import quantize

MODELS = (
    *("v1", "v2", "v3-large", "v3-small"),
    *("v4-conv-small", "efficientnet-lite0", "mnasnet-b1", "mobileone-s0"),
)
ALPHAS, RESOLUTIONS = (1.0, 0.75, 0.5, 0.25), (224, 192, 160, 128)
INT8_PEERS = ("onnxruntime", "openvino", OPENVINO_BF16, "litert")
OURS_FLOAT, OURS_BF16, OURS_INT8 = "ours float32", "ours bfloat16", "ours int8"
IMAGES = 2
ROUNDS, SECONDS = 10, 0.3
GRID_ROUNDS, GRID_SECONDS = 8, 0.2
INT8_OVER_FLOAT32 = 4
"""Multiply-adds of one vpdpbusd over those of one float32 multiply-add of as many bits."""


@dataclass(frozen=True)
class Form:
    """A runtime and what it runs: a column of the table."""

    name: str
    runtime: str
    folder: Path


def prepared(model: Model, folder: Path, arguments: Any) -> list[Form]:
    """Write what every runtime opens; return the columns."""
    without_ours = arguments.without_ours
    weights = initialize(model)
    floats, halves, integers = (folder / name for name in ("float32", "bfloat16", "int8"))
    for each in (floats, halves, integers):
        each.mkdir()
    rng = np.random.default_rng(0)
    images = [rng.standard_normal(model.input_shape, np.float32) for _ in range(IMAGES)]
    np.save(folder / "input.npy", images[0])
    made = quantize(model, weights, images)
    network = Network(made.model.model, made.weights, "arrays", records=made.model.records)
    write_in_integers(network, INT8_PEERS, integers, images[0])
    if not without_ours:
        tm.compile(network, verify=not arguments.grid).export(integers / "ours.so")
    ours_int8 = [] if without_ours else [Form(OURS_INT8, OURS, integers)]
    peers = [Form(f"{name} int8", name, integers) for name in INT8_PEERS]
    if arguments.grid:
        return [*ours_int8, *peers]
    export_onnx(model, weights, floats / ONNX_FILE)
    write_tflite(model, weights, floats / TFLITE_FILE)
    tm.compile(model, weights=weights, verify=False).export(floats / "ours.so")
    forms = [Form(OURS_FLOAT, OURS, floats), *ours_int8]
    if not without_ours and has_products(host().isa, host().needs, "bfloat16"):
        tm.compile(model, weights=weights, dtype="bfloat16").export(halves / "ours.so")
        forms.append(Form(OURS_BF16, OURS, halves))
    return [*forms, Form(OPENVINO_BF16, OPENVINO_BF16, floats), *peers]


def measured(forms: list[Form], folder: Path, threads: int, arguments: Any) -> dict[str, Any]:
    """Return each column's median and 10th percentile in milliseconds, and the peak in GFLOP/s."""
    columns = [Form(PEAK, PEAK, folder), *forms]
    requests = [
        {
            "runtime": form.runtime,
            "threads": threads,
            "artifact": str(form.folder / "ours.so"),
            "target": host().to_dict(),
            "folder": str(form.folder),
            "input": str(folder / "input.npy"),
            "output": str(folder / f"{at}.npy"),
        }
        for at, form in enumerate(columns)
    ]
    times: list[list[float]] = [[] for _ in columns]
    with workers(requests) as started:
        for _, at in in_turn(arguments.rounds, len(columns)):
            times[at] += started[at].round(arguments.seconds)
        peak, _ = peak_of(times[0], started[0].operations)
    found: dict[str, Any] = {"peak_gflops": peak}
    for key, quantile in (("median_ms", 0.5), ("p10_ms", 0.1)):
        taken = (1e3 * float(np.quantile(samples, quantile)) for samples in times[1:])
        found[key] = dict(zip((form.name for form in forms), taken, strict=True))
    return found


def row_of(model: Model, threads: int, found: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the table: what was measured, the bound and the ratio."""
    medians = found["median_ms"]
    bound = 2 * model.macs / (INT8_OVER_FLOAT32 * found["peak_gflops"]) / 1e6
    peers = [name for name in medians if name not in (OURS_FLOAT, OURS_BF16, OURS_INT8)]
    fastest = min(peers, key=lambda name: medians[name])
    ours, halves = medians.get(OURS_INT8), medians.get(OURS_BF16)
    return {
        "model": model.title,
        "alpha": model.options.get("alpha"),
        "resolution": model.options.get("resolution"),
        "threads": threads,
        "bound_ms": bound,
        "median_ms": medians,
        "p10_ms": found["p10_ms"],
        "fastest_peer": fastest,
        "ratio": None if ours is None else medians[fastest] / ours,
        "share_of_bound": None if ours is None else bound / ours,
        "bfloat16_ratio": None if halves is None else medians[OPENVINO_BF16] / halves,
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the Markdown lines of the rows of one number of threads."""
    names = list(rows[0]["median_ms"])
    lines = [
        f"**{threads_text(rows[0]['threads'])}**, median ms",
        "",
        f"| network | bound | {' | '.join(names)} | fastest peer / ours int8 | of bound | "
        f"{OPENVINO_BF16} / ours |",
        f"|---|---:|{'---:|' * len(names)}---:|---:|---:|",
    ]
    for row in rows:
        cells = " | ".join(f"{row['median_ms'][name]:.3f}" for name in names)
        told = [
            "" if row["ratio"] is None else f"{row['ratio']:.2f}",
            "" if row["share_of_bound"] is None else f"{row['share_of_bound']:.0%}",
            "" if row["bfloat16_ratio"] is None else f"{row['bfloat16_ratio']:.2f}",
        ]
        lines.append(f"| {row['model']} | {row['bound_ms']:.3f} | {cells} | {' | '.join(told)} |")
    return [*lines, ""]


def ratios(rows: list[dict[str, Any]]) -> list[str]:
    """Return the Markdown lines of V1's ratios on one number of threads, by alpha and rho."""
    sizes = sorted({row["resolution"] for row in rows}, reverse=True)
    by_size = {(row["alpha"], row["resolution"]): row["ratio"] for row in rows}
    lines = [
        f"**{threads_text(rows[0]['threads'])}**, fastest int8 peer over ours",
        "",
        f"| alpha | {' | '.join(map(str, sizes))} |",
        f"|---|{'---:|' * len(sizes)}",
    ]
    for alpha in sorted({alpha for alpha, _ in by_size}, reverse=True):
        found = (by_size.get((alpha, size)) for size in sizes)
        cells = ("" if ratio is None else f"{ratio:.2f}" for ratio in found)
        lines.append(f"| {alpha} | {' | '.join(cells)} |")
    known = [ratio for ratio in by_size.values() if ratio is not None]
    if known:
        lines += ["", f"Geometric mean {geometric_mean(known):.2f}, smallest {min(known):.2f}."]
    return [*lines, ""]


def networks(arguments: Any) -> Iterator[Model]:
    """Yield the networks that are asked for."""
    if not arguments.grid:
        for name in arguments.models:
            yield tm.build(name, resolution=arguments.resolution)
        return
    for alpha, resolution in product(arguments.alphas, arguments.resolutions):
        yield tm.mobilenet_v1(alpha=alpha, resolution=resolution)


class Rows:
    """Rows in a file, one a line: what was measured before is there again.

    Parameters
    ----------
    path : Path or None
        Rows are appended to it; None keeps none.
    conditions : dict
        What a row was measured under; others of the file are not taken.
    """

    def __init__(self, path: Path | None, conditions: dict[str, Any]) -> None:
        self._path, self._conditions = path, conditions
        self._known: dict[tuple[str, int], dict[str, Any]] = {}
        if path is not None and path.exists():
            # Behind the last newline is what was being written when somebody ended it.
            whole, newline, _ = path.read_text().rpartition("\n")
            path.write_text(whole + newline)
            for row in map(json.loads, whole.splitlines()):
                if row["conditions"] == conditions:
                    self._known[row["model"], row["threads"]] = row

    def get(self, model: Model, threads: int) -> dict[str, Any] | None:
        """Return the row of a network that was measured."""
        return self._known.get((model.title, threads))

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        self._known[row["model"], row["threads"]] = row
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(row | {"conditions": self._conditions}) + "\n")


def measure(arguments: Any, kept: Rows) -> list[dict[str, Any]]:
    """Measure what is not in a file yet; return a row for each network and number of threads."""
    rows = []
    for model in networks(arguments):
        missing = [threads for threads in arguments.threads if kept.get(model, threads) is None]
        if missing:
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                forms = prepared(model, folder, arguments)
                for threads in missing:
                    kept.add(row_of(model, threads, measured(forms, folder, threads, arguments)))
                    print(json.dumps(kept.get(model, threads)), file=sys.stderr, flush=True)
        found = (kept.get(model, threads) for threads in arguments.threads)
        rows += [row for row in found if row is not None]
    return rows


def main() -> None:
    """Measure, print the tables, and write the numbers where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--grid", action="store_true", help="V1's 16 networks instead, int8 alone")
    parser.add_argument("--alphas", type=float, nargs="+", default=ALPHAS, help="of the grid")
    parser.add_argument("--resolutions", type=int, nargs="+", default=RESOLUTIONS)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}, of the grid {GRID_ROUNDS}")
    parser.add_argument("--seconds", type=float, help=f"{SECONDS}, of the grid {GRID_SECONDS}")
    parser.add_argument("--without-ours", action="store_true", help="peers, and ours in float32")
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument(
        "--rows", type=Path, help="file that rows are appended to, and whose rows are not repeated"
    )
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (GRID_ROUNDS if arguments.grid else ROUNDS)
    arguments.seconds = arguments.seconds or (GRID_SECONDS if arguments.grid else SECONDS)
    versions = ", ".join(
        f"{name} {version_of(name)}" for name in ("onnxruntime", "openvino", "litert")
    )
    machine = (
        f"{processor_name()}, {len(os.sched_getaffinity(0))} cores, batch 1; ours "
        f"{tm.__version__}, {versions}"
    )
    conditions = {"machine": machine} | {
        name: getattr(arguments, name) for name in ("grid", "without_ours", "rounds", "seconds")
    }
    rows = measure(arguments, Rows(arguments.rows, conditions))
    print(f"{machine}.\n")
    for threads in arguments.threads:
        told = [row for row in rows if row["threads"] == threads]
        print("\n".join(table(told)))
        if arguments.grid:
            print("\n".join(ratios(told)))
    if arguments.json:
        with arguments.json.open("w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()

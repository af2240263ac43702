"""MobileNets in int8 and bfloat16, ours and the peers', beside float32: tables by threads.

    python benchmarks/int8.py --json out/int8.json
    python benchmarks/int8.py --models v1 v2 --threads 1 --without-ours

Weights of seed 0, calibrated on random images, the same for all: times depend on neither. Every
runtime has a process of its own; they take turns. The ratio is the median of the fastest peer,
in int8 or bfloat16, over ours in int8; the bound is that of `vpdpbusd`, four times the float32
peak that is measured between the same rounds. Where the processor multiplies bfloat16, another
ratio is that of OpenVINO as installed, which computes in it, over ours in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tvm_mobilenet as tm
from tvm_mobilenet.bench.comparison import OURS, PEAK, peak_of
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
INT8_PEERS = ("onnxruntime", "openvino", OPENVINO_BF16, "litert")
OURS_FLOAT, OURS_BF16, OURS_INT8 = "ours float32", "ours bfloat16", "ours int8"
IMAGES = 2
INT8_OVER_FLOAT32 = 4
"""Multiply-adds of one vpdpbusd over those of one float32 multiply-add of as many bits."""


@dataclass(frozen=True)
class Form:
    """A runtime and what it runs: a column of the table."""

    name: str
    runtime: str
    folder: Path


def prepared(model: Model, folder: Path, without_ours: bool) -> list[Form]:
    """Write what every runtime opens; return the columns."""
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
    export_onnx(model, weights, floats / ONNX_FILE)
    write_tflite(model, weights, floats / TFLITE_FILE)
    tm.compile(model, weights=weights, verify=False).export(floats / "ours.so")
    forms = [Form(OURS_FLOAT, OURS, floats), Form(OPENVINO_BF16, OPENVINO_BF16, floats)]
    forms += [Form(f"{name} int8", name, integers) for name in INT8_PEERS]
    if not without_ours and has_products(host().isa, host().needs, "bfloat16"):
        tm.compile(model, weights=weights, dtype="bfloat16").export(halves / "ours.so")
        forms.insert(1, Form(OURS_BF16, OURS, halves))
    if not without_ours:
        tm.compile(network).export(integers / "ours.so")
        forms.insert(1, Form(OURS_INT8, OURS, integers))
    return forms


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


def main() -> None:
    """Measure, print the tables, and write the numbers where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--without-ours", action="store_true", help="peers, and ours in float32")
    parser.add_argument("--json", type=Path, help="file for the rows")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in arguments.models:
        model = tm.build(name, resolution=arguments.resolution)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            forms = prepared(model, folder, arguments.without_ours)
            for threads in arguments.threads:
                found = measured(forms, folder, threads, arguments)
                rows.append(row_of(model, threads, found))
                print(json.dumps(rows[-1]), flush=True)
    versions = ", ".join(
        f"{name} {version_of(name)}" for name in ("onnxruntime", "openvino", "litert")
    )
    print(f"{processor_name()}, {len(os.sched_getaffinity(0))} cores, batch 1; {versions}.\n")
    for threads in arguments.threads:
        print("\n".join(table([row for row in rows if row["threads"] == threads])))
    if arguments.json:
        with arguments.json.open("w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()

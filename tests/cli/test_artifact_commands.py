"""From one command to the next with the file that the first one wrote."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PEERS = ("onnxruntime", "openvino", "ncnn", "litert")


def test_compile_reports_every_layer(artifact: Path) -> None:
    report = artifact.with_suffix(".txt").read_text()
    for layer in ("conv1", "block1.dw", "block13.dw", "classifier"):
        assert layer in report
    assert re.search(r"block13\.(dw\+)?pw.* rule .*\d+\.\d +[\d.]+ +\d+\.\d%", report)
    assert re.search(r"one call \d+\.\d{3} ms", report)
    assert re.search(r"verified: relative error \d\.\de-0\d", report)


def test_inspect(run: Run, artifact: Path) -> None:
    shown = run("inspect", artifact).stdout
    assert "MobileNet V1 0.25/96" in shown
    assert "1x3x96x96 float32 NCHW" in shown
    manifest = json.loads(run("inspect", artifact, "--json").stdout)
    assert manifest["weights"]["source"] == "seed:7"
    assert manifest["model"]["options"]["classes"] == 10


def test_verify(run: Run, artifact: Path) -> None:
    shown = run("verify", artifact)
    assert shown.returncode == 0, shown.stderr
    assert "WRONG" not in shown.stdout
    assert re.search(r"end to end: max abs \d\.\de-\d\d, relative \d\.\de-\d\d", shown.stdout)
    data = json.loads(run("verify", artifact, "--json").stdout)
    assert data["passed"]
    assert data["relative"] < 1e-5
    layers = [layer for row in data["rows"] for layer in row["layers"]]
    assert layers[0] == "conv1"
    assert len(layers) == len(set(layers)) == 30


def test_verify_with_other_weights_is_an_error(run: Run, artifact: Path, tmp_path: Path) -> None:
    from tvm_mobilenet.models import mobilenet_v1
    from tvm_mobilenet.models.initialization import initialize
    from tvm_mobilenet.models.weights import save

    model = mobilenet_v1(alpha=0.25, resolution=96, classes=10)
    save(initialize(model, 8), tmp_path / "other.npz")
    failed = run("verify", artifact, "--weights", tmp_path / "other.npz")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
    assert "Traceback" not in failed.stderr


def test_bench_against_every_peer(run: Run, artifact: Path) -> None:
    arguments = ("--against", ",".join(PEERS), "--rounds", 2, "--seconds", 0.05, "--json")
    shown = run("bench", artifact, *arguments)
    assert shown.returncode == 0, shown.stderr
    data = json.loads(shown.stdout)
    assert set(data) == {"model", "batch", "contexts", "bound_ms", "rows", "ratio"}
    assert [row["runtime"] for row in data["rows"]] == ["tvm_mobilenet", *PEERS]
    ours = data["rows"][0]
    order = ("min_ms", "p10_ms", "median_ms", "p90_ms", "p99_ms", "max_ms")
    assert ours["min_ms"] > 0
    assert [ours[name] for name in order] == sorted(ours[name] for name in order)
    assert ours["images_per_second"] > 0
    assert data["bound_ms"]["1"] > 0
    for row in data["rows"][1:]:
        assert data["ratio"]["1"][row["runtime"]] == pytest.approx(
            row["median_ms"] / ours["median_ms"]
        )


def test_bench_prints_a_table(run: Run, artifact: Path) -> None:
    shown = run("bench", artifact, "--rounds", 1, "--seconds", 0.05)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"tvm_mobilenet +[\d.]* +1( +[\d.]+){9} +[\d.]+%", shown.stdout)
    assert re.search(r"1 thread: peak \d+ GFLOP/s, bound \d\.\d{3} ms", shown.stdout)


def test_bench_counts_calls_and_runs_contexts_side_by_side(run: Run, artifact: Path) -> None:
    turns = ("--rounds", 2, "--iterations", 3, "--warmup", 0.01, "--seconds", 0.01)
    contexts = min(2, len(os.sched_getaffinity(0)))
    shown = run("bench", artifact, *turns, "--contexts", contexts, "--batch", 1, "--json")
    assert shown.returncode == 0, shown.stderr
    data = json.loads(shown.stdout)
    (row,) = data["rows"]
    assert row["calls"] == 2 * 3 * contexts
    assert (data["contexts"], data["batch"]) == (contexts, 1)
    assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"]


def test_tables_are_csv_or_wide(run: Run, artifact: Path) -> None:
    """Whatever shows a table hands it over to programs as well."""
    for command in (("models",), ("models", "v1"), ("targets",), ("inspect", artifact),
                    ("verify", artifact), ("explain", "v1"), ("records",)):  # fmt: skip
        shown = run(*command, "--csv")
        assert shown.returncode == 0, shown.stderr
        rows = list(csv.reader(io.StringIO(shown.stdout)))
        assert len(rows) > 5
        assert len({len(row) for row in rows}) == 1
        narrow = run(*command, COLUMNS="40").stdout
        assert max(map(len, narrow.splitlines())) <= 40
        assert run(*command, "--wide", COLUMNS="40").stdout == run(*command).stdout


def test_bench_against_what_nobody_knows(run: Run, artifact: Path) -> None:
    failed = run("bench", artifact, "--against", "tflite")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: no runtime 'tflite'")
    assert "known: onnxruntime" in failed.stderr


def test_a_file_for_another_machine(run: Run, tmp_path: Path) -> None:
    """Cross-compiled, described, and refused before anything in it runs."""
    target = "rpi4" if platform.machine() != "aarch64" else "x86-64-v3"
    path = tmp_path / "other.so"
    options = ("--alpha", 0.25, "--resolution", 32, "--classes", 10, "--target", target)
    made = run("compile", "v1", *options, "-o", path)
    assert made.returncode == 0, made.stderr
    assert "not verified" in made.stdout
    assert "GFLOP/s" not in made.stdout
    assert json.loads(run("inspect", path, "--json").stdout)["target"]["name"] == target
    for command in (["run", path, path], ["verify", path], ["bench", path]):
        failed = run(*command)
        assert failed.returncode == 2
        assert f"other.so is for {'aarch64' if target == 'rpi4' else 'x86_64'}" in failed.stderr
        assert "Traceback" not in failed.stderr

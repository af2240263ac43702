"""Commands that need no artifact, and every wrong command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import processor_seconds

Run = Callable[..., "subprocess.CompletedProcess[str]"]

COMMANDS = (
    *("compile", "run", "verify", "bench", "profile", "inspect", "models", "targets"),
    *("records", "explain", "tune", "report", "export", "doctor"),
)


@pytest.mark.alone
def test_help_is_quick_and_names_every_command(run: Run) -> None:
    seconds = []
    for _ in range(3):
        start = processor_seconds()
        shown = run("--help")
        seconds.append(processor_seconds() - start)
    assert shown.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\w", shown.stdout, re.MULTILINE), command
    assert min(seconds) < 0.3


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(run: Run, command: str) -> None:
    shown = run(command, "--help")
    assert shown.returncode == 0
    assert f"tvm-mobilenet {command}" in shown.stdout.partition("Example")[2]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tvm_mobilenet.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    loaded = {name.partition(".")[0] for name in shown.partition("LOADED")[2].split()}
    assert not {"tvm", "tvm_ffi", "numpy", "onnx", "PIL", "rich"} & loaded


def test_version(run: Run) -> None:
    shown = run("--version").stdout
    assert re.fullmatch(
        r"tvm-mobilenet \d+\.\d+\.\d+, apache-tvm [\w.]+, apache-tvm-ffi [\w.]+\n", shown
    )


def test_models_are_those_of_the_paper(run: Run) -> None:
    rows = {
        (float(alpha), int(resolution)): (int(macs.partition(".")[0]), float(params))
        for alpha, resolution, macs, params in re.findall(
            r"v1 +([\d.]+) +(\d+) +([\d.]+) +([\d.]+)", run("models").stdout
        )
    }
    assert len(rows) == 16
    assert rows[1.0, 224] == (569, 4.2)
    assert rows[0.75, 224] == (325, 2.6)
    assert rows[0.5, 224] == (149, 1.3)
    assert rows[0.25, 224] == (41, 0.5)
    assert rows[1.0, 192] == (418, 4.2)
    assert rows[1.0, 128] == (186, 4.2)


def test_one_model_layer_by_layer(run: Run) -> None:
    shown = run("models", "v1", "--alpha", "0.75", "--resolution", "192").stdout
    assert "MobileNet V1 0.75/192" in shown
    assert re.search(r"block13\.pw +pointwise +1x768x6x6 +1x768x6x6", shown)
    # 1/N + 1/9 with N = 48 output channels.
    assert re.search(r"block1 .* 0\.1319 ", shown)


def test_models_as_json(run: Run) -> None:
    data = json.loads(run("models", "v1", "--alpha", 0.5, "--json").stdout)
    assert data["options"]["alpha"] == 0.5
    assert data["macs"] == sum(layer["macs"] for layer in data["layers"])
    assert len(data["separable"]) == 13
    sizes = {
        (model["name"], model["options"].get("alpha")): round(model["params"] / 1e6, 1)
        for model in json.loads(run("models", "--json").stdout)
    }
    assert sizes["mobilenet_v2", 1.4] == 6.1
    assert sizes["mobilenet_v3_large", 1.0] == 5.5
    assert sizes["mobilenet_v3_small", 0.75] == 2.0
    assert sizes["mobilenet_v4_conv_small", 0.5] == 2.2
    assert sizes["efficientnet_lite4", None] == 13.0


def test_a_model_with_branches_layer_by_layer(run: Run) -> None:
    shown = run("models", "v3-small", "--resolution", "96").stdout
    assert "MobileNet V3-Small 1.0/96" in shown
    assert re.search(r"block5\.dw +depthwise +1x240x6x6 +1x240x6x6", shown)
    assert re.search(r"block5\.se\.scale +Scale +1x240x6x6 +1x240x6x6", shown)
    assert re.search(r"block5\.add +Add +1x40x6x6 +1x40x6x6", shown)


def test_targets(run: Run) -> None:
    shown = run("targets").stdout
    assert re.search(r"native .* \d", shown)
    assert re.search(r"rpi4 +aarch64-linux-gnu +cortex-a72 +neon +4 +32 ", shown)
    names = [spec["name"] for spec in json.loads(run("targets", "--json").stdout)]
    assert {"native", "x86-64-v3", "x86-64-v4", "rpi4"} <= set(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models", "v9"], "unknown model 'v9'"),
        (["models", "--alpha", "0.5"], "needs a model"),
        (["models", "v1", "--alpha", "0.3"], "channel"),
        (["models", "mobileone-s0", "--alpha", "0.5"], "has no option 'alpha'"),
        (["models", "v1", "--resolution", "8"], "resolution"),
        (["compile", "v1", "-o", "{}/a.so", "--target", "rpi44"], "rpi4"),
        (["compile", "v1", "-o", "{}/none/a.so"], "cannot write"),
        (["compile", "v1", "-o", "{}"], "cannot write"),
        (["compile", "v1", "-o", "{}/a.so", "--weights", "{}/none.npz"], "none.npz"),
        (["compile", "v1", "-o", "{}/a.so", "--weights", "pretrained"], "known: v2 at alpha 1.0"),
        (
            ["compile", "v1", "-o", "{}/a.so", "--preprocess", "{}/none"],
            "use torchvision, tf, none",
        ),
        (["compile", "v2", "-o", "{}/a.so", "--epsilon", "2"], "epsilon must be a number between"),
        (["inspect", "{}/none.so"], "none.so"),
        (["run", "{}/none.so", "{}/none.png"], "none.so"),
        (["verify", "{}/none.so"], "none.so"),
        (["bench", "{}/none.so"], "none.so"),
        (["bench", "{}/none.so", "--threads", "one"], "whole numbers"),
    ],
)
def test_errors_have_no_traceback(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    failed = run(*(argument.format(tmp_path) for argument in arguments))
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["compile", "v1"], ["nonsense"], ["models", "--nonsense"]])
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    failed = run(*arguments)
    assert failed.returncode == 2
    assert "Usage" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_output_into_a_closed_pipe() -> None:
    """`tvm-mobilenet targets | head -1` ends quietly."""
    shown = subprocess.run(
        f"{sys.executable} -m tvm_mobilenet targets --json | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "[\n"
    assert "Traceback" not in shown.stderr


def test_records_are_listed_and_damage_is_named(run: Run, tmp_path: Path) -> None:
    fields = {
        "version": 1, "kind": "kernel", "operator": "pool", "workload": "pool_n1_i64_o64",
        "target": "x86_64_znver5", "threads": 2, "knobs": {"pixels": 7, "order": "mn"},
        "seconds": 1.234e-4, "repeats": 9, "spread": 0.0, "machine": "a desk",
        "date": "2026-01-02T03:04:05", "verified": False, "tvm": "0.27.0",
    }  # fmt: skip
    path = tmp_path / "x86_64_znver5" / "pool.jsonl"
    path.parent.mkdir()
    path.write_text("half a\n" + json.dumps(fields) + "\n")
    shown = run("records", tmp_path)
    assert shown.returncode == 0
    row = r"x86_64_znver5 +2 +pool_n1_i64_o64 +pixels=7 order=mn +123\.4 +- +no +2026-01-02 a desk"
    assert re.search(row, shown.stdout)
    assert f"{path}, line 1: the line is no JSON; skipped" in shown.stderr
    assert json.loads(run("records", tmp_path, "--json").stdout) == [fields]
    missing = run("records", tmp_path / "nowhere")
    assert missing.returncode == 2
    assert "there is no folder" in missing.stderr


def test_compile_says_which_records_are_missing(run: Run, tmp_path: Path) -> None:
    small = ("compile", "v1", "--alpha", 0.25, "--resolution", 32, "--classes", 10)
    file = tmp_path / "small.so"
    refused = run(*small, "-o", file, "--records", "none", "--require-records")
    assert refused.returncode == 2
    assert re.search(r"\d+ kernels have no usable record for native .*pointwise_n1", refused.stderr)
    assert not file.exists()
    (tmp_path / "logs").mkdir()
    made = run(*small, "-o", file, "--records", tmp_path / "logs", "--no-verify")
    assert made.returncode == 0, made.stderr
    assert re.fullmatch(r"warning: .*logs has no record for .*\n", made.stderr)

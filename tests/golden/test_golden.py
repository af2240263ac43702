"""What each schedule writes, as TVMScript, for one small workload.

A difference is shown line by line. If it is meant, ``pytest tests/golden --update-golden``
writes the files anew: review them with the change that made them.
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path

import pytest
from kernels import workload
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.machine import PRESETS, parse

HERE = Path(__file__).parent
TARGET = dataclasses.replace(PRESETS["znver5"], cores=2)
GPU, HALVES = parse("sm_80"), parse("sm_80", dtype="float16")
NARROW = dataclasses.replace(PRESETS["x86-64-v3"], cores=2)

WORKS = {
    "pointwise": (workload("pointwise", (32, 64), (14, 14), 16, activation="relu6"), TARGET),
    # 5 pixels of 17 remain, 24 channels are a block and a half.
    "pointwise_tail": (workload("pointwise", (24, 40), (17, 1), 16, activation="relu"), TARGET),
    # Weights come too slowly for so few pixels.
    "pointwise_prefetch": (workload("pointwise", (512, 64), (7, 7), 16), TARGET),
    "depthwise": (
        workload(
            "depthwise", (32, 32), (14, 14), 16, kernel=3, padding=(1, 1, 1, 1), activation="relu6"
        ),
        TARGET,
    ),
    "depthwise_avx2": (
        workload(
            "depthwise", (16, 16), (9, 9), 8, kernel=3, stride=2, padding=(1, 1, 1, 1)
        ),
        NARROW,
    ),
    "conv": (
        workload(
            "conv", (3, 32), (32, 32), 16, kernel=3, stride=2, padding=(0, 0, 1, 1),
            activation="relu6",
        ),
        TARGET,
    ),
    "pool": (workload("pool", (64, 64), (7, 7), 16), TARGET),
    "dense": (workload("dense", (64, 100), (1, 1), 16, batch=2), TARGET),
    "softmax": (workload("softmax", (24, 24), (1, 1), 16, batch=2), TARGET),
    "gpu_pointwise": (workload("pointwise", (24, 40), (7, 7), 4, activation="relu6"), GPU),
    "gpu_dense": (workload("dense", (64, 100), (1, 1), 4), GPU),
    "gpu_separable": (
        dataclasses.replace(
            workload(
                "depthwise", (16, 16), (9, 9), 4, kernel=3, stride=2, padding=(0, 0, 1, 1)
            ),
            operator="separable", out_channels=24, mid_activation="relu6",
        ),
        GPU,
    ),
    "gpu_tensor_cores": (
        dataclasses.replace(workload("pointwise", (64, 64), (14, 14), 8), dtype="float16"),
        HALVES,
    ),
    # Strips of two rows, as many images leave enough warps.
    "gpu_depthwise": (
        workload(
            "depthwise", (32, 32), (14, 14), 4, batch=64, kernel=3, padding=(1, 1, 1, 1),
            activation="relu6",
        ),
        GPU,
    ),
    "gpu_conv_half": (
        dataclasses.replace(
            workload(
                "conv", (3, 32), (32, 32), 8, kernel=3, stride=2, padding=(0, 0, 1, 1),
                activation="relu6",
            ),
            dtype="float16",
        ),
        HALVES,
    ),
    "gpu_pool": (workload("pool", (64, 64), (7, 7), 4), GPU),
    "gpu_scale": (workload("scale", (64, 64), (7, 7), 4), GPU),
    "gpu_softmax": (
        dataclasses.replace(
            workload("softmax", (100, 100), (1, 1), 4), in_block=64, out_block=64
        ),
        GPU,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(WORKS))
def test_schedule(name: str, request: pytest.FixtureRequest) -> None:
    work, target = WORKS[name]
    done = schedule(prim_func(work), target, Knobs())
    assert done is not None
    compare(HERE / f"{name}.txt", done.func.script() + "\n", request)


def compare(path: Path, script: str, request: pytest.FixtureRequest) -> None:
    """Fail with a diff where a golden file says something else, or write it."""
    if request.config.getoption("--update-golden"):
        path.write_text(script)
        return
    before = path.read_text() if path.exists() else ""
    if before != script:
        lines = difflib.unified_diff(
            before.splitlines(), script.splitlines(), f"golden/{path.name}", "now", lineterm="", n=2
        )
        pytest.fail(
            "\n".join([f"the schedule of {path.stem} changed:", *lines, "",
                       "if that is meant: pytest tests/golden --update-golden"]),
            pytrace=False,
        )  # fmt: skip


def test_a_difference_is_shown(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        pytest.skip("nothing is compared")
    path = tmp_path / "pool.txt"
    path.write_text("for i in range(4):\n    a\n")
    changed = r"-for i in range\(4\):\n\+for i in range\(8\):"
    with pytest.raises(pytest.fail.Exception, match=changed):
        compare(path, "for i in range(8):\n    a\n", request)
    compare(path, "for i in range(4):\n    a\n", request)
    with pytest.raises(pytest.fail.Exception, match="the schedule of missing changed"):
        compare(tmp_path / "missing.txt", "x\n", request)

"""Every schedule's CUDA form on a GPU: numbers against the reference, by rule and at random.

The tuner's own builder and runner do it, so these are what tuning does too.
"""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
from kernels import fused_pair, workload

from tvm_mobilenet.machine import Dtype, TargetSpec, parse
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.tuning.space import Space
from tvm_mobilenet.tuning.worker import build, build_control, measure

AROUND, SAME = (1, 1, 1, 1), (0, 0, 1, 1)
SEEDS = 2


def works(lanes: int) -> dict[str, Workload]:
    """Sizes of V1 to V3, odd ones, and a batch."""

    filtered = workload(
        "depthwise", (64, 64), (28, 28), lanes, kernel=3, padding=AROUND, activation="relu6"
    )
    return {
        "conv": workload(
            "conv", (3, 32), (64, 64), lanes, kernel=3, stride=2, padding=SAME, activation="relu6"
        ),
        "conv_odd": workload("conv", (3, 19), (15, 11), lanes, batch=3, kernel=3, padding=AROUND),
        "depthwise": filtered,
        "depthwise_odd": workload(
            "depthwise", (20, 20), (13, 9), lanes, batch=2, kernel=5, stride=2,
            padding=(2, 2, 2, 2), activation="hardswish",
        ),
        "pointwise": workload("pointwise", (128, 256), (14, 14), lanes, activation="relu6"),
        "pointwise_small": workload("pointwise", (512, 1024), (7, 7), lanes, activation="relu6"),
        "pointwise_odd": workload("pointwise", (24, 40), (5, 7), lanes, batch=3, residual=True),
        "pointwise_batch": workload("pointwise", (256, 256), (14, 14), lanes, batch=64),
        "separable": fused_pair(filtered, 128, lanes),
        "pool": workload("pool", (72, 72), (7, 7), lanes, batch=2),
        "scale": workload("scale", (72, 72), (14, 14), lanes, batch=2),
        "dense": workload("dense", (256, 100), (1, 1), lanes),
        "dense_batch": workload("dense", (256, 1000), (1, 1), lanes, batch=64),
    }  # fmt: skip


NAMES = list(works(4))


@pytest.fixture(scope="module")
def control(target_name: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("control") / "control.json")
    build_control({"target": parse(target_name).to_dict(), "path": path})
    return path


def ran(work: Workload, target: TargetSpec, knobs: Any, path: Path, control: str) -> dict[str, Any]:
    about = {"work": dataclasses.asdict(work), "target": target.to_dict()}
    said = build({**about, "knobs": dict(knobs), "path": str(path)})
    assert said == {}, said
    request = {**about, "path": str(path), "control": control, "cold_bytes": 1 << 20, "best": None}
    return measure(json.loads(json.dumps(request)))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_by_rule(name: str, dtype: Dtype, target_name: str, tmp_path: Path, control: str) -> None:
    target = parse(target_name, dtype=dtype)
    work = dataclasses.replace(works(target.lanes)[name], dtype=dtype)
    found = ran(work, target, {}, tmp_path / "rule.json", control)
    assert found["outcome"] == "ok", found
    print(f"{work.key}: {found['seconds'] * 1e6:.2f} us, error {found['error']:.1e}")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_with_any_knobs(
    name: str, dtype: Dtype, target_name: str, tmp_path: Path, control: str
) -> None:
    target = parse(target_name, dtype=dtype)
    work = dataclasses.replace(works(target.lanes)[name], dtype=dtype)
    space, rng = Space(work, target), random.Random(0)
    for seed in range(SEEDS):
        knobs = space.sample(rng)
        assert knobs is not None
        found = ran(work, target, knobs, tmp_path / f"{seed}.json", control)
        assert found["outcome"] == "ok", (knobs, found)

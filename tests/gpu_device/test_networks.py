"""Whole networks on a GPU: verified, profiled, tuned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tvm_mobilenet as tm
from tvm_mobilenet.machine import Dtype
from tvm_mobilenet.profile.gpu import profile_on_gpu


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("batch", [1, 64])
def test_v1_is_right(target_name: str, dtype: Dtype, batch: int, tmp_path: Path) -> None:
    model = tm.mobilenet_v1(batch=batch)
    compiled = tm.compile(model, target=target_name, dtype=dtype)  # verifies: a GPU is here
    assert compiled.manifest["verification"]
    module = tm.load(compiled.export(tmp_path / "m.so"))
    x = np.random.default_rng(1).standard_normal(model.input_shape, np.float32)
    first, second = module(x), module(x)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, module(x + 1))


@pytest.mark.parametrize("name", ["v2", "v3-small", "v3-large"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_other_families_are_right(target_name: str, dtype: Dtype, name: str) -> None:
    assert tm.compile(name, target=target_name, dtype=dtype).manifest["verification"]


def test_a_profile_is_below_the_roofline(target_name: str, tmp_path: Path) -> None:
    path = tm.compile("v1", target=target_name).export(tmp_path / "m.so")
    found = profile_on_gpu(path)
    assert found.kernels_us > found.bound_us
    assert all(row.us > 0 for row in found.rows)


def test_the_tuner_measures_and_its_records_are_used(target_name: str, tmp_path: Path) -> None:
    model = tm.mobilenet_v1(0.25, 64, classes=10)
    found = tm.tune(model, trials=40, target=target_name, log_dir=tmp_path)
    assert not found.problems
    kept = [row for row in found.rows if row.best_s is not None]
    assert len(kept) > 10
    compiled = tm.compile(model, target=target_name, records=tmp_path)
    assert {call["source"] for call in compiled.manifest["calls"]} >= {"record"}

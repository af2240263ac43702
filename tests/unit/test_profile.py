"""The profile: its sums, kernels one by one, what measures the machine, the drawing."""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tvm_mobilenet as tm
from tvm_mobilenet.bench import bandwidth
from tvm_mobilenet.bench.machine import Machine
from tvm_mobilenet.cli.layout import lines
from tvm_mobilenet.errors import ArtifactError, InputError
from tvm_mobilenet.machine import PRESETS, host
from tvm_mobilenet.profile import KernelProfile, ProfileReport
from tvm_mobilenet.runtime.artifact import write_manifest
from tvm_mobilenet.runtime.inputs import aligned_empty
from tvm_mobilenet.runtime.kernels import Kernels, Split
from tvm_mobilenet.runtime.module import Module
from tvm_mobilenet.runtime.tvm_library import load_runtime

MACHINE = Machine(
    threads=2,
    peak_gflops=400.0,
    bandwidth={"L2": 400.0, "L3": 200.0, "memory": 40.0},
    capacity={"L2": 2 << 20, "L3": 32 << 20},
)


def row(**changes: Any) -> KernelProfile:
    values: dict[str, Any] = {
        "layers": ("block1.pw",),
        "kernel": "pointwise",
        "operator": "pointwise",
        "schedule": "cpu.pointwise",
        "macs": 20_000_000,
        "moved": {"input": 400_000, "weights": 200_000, "output": 400_000},
        "network_us": 125.0,
        "alone_us": 110.0,
        "compute_us": 100.0,
        "memory_us": 5.0,
        "level": "L2",
        "split": Split(1, 198.0, 104.0, 6.0),
        "threads": 2,
    }
    return KernelProfile(**{**values, **changes})


SERIAL = row(
    layers=("pool",),
    kernel="pool",
    macs=0,
    compute_us=0.0,
    split=Split(0, 0.0, 0.0, 0.0),
    alone_us=4.0,
)


def report(*rows: KernelProfile, call_us: float = 300.0, **changes: Any) -> ProfileReport:
    return ProfileReport("MobileNet V1", "native (znver5)", MACHINE, rows, call_us, **changes)


def test_a_row_adds_up() -> None:
    one = row()
    assert one.bound_us == 100.0
    assert one.bound_by == "compute"
    assert row(memory_us=101.0).bound_by == "L2"
    assert one.gflops == pytest.approx(320.0)
    assert one.share == pytest.approx(0.8)
    assert one.bytes == 1_000_000
    assert one.gbytes == pytest.approx(8.0)
    assert one.intensity == pytest.approx(40.0)
    assert one.waiting == pytest.approx(1 - 198 / 208)
    assert one.pool_us == pytest.approx(6.0)
    assert SERIAL.waiting == 0.5
    assert SERIAL.pool_us == 0.0


def test_totals_add_up() -> None:
    totals = report(row(), row(), SERIAL).totals()
    assert totals["network"] == pytest.approx(375.0)
    assert totals["alone"] == pytest.approx(224.0)
    assert totals["compute"] == pytest.approx(200.0)
    assert totals["bound"] == pytest.approx(205.0)
    assert totals["between"] == pytest.approx(-75.0)
    assert totals["uneven"] == pytest.approx(2 * (104 - 99))
    assert totals["serial"] == pytest.approx(2.0)
    assert totals["pool"] == pytest.approx(12.0)


def test_a_busy_machine_shows() -> None:
    assert not report(row()).disturbed
    assert report(row(), busy=0.5).disturbed


def test_json_form_holds_what_the_table_shows() -> None:
    data = json.loads(json.dumps(report(row(), SERIAL).to_dict()))
    assert data["threads"] == 2
    assert data["machine"]["bandwidth"]["L3"] == 200.0
    assert data["totals_us"]["call"] == 300.0
    first = data["rows"][0]
    assert first["layers"] == ["block1.pw"]
    assert first["share_of_peak"] == pytest.approx(0.8)
    assert first["moved"]["weights"] == 200_000


def test_table_names_layers_and_losses() -> None:
    shown = "\n".join(lines(report(row(), SERIAL).table(), None))
    assert re.search(r"block1\.pw +125\.0 +110\.0 +100\.0 +compute +320\.0 +80\.0%", shown)
    assert re.search(r"pool +125\.0 +4\.0 .* - +-", shown)
    assert "to kernels on one thread (pool), " in shown
    assert "L2 400, L3 200, memory 40" in shown
    assert "lost by threads: 5 us (1.7%) to uneven parts, 2 us (0.7%)" in shown


def test_bytes_come_from_the_nearest_level_that_holds_them() -> None:
    assert MACHINE.level_of(1 << 20) == "L2"
    assert MACHINE.level_of((2 << 20) + 1) == "L3"
    assert MACHINE.level_of(1 << 30) == "memory"


# What measures the machine.


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_footprints_tell_the_levels_apart(threads: int) -> None:
    spec = PRESETS["x86-64-v4"]
    sizes = bandwidth.footprints(spec, threads)
    assert sizes["L2"] < spec.l2_bytes
    assert sizes["memory"] * threads >= max(4 * spec.l3_bytes, 128 << 20)
    if "L3" in sizes:
        assert sizes["L3"] >= 2 * spec.l2_bytes
        assert sizes["L3"] * threads <= spec.l3_bytes // 2
    small = bandwidth.footprints(PRESETS["rpi4"], threads)
    assert "L3" not in small


def test_reading_kernel_reads_everything() -> None:
    import tvm

    spec = host()
    module = bandwidth.reading_module(2, spec.lanes, steps=3, repeats=5)
    function = tvm.compile(module, target=tvm.target.Target(spec.tvm_dict()))["main"]
    x = np.random.default_rng(0).integers(0, 9, (2, 3, bandwidth.VECTORS, spec.lanes))
    y = tvm.runtime.tensor(np.zeros((2, bandwidth.VECTORS, spec.lanes), np.float32))
    function(tvm.runtime.tensor(x.astype(np.float32)), y)
    np.testing.assert_array_equal(y.numpy(), 5 * x.sum(axis=1))


@pytest.mark.parametrize("name", ["native", "x86-64-v3", "rpi4"])
def test_reading_kernel_keeps_its_sums_in_registers(name: str) -> None:
    """One addition from memory for each vector of a step, one store for each sum."""
    import tvm

    spec = host() if name == "native" else PRESETS[name]
    module = bandwidth.reading_module(1, spec.lanes, steps=64, repeats=4)
    target = tvm.target.Target(spec.tvm_dict())
    assembly = tvm.compile(module, target=target).mod.inspect_source("asm")
    add = r"\bfadd\s+v\d+\.4s" if spec.machine == "aarch64" else r"\bvaddps\b"
    found = list(re.finditer(add, assembly))
    assert len(found) >= bandwidth.VECTORS
    loop = assembly[found[0].start() : found[bandwidth.VECTORS - 1].end()]
    assert not re.search(r"\(%rsp\)|\[sp", loop)


# Kernels one by one.


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tm.mobilenet_v1(alpha=0.25, resolution=49, classes=10)
    return tm.compile(model).export(tmp_path_factory.mktemp("profile") / "small.so")


@pytest.fixture(scope="module")
def module(small: Path) -> Module:
    return tm.load(small, threads=1)


@pytest.fixture(scope="module")
def x(module: Module) -> np.ndarray:
    shape = module.inputs[0]["shape"]
    return np.random.default_rng(3).standard_normal(shape, np.float32)


def test_replayed_kernels_are_the_network(module: Module, x: np.ndarray) -> None:
    kernels = module.kernels(x)
    calls = module.manifest["calls"]
    assert len(kernels) == len(calls)
    last = kernels._arrays[-1]
    want = last.copy()
    np.testing.assert_array_equal(want, module(x))
    last[...] = np.nan
    spans = kernels.replay()
    np.testing.assert_array_equal(last, want)
    assert len(spans) == len(calls)
    assert min(spans) > 0


@pytest.mark.alone
def test_alone_is_of_the_order_of_the_network(module: Module, x: np.ndarray) -> None:
    kernels = module.kernels(x)
    position = max(range(len(kernels)), key=lambda i: module.manifest["calls"][i]["macs"])
    inside = float(np.median([kernels.replay()[position] for _ in range(20)]))
    assert 0.1 * inside < kernels.alone(position, repeats=3, milliseconds=2) < 3 * inside


def test_manifest_says_what_each_kernel_moves(module: Module) -> None:
    moved = [call["bytes"] for call in module.manifest["calls"]]
    assert moved[0]["input"] == 4 * 3 * 49 * 49
    assert moved[-1]["output"] == 4 * 10
    # Batch norms are folded away, blocks are filled up: about the parameters in all.
    weights = sum(each["weights"] for each in moved)
    assert 0.9 < weights / (4 * module.manifest["params"]) < 1.3
    for one, following in itertools.pairwise(moved):
        assert following["input"] == one["output"]


def test_splitting_changes_no_number(module: Module, x: np.ndarray) -> None:
    kernels = module.kernels(x)
    output = kernels._arrays[-1]
    want = output.copy()
    for position in range(len(kernels)):
        split = kernels.split(position, repeats=2)
        assert split.work_us == pytest.approx(split.longest_us)  # one thread has it all
    kernels.replay()
    np.testing.assert_array_equal(output, want)
    np.testing.assert_array_equal(module(x), want)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """A shared object with one kernel: three equal units in a parallel loop, and one without."""
    import tvm
    from tvm import s_tir, te

    def units() -> Any:
        x = te.placeholder((16,), name="x")
        k = te.reduce_axis((0, 100_000), name="k")
        chain = te.comm_reducer(
            lambda y, v: y * v + 1e-6, lambda dtype: tvm.tirx.const(1.0, dtype), name="chain"
        )
        y = te.compute((3, 16), lambda t, i: chain(x[i], axis=k), name="y")
        return s_tir.Schedule(te.create_prim_func([x, y]))

    shared, serial = units(), units()
    shared.parallel(shared.get_loops(shared.get_sblock("y"))[0])
    functions = {
        name: schedule.mod["main"].with_attr("global_symbol", name)
        for name, schedule in (("shared", shared), ("serial", serial))
    }
    path = str(tmp_path_factory.mktemp("units") / "units.so")
    target = tvm.target.Target(host().tvm_dict())
    tvm.compile(tvm.IRModule(functions), target=target).export_library(path)
    return path, load_runtime().load_module(path)


def units_kernels(library: tuple[str, Any]) -> tuple[Kernels, np.ndarray]:
    path, loaded = library
    ffi = load_runtime()
    x, y = (aligned_empty(shape, np.float32) for shape in ((16,), (3, 16)))
    x[:], y[:] = 0.5, np.nan
    arguments = (ffi.from_dlpack(x), ffi.from_dlpack(y))
    calls = [(name, arguments) for name in ("shared", "serial")]
    return Kernels(SimpleNamespace(name=path), loaded, ffi, calls, 2), y


@pytest.mark.alone
def test_uneven_parts_are_found(library: tuple[str, Any]) -> None:
    """Three units on two threads: one thread has two of them, and the other waits for half."""
    kernels, _ = units_kernels(library)
    split = kernels.split(0, repeats=21)
    assert split.regions == 1
    assert row(split=split).waiting == pytest.approx(1 / 4, abs=0.08)
    assert kernels.split(1, repeats=2) == Split(0, 0.0, 0.0, 0.0)


def test_splitting_computes_everything_and_is_undone(library: tuple[str, Any]) -> None:
    kernels, y = units_kernels(library)
    pointer = ctypes.c_void_p.in_dll(ctypes.CDLL(library[0]), "__TVMBackendParallelLaunch")
    before = pointer.value
    kernels.split(0, repeats=1)
    assert pointer.value == before
    split = y.copy()
    kernels.alone(1, repeats=1, milliseconds=1)
    assert np.isfinite(split).all()
    np.testing.assert_array_equal(split, y)


# What cannot be profiled.


def test_an_artifact_that_says_no_bytes_is_told_so(small: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.so"
    shutil.copy(small, old)
    manifest = tm.load(small).manifest
    calls = [{k: v for k, v in call.items() if k != "bytes"} for call in manifest["calls"]]
    untold = {k: v for k, v in manifest.items() if k != "memory"}
    write_manifest(old, {**untold, "calls": calls})
    with pytest.raises(ArtifactError, match="older version"):
        tm.profile(old, threads=1)


def test_numbers_that_make_no_sense(small: Path) -> None:
    with pytest.raises(InputError, match="this process may run on"):
        tm.profile(small, threads=len(os.sched_getaffinity(0)) + 1)
    with pytest.raises(InputError, match="repeats is 0"):
        tm.profile(small, threads=1, repeats=0)


# The drawing.


def test_a_peak_that_is_exceeded_is_measured_again(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvm_mobilenet.profile import session

    low = dataclasses.replace(MACHINE, threads=1, peak_gflops=0.01)
    peaks = iter([(0.001, 1.0, 0.005), (1e3, 1.02, 1e6), (1e9, 1.0, 1e9)])
    monkeypatch.setattr(session, "measure_machine", lambda *_: low)
    monkeypatch.setattr(session, "measure_peak", lambda *_: next(peaks))
    found = tm.profile(small, threads=1, repeats=1)
    assert found.machine.peak_gflops == 1e6
    assert found.beyond_peak == ()

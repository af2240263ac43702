"""Layers of bfloat16 among layers in integers: kernels bit for bit, networks within bounds."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integer_kernels import ran
from integer_networks import odd_network
from test_sixteen_networks import BFDOT, NATIVE, PROGRAM, here

import tvm_mobilenet as tm
from tvm_mobilenet.compilation.options import PlanOptions
from tvm_mobilenet.errors import QuantizationError, TargetError, VerificationError
from tvm_mobilenet.machine import host
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.quantized.storing import stored_as
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.runtime.artifact import read_manifest
from tvm_mobilenet.tuning.store import Found
from tvm_mobilenet.tuning.works import workloads
from tvm_mobilenet.verify.artifact import sample_input
from tvm_mobilenet.verify.integer_case import integer_case

TARGET = dataclasses.replace(host(), dtype="bfloat16")
KEPT = [("p2", "f1", "s2"), ("d2", "p3", "p4", "g1"), ("m1", "t1", "a3", "y")]
"""Convolutions that begin and end in the middle of a block, factors, sums, the classifier."""

MODEL = tm.build("v1", alpha=0.25, resolution=32, classes=10)
IMAGES = [sample_input((3, 32, 32), at) for at in range(4)]


def works() -> dict[str, Workload]:
    """Return the kernels in integers that read or write bfloat16."""
    found = {}
    for keep in KEPT:
        made = odd_network(2, keep)
        for call in plan_network(made.model, TARGET, records=made.records).calls:
            if call.work.integer and "bfloat16" in (*call.work.in_dtypes, call.work.out_dtype):
                found[call.work.tuned.key] = call.work.tuned
    return found


@here
def test_kernels_between_types_are_right_to_the_last_bit() -> None:
    found = works()
    operators = {work.operator for work in found.values()}
    assert operators >= {"quantize_blocks", "dequantize_blocks", "qadd"}
    assert {work.operator for work in found.values() if work.out_dtype} > {"dequantize_blocks"}
    for work in found.values():
        case = integer_case(work, 1)
        got = ran(work, TARGET, case.inputs, (case.want.shape, case.dtype))
        assert got.dtype == (np.uint16 if work.out_dtype else np.uint8)
        assert case.error(got) == 0.0, work.key
        at = tuple(np.argwhere(case.bound == 0)[3])
        got[at] ^= 1
        with pytest.raises(VerificationError, match="1 of"):
            case.error(got)


@here
@pytest.mark.parametrize(("keep", "in_blocks"), [(KEPT[0], True), (KEPT[2], False)])
def test_a_network_of_both(keep: tuple[str, ...], in_blocks: bool) -> None:
    """Compiling verifies each kernel; the whole is near what rounding in NumPy makes of it."""
    made = dataclasses.replace(odd_network(2, keep), kept_as="auto")
    compiled = tm.compile(made)
    calls = compiled.manifest["calls"]
    assert compiled.manifest["target"]["dtype"] == "bfloat16"
    assert all(call["layers"] for call in calls) == in_blocks
    stored = {name: call.get("stored") for call in calls for name in call["layers"]}
    assert {stored[name] for name in keep} == {"bfloat16"}
    assert stored["c1"] == "uint8"
    x = sample_input(made.model.input_shape, 5)
    network = QuantizedModel(made.model, made.records)
    want = reference.run(network, made.weights, x, "bfloat16")["z"]
    exact = reference.run(network, made.weights, x)["z"]
    assert not np.array_equal(want, exact)
    got = compiled.module(x)
    assert np.linalg.norm(got - want) < 5e-3 * np.linalg.norm(want)


@here
def test_what_is_kept_is_bfloat16_where_the_target_has_it(tmp_path: Path) -> None:
    network, report = tm.quantize(MODEL, IMAGES, keep=["block1.dw"], method="mse")
    assert (report.kept["block1.dw"], report.stored["block1.dw"]) == ("asked for", "bfloat16")
    assert report.stored["softmax"] == "float32"
    assert "1 in bfloat16, 1 in float32" in report.summary
    assert "bfloat16: asked for" in str(report.table())
    assert network.kept_as == "auto"
    path = tm.compile(network).export(tmp_path / "q.so")
    assert read_manifest(path)["target"]["dtype"] == "bfloat16"
    tm.verify(path).check()
    steps = tm.explain(network, target="znver5").steps
    assert {step.operator for step in steps} >= {"depthwise", "quantize_blocks"}
    tuned, _ = workloads(network.model, TARGET, "auto", Found(), network.records)
    assert {"depthwise", "quantize_blocks"} <= {work.operator for work, _ in tuned.values()}
    assert PlanOptions(target="x86-64-v3").keeping("auto").spec.dtype == "float32"
    assert PlanOptions(target="znver5", dtype="float32").keeping("auto").spec.dtype == "float32"
    assert PlanOptions(target="znver5", dtype="int8").keeping("auto").spec.dtype == "bfloat16"


def test_the_budget_decides_the_type() -> None:
    alone, least = tm.quantize(MODEL, IMAGES, method="mse")
    assert alone.kept_as == "float32"
    some, better = tm.quantize(MODEL, IMAGES, method="mse", min_sqnr=least.logits + 2)
    kept = {name for name, why in better.kept.items() if why == "budget"}
    assert kept
    assert {better.stored[name] for name in kept} == {"bfloat16"}
    assert (some.kept_as, better.logits >= least.logits + 2) == ("auto", True)
    exact, best = tm.quantize(MODEL, IMAGES, method="mse", min_sqnr=75.0)
    assert (exact.kept_as, best.logits >= 75) == ("float32", True)
    assert set(best.stored.values()) == {"float32"}
    with pytest.raises(QuantizationError, match="every layer in bfloat16"):
        tm.quantize(MODEL, IMAGES, method="mse", min_sqnr=75.0, keep_as="bfloat16")


@pytest.mark.parametrize("keep_as", ["float16", None])
def test_other_types_are_refused(keep_as: Any) -> None:
    with pytest.raises(QuantizationError, match="keep_as"):
        tm.quantize(MODEL, IMAGES, keep_as=keep_as)


def test_a_target_without_it_is_refused() -> None:
    made = dataclasses.replace(odd_network(2, KEPT[0]), kept_as="bfloat16")
    with pytest.raises(TargetError, match="'rpi4' has no instruction that we multiply bfloat16 by"):
        tm.compile(made, target="rpi4")


def test_on_arm(tmp_path: Path) -> None:
    """Elements are int8 there, and each number is rounded where it is here."""
    emulator = shutil.which("qemu-aarch64-static")
    compiler = shutil.which("aarch64-linux-gnu-gcc")
    if emulator is None or compiler is None:
        pytest.skip("no emulated ARM: apt install qemu-user-static gcc-aarch64-linux-gnu")
    made = dataclasses.replace(odd_network(2, KEPT[0]), kept_as="auto")
    board = tm.compile(made, target=BFDOT, emit="a")
    stored = {call.get("stored") for call in board.manifest["calls"]}
    assert stored == {"int8", "bfloat16"}
    archive, x = board.export(tmp_path / "libnet.a"), sample_input(made.model.input_shape, 3)
    x.tofile(tmp_path / "in.bin")
    options = ["-static", "-std=c11", "-D_ISOC11_SOURCE", "-pthread", f"-I{NATIVE}"]
    parts = [str(PROGRAM), str(archive), "-lm", "-o", str(tmp_path / "program")]
    subprocess.run([compiler, *options, *parts], check=True)
    files = [str(tmp_path / "in.bin"), str(tmp_path / "out.bin")]
    command = [emulator, "-cpu", "max", str(tmp_path / "program"), "2", "own", *files]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
    got = np.fromfile(tmp_path / "out.bin", np.float32)
    network = stored_as(QuantizedModel(made.model, made.records), "int8")
    want = reference.run(network, made.weights, x, "bfloat16")["z"].ravel()
    assert np.linalg.norm(got - want) < 5e-3 * np.linalg.norm(want)

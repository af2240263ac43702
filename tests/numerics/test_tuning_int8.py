"""Tuning kernels in integers: right bit for bit, and kept for networks of any calibration."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integer_kernels import NATIVE, ran, skip_unless_here, target_of
from integer_networks import conv, joined_network, odd_network, pixel_network, quantized
from tvm_mobilenet.schedules.knobs import TRACE

import tvm_mobilenet as tm
from tvm_mobilenet.errors import RecordsWarning, TuningError, VerificationError
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.fusion import Fusion
from tvm_mobilenet.quantization.made_up import made_up
from tvm_mobilenet.tuning.generation import tvm_version
from tvm_mobilenet.tuning.records import Record, target_key
from tvm_mobilenet.tuning.sampling import GUARD, blank, judge
from tvm_mobilenet.tuning.space import Space
from tvm_mobilenet.tuning.store import HISTORY, Found, Store
from tvm_mobilenet.tuning.works import workloads
from tvm_mobilenet.verify.integer_case import UNMADE, integer_case

TARGET = target_of(NATIVE)
_FIRST = conv("c1", (1, 3, 12, 12), 24, 3, padding=(1, 1, 1, 1), activation="relu6")
TINY = Model("tiny", "tiny", {}, _FIRST.in_shape, (_FIRST, conv("p1", _FIRST, 33)))
FACTS: dict[str, Any] = {
    "kind": "kernel", "target": target_key(TARGET), "threads": 1, "seconds": 1e-4, "instead": 2e-4,
    "repeats": 9, "spread": 0.0, "machine": "nowhere", "date": "2026-01-01", "verified": True,
    "error": 0.0, "tvm": "0.27.0",
}  # fmt: skip


def works(name: str) -> dict[str, Workload]:
    """Return every kernel of a network of odd sizes, with islands of float32 and without."""
    found = {}
    for keep in ((), ("p2", "f1", "s2")):
        made = odd_network(2, keep)
        for fusion in ("none", "all"):
            how: Fusion = fusion
            plan = plan_network(made.model, target_of(name), records=made.records, fusion=how)
            found |= {call.work.key: call.work for call in plan.calls if call.work.integer}
    return found


@pytest.mark.parametrize("made", [joined_network, pixel_network])
def test_what_has_no_data_is_left_to_its_rule(made: Callable[[], Network]) -> None:
    """The rest of the network is tuned."""
    network = made()
    tuned, _ = workloads(network.model, TARGET, "auto", Found(), network.records)
    found = [work for work, _ in tuned.values() if work.integer]
    assert found
    assert not {work.operator for work in found} & UNMADE
    for work in found:
        assert integer_case(work).want.size


@pytest.mark.parametrize("name", [NATIVE, "x86-64-v3"])
def test_every_kernel_has_data_and_an_answer(name: str) -> None:
    """With other knobs than the rule's; on one of the targets as it is tuned."""
    skip_unless_here(name)
    target, rng = target_of(name), random.Random(0)
    found = works(name)
    # Maps of float32 have the blocks of integers where a register has.
    steps = {"quantize_blocks", "dequantize_blocks"} if target.lanes == 16 else {"dequantize"}
    assert {work.operator for work in found.values()} >= steps | {
        "quantize", "qadd", "qconv", "qdense", "qdepthwise", "qpointwise", "qpool", "qscale",
        "qseparable", "qtable",
    }  # fmt: skip
    for work in found.values():
        one = work if name == NATIVE else work.tuned
        case, knobs = integer_case(one, 1), Space(one, target).sample(rng)
        got = ran(one, target, case.inputs, (case.want.shape, case.dtype), knobs)
        assert case.error(got) == 0.0, (one.key, knobs)
        if case.dtype != "float32":
            assert np.ptp(case.want[np.isfinite(case.bound)]) > 15, one.key


def test_one_wrong_element_is_seen() -> None:
    work = next(work for work in works(NATIVE).values() if work.operator == "qseparable")
    case = integer_case(work)
    space = blank(case)
    with pytest.raises(VerificationError, match=f"{np.isfinite(case.bound).sum()} of"):
        judge(case, space)  # nothing was written
    inside = space[GUARD:-GUARD].reshape(case.want.shape)
    inside[...] = case.want
    inside[np.isinf(case.bound)] = 77
    assert judge(case, space) == 0.0
    at = tuple(np.argwhere(case.bound == 0)[5])
    inside[at] ^= 1
    with pytest.raises(VerificationError, match="1 of"):
        judge(case, space)
    inside[at] ^= 1
    space[GUARD - 1] ^= 1
    with pytest.raises(VerificationError, match="outside its output"):
        judge(case, space)


@pytest.mark.parametrize("name", ["v1", "v2", "v3-large", "v3-small"])
def test_what_is_tuned_does_not_depend_on_the_calibration(name: str) -> None:
    model = tm.build(name, alpha=0.5, resolution=32)
    calibrated = quantized(model)
    told = [tm.explain(model, dtype="int8", target=TARGET), tm.explain(calibrated, target=TARGET)]
    assert told[0].total.cycles == told[1].total.cycles
    keys = [
        [
            call.work.tuned.key
            for call in plan_network(made.model, TARGET, records=made.records).calls
        ]
        for made in (made_up(model), QuantizedModel(calibrated.model, calibrated.records))
    ]
    assert keys[0] == keys[1]


def test_a_tiny_network_from_end_to_end(tmp_path: Path) -> None:
    report = tm.tune(TINY, trials=4, target=TARGET, dtype="int8", log_dir=tmp_path)
    assert report.title == "tiny in int8"
    assert {row.operator for row in report.rows} == {"quantize", "qconv", "qpointwise"}
    assert sum(row.trials for row in report.rows) == 4
    assert (report.status.failures, report.problems) == ({}, ())
    assert all(row.bound_s >= 0 and row.best_s for row in report.rows)
    before = (tmp_path / HISTORY).read_bytes()
    more = tm.tune(quantized(TINY, 2), trials=6, target=TARGET, log_dir=tmp_path)
    assert more.status.fresh == 2
    assert (tmp_path / HISTORY).read_bytes().startswith(before)
    made = quantized(TINY, 1)
    compiled = tm.compile(made, target=TARGET, records=tmp_path, require_records=True)
    by_layer = {tuple(call["layers"]): call for call in compiled.manifest["calls"]}
    kept = {row.layers: row.knobs for row in more.rows}
    assert by_layer["c1",]["source"] == "record"
    assert by_layer["c1",]["knobs"] == kept["c1",]
    assert by_layer["p1",]["knobs"] == kept["p1",]


def test_records_are_used_and_never_trusted(tmp_path: Path) -> None:
    made = quantized(TINY, 1)
    plan = plan_network(made.model, TARGET, records=made.records)
    first, second = (
        next(call.work for call in plan.calls if call.work.operator == operator)
        for operator in ("qconv", "qpointwise")
    )
    other = Space(first, TARGET).nearest({"tile": "3x2", "chunks": 6})
    assert other != Space(first, TARGET).rule
    with Store(tmp_path).writing() as writer:
        for work, knobs in ((first, other), (second, {"tile": "99x1"})):
            key = work.tuned.key
            writer.keep(Record(operator=work.operator, workload=key, knobs=knobs, **FACTS))
    with pytest.warns(RecordsWarning, match="knob 'tile' is '99x1'"):
        compiled = tm.compile(made, target=TARGET, records=tmp_path)
    calls = {call["operator"]: call for call in compiled.manifest["calls"]}
    assert (calls["qconv"]["knobs"], calls["qconv"]["source"]) == (other, "record")
    assert calls["qpointwise"]["source"] == "rule"
    told = tm.explain(made, target=TARGET, records=tmp_path)
    knobs = {kernel.operator: kernel.knobs for step in told.steps for kernel in step.kernels}
    assert knobs["qconv"] == other


def test_a_trace_is_no_record_of_a_kernel_that_is_written(tmp_path: Path) -> None:
    made = quantized(TINY, 1)
    plan = plan_network(made.model, TARGET, records=made.records)
    work = next(call.work for call in plan.calls if call.work.operator == "qconv")
    with Store(tmp_path).writing() as writer:
        key, facts = work.tuned.key, FACTS | {"tvm": tvm_version()}
        writer.keep(Record(operator="qconv", workload=key, knobs={TRACE: "[]"}, **facts))
    with pytest.warns(RecordsWarning, match="no knob 'trace'"):
        compiled = tm.compile(made, target=TARGET, records=tmp_path)
    assert "record" not in {call["source"] for call in compiled.manifest["calls"]}
    with pytest.raises(TuningError, match="auto proposes nothing for kernels in int8"):
        tm.tune(made, trials=1, target=TARGET, tuner="auto", log_dir=tmp_path / "none")

"""Tuning kernels on bfloat16: within their bounds, with records that no other type takes."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
from integer_networks import conv
from test_bfloat16_kernels import answer
from tvm_mobilenet.schedules.knobs import TRACE

import tvm_mobilenet as tm
from tvm_mobilenet.errors import RecordsWarning, TuningError, VerificationError
from tvm_mobilenet.machine import host
from tvm_mobilenet.machine.arithmetic import has_products
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.tuning.generation import tvm_version
from tvm_mobilenet.tuning.records import Record, target_key
from tvm_mobilenet.tuning.sampling import GUARD, NotANumberError, blank, judge
from tvm_mobilenet.tuning.space import Space
from tvm_mobilenet.tuning.store import Store
from tvm_mobilenet.verify.cases import case_of

pytestmark = pytest.mark.skipif(
    not has_products(host().isa, host().needs, "bfloat16"),
    reason="this processor does not multiply bfloat16",
)

TARGET = dataclasses.replace(host(), dtype="bfloat16")
_FIRST = conv("c1", (1, 3, 12, 12), 24, 3, padding=(1, 1, 1, 1), activation="relu6")
TINY = Model("tiny", "tiny", {}, _FIRST.in_shape, (_FIRST, conv("p1", _FIRST, 33)))


def works() -> dict[str, Workload]:
    model = tm.build("v3-small", alpha=0.35, resolution=32, classes=10)
    found = {}
    for fusion in ("none", "all"):
        plan = plan_network(model, TARGET, fusion=fusion)
        found |= {call.work.key: call.work for call in plan.calls if call.work.written}
    return found


def test_kernels_are_right_with_other_knobs_than_the_rules() -> None:
    rng, found = random.Random(3), works()
    one_each = {work.operator: work for work in found.values()}
    assert one_each.keys() == {
        "conv", "dense", "depthwise", "pointwise", "pool", "scale", "separable",
    }  # fmt: skip
    for work in one_each.values():
        knobs, case = Space(work, TARGET).sample(rng), case_of(work)
        got = answer(work, case, tuple(knobs.items()))
        assert got.dtype == case.dtype
        assert case.error(got) < 2.0**-6, (work.key, knobs)


def test_what_nobody_wrote_is_seen() -> None:
    work = next(work for work in works().values() if work.operator == "pointwise")
    case = case_of(work)
    space = blank(case)
    with pytest.raises(NotANumberError, match=f"{case.want.size} numbers are none"):
        judge(case, space)
    inside = space[GUARD:-GUARD].reshape(case.want.shape)
    inside[...] = answer(work, case)
    assert 0 < judge(case, space) < 2.0**-6
    at = np.unravel_index(int(np.argmax(np.abs(case.want))), case.want.shape)
    inside[at] ^= 1 << 4
    with pytest.raises(VerificationError, match=r"1 of .* elements are wrong"):
        judge(case, space)


def test_a_tiny_network_from_end_to_end(tmp_path: Path) -> None:
    report = tm.tune(TINY, trials=4, dtype="bfloat16", log_dir=tmp_path)
    assert report.title == "tiny in bfloat16"
    assert {row.operator for row in report.rows} == {"conv", "pointwise"}
    assert sum(row.trials for row in report.rows) == 4
    assert (report.status.failures, report.problems) == ({}, ())
    compiled = tm.compile(TINY, dtype="bfloat16", records=tmp_path, require_records=True)
    kept = {row.layers: row.knobs for row in report.rows}
    calls = {tuple(call["layers"]): call for call in compiled.manifest["calls"]}
    for layers, knobs in kept.items():
        assert (calls[layers]["knobs"], calls[layers]["source"]) == (knobs, "record")
    others = Store(tmp_path).find(host())
    for call in plan_network(TINY, host()).calls:
        assert others.knobs_for(call.work.tuned.key) is None
    with pytest.raises(TuningError, match="auto proposes nothing for kernels in bfloat16"):
        tm.tune(TINY, trials=1, dtype="bfloat16", tuner="auto", log_dir=tmp_path / "none")


def test_a_trace_is_no_record_of_a_kernel_that_is_written(tmp_path: Path) -> None:
    work = plan_network(TINY, TARGET).calls[1].work
    with Store(tmp_path).writing() as writer:
        writer.keep(
            Record(
                kind="kernel", operator="pointwise", workload=work.key, target=target_key(TARGET),
                threads=TARGET.cores, seconds=1e-4, instead=2e-4, repeats=9, spread=0.0,
                machine="nowhere", date="2026-01-01", verified=True, error=0.0,
                tvm=tvm_version(), knobs={TRACE: "[]"},
            )
        )  # fmt: skip
    with pytest.warns(RecordsWarning, match="no knob 'trace'"):
        compiled = tm.compile(TINY, target=TARGET, records=tmp_path)
    assert "record" not in {call["source"] for call in compiled.manifest["calls"]}

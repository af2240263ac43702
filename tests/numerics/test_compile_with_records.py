"""Compiling with tuning records: they are used, right, reported, and never trusted blindly."""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import workload_of
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet import api
from tvm_mobilenet.emit.relax.pipeline import lower
from tvm_mobilenet.errors import MissingRecordsError, RecordsError, RecordsWarning
from tvm_mobilenet.machine import host
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.prediction.fusion import Fusion
from tvm_mobilenet.tuning.fusion import compare
from tvm_mobilenet.tuning.records import Record, target_key
from tvm_mobilenet.tuning.store import Store

MODEL = mobilenet_v1(alpha=0.25, resolution=32, classes=10)
FUSIONS: tuple[Fusion, Fusion] = ("none", "all")
TARGET = dataclasses.replace(host(), cores=2)
FACTS: dict[str, Any] = {
    "target": target_key(TARGET), "threads": 2, "seconds": 1e-4, "instead": 2e-4, "repeats": 9,
    "spread": 0.0, "machine": "nowhere", "date": "2026-01-01", "verified": True, "error": 0.0,
    "tvm": "0.27.0",
}  # fmt: skip


def is_right(compiled: api.Compiled) -> bool:
    found = compiled.manifest["verification"]
    return bool(found["relative"] <= found["tolerance"])


class Other(Knobs):
    """Chooses at random what the rule would not, where there is a choice."""

    def __init__(self) -> None:
        super().__init__()
        self._random = random.Random(1)

    def _answer(self, name: str, options: Sequence[Any], default: Any) -> Any:
        return self._random.choice([o for o in options if o != default] or [default])


def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Record]:
    """Yield a record with other knobs than the rule's for every kernel of the network."""
    from tvm_mobilenet.emit.relax import schedule_kernels

    seen: list[tuple[str, Any]] = []

    def spy(func: Any, target: Any, knobs: Knobs) -> Any:
        work = workload_of(func)
        seen.append(("" if work is None else work.operator, func))
        return schedule(func, target, knobs)

    monkeypatch.setattr(schedule_kernels, "schedule", spy)
    lowered = lower(plan_network(MODEL, TARGET), initialize(MODEL, 0))
    monkeypatch.undo()
    for (operator, func), (name, kernel) in zip(seen, lowered.kernels.items(), strict=True):
        if kernel.knobs:
            knobs = Other()
            schedule(func, TARGET, knobs)
            assert knobs.chosen.keys()
            yield Record(
                kind="kernel", operator=operator, workload=name, knobs=knobs.chosen, **FACTS
            )


def test_every_kernel_by_record_is_right_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = list(kernels(monkeypatch))
    with Store(tmp_path).writing() as writer:
        assert all(writer.keep(record) for record in records)
    compiled = api.compile(MODEL, target=TARGET, records=tmp_path, require_records=True)
    assert is_right(compiled)
    by_workload = {record.workload: record.knobs for record in records}
    used = 0
    for call in compiled.manifest["calls"]:
        if call["kernel"] in by_workload:
            assert call["source"] == "record"
            assert call["knobs"] == by_workload[call["kernel"]]
            used += 1
    assert used >= 25
    assert {row.source for row in compiled.report.rows} <= {"record", "fallback"}
    # The same records, for another number of threads: not one is applied.
    alone = dataclasses.replace(TARGET, cores=1)
    with pytest.warns(RecordsWarning, match="has no record for .* on 1 threads"):
        ruled = api.compile(MODEL, target=alone, records=tmp_path, verify=False)
    assert "record" not in {call["source"] for call in ruled.manifest["calls"]}


def test_a_record_that_no_longer_fits_is_named_and_the_rule_used(tmp_path: Path) -> None:
    workload = next(
        call["kernel"]
        for call in api.compile(MODEL, target=TARGET, records=False, verify=False).manifest["calls"]
        if call["operator"] == "pointwise"
    )
    stale = Record(
        kind="kernel", operator="pointwise", workload=workload, knobs={"speed": 11}, **FACTS
    )
    with Store(tmp_path).writing() as writer:
        writer.keep(stale)
    (tmp_path / stale.target / "pool.jsonl").write_bytes(b"half a li")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled = api.compile(MODEL, target=TARGET, records=tmp_path)
    text = "\n".join(str(warning.message) for warning in caught)
    assert {warning.category for warning in caught} == {RecordsWarning}
    assert f"the record of {workload}: the schedule has no knob 'speed'" in text
    assert "pool.jsonl, line 1: the line is no JSON; skipped" in text
    assert is_right(compiled)
    assert {call["source"] for call in compiled.manifest["calls"]} <= {"rule", "fallback"}


def test_recorded_fusion_is_done_right_and_reported(tmp_path: Path) -> None:
    everything = api.compile(MODEL, target=TARGET, fusion="all", records=False, verify=False)
    shared = [c for c in everything.manifest["calls"] if c["operator"] in ("separable", "tail")]
    with Store(tmp_path).writing() as writer:
        for call in shared[::2]:
            writer.keep(
                Record(
                    kind="fusion", operator=call["operator"], workload=call["kernel"], fused=True,
                    **FACTS,
                )
            )  # fmt: skip
    compiled = api.compile(MODEL, target=TARGET, records=tmp_path)
    assert is_right(compiled)
    answers = {call["kernel"]: call for call in compiled.manifest["calls"] if "fusion" in call}
    for call in shared[::2]:
        fusion = answers[call["kernel"]]["fusion"]
        assert fusion["fused"]
        assert fusion["source"] == "record"
        assert fusion["why"] == "measured: fused 100.0, unfused 200.0 us, nowhere"
    assert "yes, record" in {row.fusion for row in compiled.report.rows}
    asked = api.compile(MODEL, target=TARGET, records=tmp_path, fusion="none", verify=False)
    assert not any(len(call["layers"]) > 1 for call in asked.manifest["calls"])


def test_required_records_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingRecordsError, match=r"kernels have no usable record.*conv_n1.*pool_"):
        api.compile(MODEL, target=TARGET, records=False, require_records=True)
    with pytest.raises(RecordsError, match="there is no folder"):
        api.compile(MODEL, target=TARGET, records=tmp_path / "nowhere")


def test_both_answers_are_measured_in_whole_networks(tmp_path: Path) -> None:
    alone = dataclasses.replace(TARGET, cores=1)
    paths = [tmp_path / "none.so", tmp_path / "all.so"]
    for path, fusion in zip(paths, FUSIONS, strict=True):
        api.compile(MODEL, target=alone, fusion=fusion, records=False, verify=False).export(path)
    found = compare(*paths, threads=1, rounds=1, passes=2)
    shared = {c["kernel"] for c in api.load(paths[1]).manifest["calls"] if len(c["layers"]) > 1}
    assert {one.workload for one in found} == shared
    assert all(one.fused.shape == one.unfused.shape == (1, 2) for one in found)
    assert all((one.fused > 0).all() and (one.unfused > 0).all() for one in found)

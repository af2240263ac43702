"""What the lines of a tuning folder amount to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tuning_folder import (
    CONTROL,
    KERNELS,
    MODEL,
    OTHER,
    POINTWISE,
    RULE,
    TARGET,
    damage,
    fill,
    network,
    trial,
)  # fmt: skip

from tvm_mobilenet.errors import OutputError, RecordsError
from tvm_mobilenet.tuning.charts import curve, roofline, ticks
from tvm_mobilenet.tuning.log import append
from tvm_mobilenet.tuning.page import render, write_page
from tvm_mobilenet.tuning.runs import RUNS, Part, Roofs, Spent, read_runs
from tvm_mobilenet.tuning.store import HISTORY
from tvm_mobilenet.tuning.summary import summarize
from tvm_mobilenet.tuning.trials import Final


def test_before_and_after_come_from_the_last_comparison(tmp_path: Path) -> None:
    fill(tmp_path)
    (section,) = summarize(tmp_path).reports
    rows = {row.workload: row for row in section.rows}
    assert (section.title, section.target, section.threads) == (MODEL, TARGET, 1)
    assert set(rows) == set(KERNELS)
    tuned = rows[POINTWISE]
    assert (tuned.rule_s, tuned.best_s, tuned.state) == (7e-6, 6.5e-6, "tuned")
    assert tuned.changes == (("pixels", "7", "4"),)
    assert tuned.gain == pytest.approx(0.5 / 7)
    kept = rows["conv_n1_i3_o8_s96x96"]
    assert (kept.rule_s, kept.best_s, kept.state, kept.changes) == (6e-6, 6e-6, "rule", ())
    # Calls count: 5 x 7 us is more than 6 us.
    assert section.rows[0].workload == POINTWISE
    assert section.rule_s == pytest.approx(sum(row.calls * row.rule_s for row in rows.values()))
    assert section.best_s < section.rule_s
    assert section.peak_gflops == pytest.approx(200, rel=0.02)
    macs = sum(calls * macs for calls, macs, *_ in KERNELS.values())
    assert section.bound_s == pytest.approx(2 * macs / section.peak_gflops / 1e9)


def test_without_a_comparison_the_best_is_open(tmp_path: Path) -> None:
    append(tmp_path / RUNS, network())
    history = tmp_path / HISTORY
    append(history, trial(POINTWISE, seconds=7e-6))
    append(history, trial(POINTWISE, seconds=6e-6, knobs=OTHER))
    append(history, trial("conv_n1_i3_o8_s96x96", seconds=6e-6))
    append(history, trial("conv_n1_i3_o8_s96x96", seconds=5.99e-6, knobs=OTHER))
    append(history, trial("softmax_n1_i10_o10", outcome="nan"))
    (section,) = summarize(tmp_path).reports
    rows = {row.workload: row for row in section.rows}
    assert rows[POINTWISE].state == "open"
    assert rows[POINTWISE].best_s == pytest.approx(6e-6)
    # Too little to be compared at all: the tuner keeps the rule's.
    assert rows["conv_n1_i3_o8_s96x96"].state == "rule"
    assert rows["conv_n1_i3_o8_s96x96"].best_s == pytest.approx(6e-6)
    none = rows["softmax_n1_i10_o10"]
    assert (none.state, none.rule_s, none.best_s, none.failed) == ("none", None, None, 1)
    assert rows["depthwise_n1_i64_o64_s12x12"].trials == 0
    assert section.failures == {"nan": 1}


def test_the_curve_is_the_network_with_the_best_so_far(tmp_path: Path) -> None:
    append(tmp_path / RUNS, network())
    history = tmp_path / HISTORY
    for key, (*_, seconds) in KERNELS.items():
        append(history, trial(key, seconds=seconds))
    # At half the clock a candidate takes twice the time, and the control kernel too.
    append(history, trial(POINTWISE, seconds=12e-6, control=2 * CONTROL, knobs=OTHER))
    append(history, trial(POINTWISE, seconds=9e-6, knobs={"pixels": 1}))
    append(history, trial(POINTWISE, outcome="hung", control=None, knobs={"pixels": 2}))
    (section,) = summarize(tmp_path).reports
    start = sum(calls * seconds for calls, _, _, seconds in KERNELS.values())
    want = [start] * 4 + [start - 5e-6] * 3
    assert [step.best_s for step in section.steps] == pytest.approx(want)
    assert [step.better for step in section.steps] == [False] * 4 + [True, False, False]
    assert section.steps[5].with_s == pytest.approx(start + 10e-6)
    assert section.steps[6].with_s is None
    drawn = curve(section)
    assert drawn is not None
    assert len(drawn.steps) == 1
    assert set(drawn.failed) == {"hung"}
    assert drawn.tried.count("M") == 6
    # Less time is further down.
    assert drawn.steps[0].y > drawn.start


def test_kernels_of_no_known_network_count_once(tmp_path: Path) -> None:
    append(tmp_path / HISTORY, trial(POINTWISE, seconds=7e-6))
    append(tmp_path / HISTORY, trial(POINTWISE, seconds=6e-6, knobs=OTHER))
    (section,) = summarize(tmp_path).reports
    assert section.title == ""
    assert (section.rule_s, section.best_s) == pytest.approx((7e-6, 6e-6))
    assert section.bound_s == 0
    assert roofline(section) is None
    assert curve(section) is not None
    assert "each counts once" in render(summarize(tmp_path))


def test_targets_threads_and_networks_are_told_apart(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    fill(tmp_path, 1)
    other = network(model="another", parts={"dense_n1": Part(1, ("fc",), 10, 10, RULE)})
    append(tmp_path / RUNS, other)
    append(tmp_path / HISTORY, trial("dense_n1", seconds=1e-6))
    append(tmp_path / HISTORY, trial("pool_n1", seconds=1e-6, threads=2))
    sections = summarize(tmp_path).reports
    found = [(one.threads, one.title, len(one.steps)) for one in sections]
    assert found == [(1, MODEL, 60), (1, "another", 1), (2, MODEL, 60), (2, "", 1)]
    assert [len(one.spent) for one in sections] == [1, 0, 1, 0]


def test_the_last_account_of_a_run_counts(tmp_path: Path) -> None:
    fill(tmp_path)
    (section,) = summarize(tmp_path).reports
    (spent,) = section.spent
    assert (spent.trials, spent.seconds, spent.building_s) == (60, 120.0, 48.0)


def test_damaged_lines_are_named_and_cost_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path)
    whole = summarize(tmp_path)
    damage(tmp_path)
    summary = summarize(tmp_path)
    assert summary.reports == whole.reports
    assert [one.path.name for one in summary.damaged] == [HISTORY] * 5 + [RUNS]
    last = (tmp_path / HISTORY).read_bytes().count(b"\n")
    assert [one.line for one in summary.damaged[:5]] == list(range(last - 4, last + 1))
    assert "version 99" in summary.damaged[2].why


def test_lines_read_as_they_were_written(tmp_path: Path) -> None:
    fill(tmp_path)
    runs = read_runs(tmp_path / RUNS)
    assert runs.networks == {((TARGET, 1), MODEL): network()}
    assert runs.roofs[TARGET, 1].bandwidth == {"L2": 200.0, "memory": 40.0}
    assert runs.damaged == ()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: network(threads=-1),
        lambda: network(model=3),
        lambda: Part(0, (), 1, 1, {}),
        lambda: Part(1, (), 1, 1, {"a": [1]}),  # type: ignore[dict-item]
        lambda: Roofs(target=TARGET, threads=1, bandwidth={"L2": float("nan")}),
        lambda: Spent(
            run="a",
            model="b",
            target="c",
            threads=1,
            trials=1,
            seconds=float("inf"),
            building_s=0.0,
            measuring_s=0.0,
        ),
    ],
)
def test_what_nobody_can_compute_with_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=" is "):
        wrong()  # type: ignore[operator]


def test_a_folder_without_a_finished_trial(tmp_path: Path) -> None:
    append(tmp_path / RUNS, network())
    (section,) = summarize(tmp_path).reports
    assert (section.rule_s, section.gain, curve(section), roofline(section)) == (0, 0, None, None)
    assert "No candidate has run yet" in render(summarize(tmp_path))
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / HISTORY).touch()
    assert summarize(empty).reports == ()
    assert "nothing to show" in render(summarize(empty))


def test_only_failures(tmp_path: Path) -> None:
    append(tmp_path / HISTORY, trial(POINTWISE, outcome="crashed", control=None, note="core"))
    (section,) = summarize(tmp_path).reports
    assert section.failures == {"crashed": 1}
    assert curve(section) is None
    assert "nothing right ran" in render(summarize(tmp_path))


def test_a_comparison_without_its_trials_is_harmless(tmp_path: Path) -> None:
    final = Final(
        workload=POINTWISE, target=TARGET, threads=1,
        candidates=[RULE, OTHER], seconds=[7e-6, 6e-6], chosen=1,
    )  # fmt: skip
    append(tmp_path / HISTORY, final)
    assert summarize(tmp_path).reports == ()
    append(tmp_path / RUNS, network())
    (section,) = summarize(tmp_path).reports
    assert section.best_s == 5 * 6e-6
    assert curve(section) is None


def test_the_page_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="there is no folder"):
        write_page(tmp_path / "none", tmp_path / "page.html")
    with pytest.raises(RecordsError, match="nothing was tuned there"):
        write_page(tmp_path, tmp_path / "page.html")
    fill(tmp_path)
    with pytest.raises(OutputError, match="cannot write"):
        write_page(tmp_path, tmp_path / "none" / "page.html")
    write_page(tmp_path, tmp_path / "page.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == [HISTORY, "page.html", RUNS]


def test_the_same_folder_gives_the_same_page(tmp_path: Path) -> None:
    fill(tmp_path)
    summary = summarize(tmp_path)
    assert render(summary) == render(dataclasses.replace(summary))


def test_every_kernel_with_operations_is_on_the_roofline(tmp_path: Path) -> None:
    fill(tmp_path)
    (section,) = summarize(tmp_path).reports
    drawn = roofline(section)
    assert drawn is not None
    assert len(drawn.after) == len(drawn.before) == 3
    row = section.rows[0]
    now, was = drawn.after[0], drawn.before[0]
    assert row.workload == POINTWISE
    assert now.y < was.y  # Faster is higher,
    assert now.x == was.x  # and as many bytes.
    assert f"{2 * 590_000 / 6.5e-6 / 1e9:.1f} GFLOP/s" in now.text
    # L2 is faster than any of these kernels needs: its roof is left of them all.
    assert [name for _, name, *_ in drawn.roofs] == ["peak 198 GFLOP/s", "memory 40 GB/s"]


@pytest.mark.parametrize(
    ("low", "high", "want"),
    [(0, 520, [0, 100, 200, 300, 400, 500]), (4.56, 5.03, [4.6, 4.7, 4.8, 4.9, 5.0])],
)
def test_ticks_are_round(low: float, high: float, want: list[float]) -> None:
    assert ticks(low, high, 6) == want

"""``tvm-mobilenet tune`` as a user runs it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

NETWORK = ("v1", "--alpha", 0.25, "--resolution", 32, "--classes", 10, "--cores", 1)


def test_it_tells_how_it_goes_and_what_it_kept(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    done = run("tune", *NETWORK, "--trials", 24, "--log-dir", folder)
    assert done.returncode == 0, done.stderr
    assert re.search(r"trials 24 of 24, a second \d+\.\d+, time left 0:00, kernels", done.stderr)
    assert re.search(
        r"24 trials, 24 of them now in \d+ s: \d+ s building, \d+ s measuring", done.stdout
    )
    assert "failed: none" in done.stdout
    kept = len(re.findall(r"\b(?:rule|tuned) +\w+=\w+", done.stdout))
    assert 10 < kept <= 22
    again = run("tune", *NETWORK, "--trials", 0, "--log-dir", folder, "--json")
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    assert (report["trials"], report["fresh"], report["threads"]) == (24, 0, 1)
    assert len(report["rows"]) == kept
    page = tmp_path / "page.html"
    shown = run("report", folder, "-o", page)
    assert shown.returncode == 0, shown.stderr
    times = f"{report['rule_s'] * 1e3:.3f} ms by rule, {report['best_s'] * 1e3:.3f} kept"
    assert f"{report['model']} for {report['target']}, 1 thread: {times}" in shown.stdout
    assert "24 trials, 0 failed" in shown.stdout
    html = page.read_text()
    # The network, its bound and the time that was spent are known; the bandwidth is not.
    assert "The folder does not say." not in html
    assert "its kernels, each alone" in html
    bound = re.search(r'data-key="bound_s" data-value="([^"]+)"', html)
    assert bound is not None
    assert float(bound[1]) == pytest.approx(report["bound_s"])
    assert "was not measured" in html
    listed = run("records", folder)
    assert listed.returncode == 0
    assert "conv_n1_i3_o8_s32x32" in listed.stdout


def test_a_damaged_line_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"version": 1, "kind": "trial", "oper')
    done = run("tune", *NETWORK, "--trials", 0, "--log-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "history.jsonl, line 1: the line is no JSON; skipped" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--trials", 1, "--tuner", "magic"), "there is no tuner 'magic'"),
        (("--trials", 1, "--target", "rpi4"), "cannot be measured here"),
        ((), "--trials"),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: Run, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    done = run("tune", "v1", *options, "--log-dir", tmp_path / "none")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "none").exists()

"""``explain`` as a user runs it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., object]
SMALL = ("explain", "v1", "--alpha", 0.5, "--resolution", 160)


def test_table_for_a_processor_that_is_not_here(run: Run, tmp_path: Path) -> None:
    before = os.listdir()
    done = run("explain", "v1", "--target", "rpi4", "--records", "none", COLUMNS="120")
    assert done.returncode == 0, done.stderr
    assert os.listdir() == before
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 120
    assert "MobileNet V1 1.0/224 for rpi4, predicted on 4 threads" in lines[0]
    unfused = next(line for line in lines if re.match(r" +block1\.dw\+pw", line))
    assert re.search(r"unfused +29\.3 +[\d.]+ +[\d.]+ +0\.00 +[\d.]+", unfused)
    for name in ("conv1", "block13.pw+pool+classifier", "all", "Choices"):
        assert name in done.stdout
    assert done.stdout.count("* ") >= 13


def test_json_holds_every_level_and_reason(run: Run) -> None:
    options = ("--target", "znver5", "--cores", 2, "--records", "none", "--json")
    data = json.loads(run(*SMALL, *options).stdout)
    assert data["threads"] == data["target"]["cores"] == 2
    layers = [name for step in data["steps"] for name in step["layers"]]
    assert len(layers) == len(set(layers)) == 30 - len(data["unpredicted"])
    blocks = [step for step in data["steps"] if "fusion" in step]
    assert len(blocks) >= 13
    for block in blocks:
        assert set(block["fused"]["bytes"]) == {"L1", "L2", "L3", "memory"}
        assert block["fusion"]["why"]
        chosen = block["fused" if block["fusion"]["fused"] else "unfused"]
        assert block["predicted"] == chosen
    assert data["totals"]["chosen"]["cycles"] == pytest.approx(
        sum(step["predicted"]["cycles"] for step in data["steps"]), abs=len(data["steps"])
    )


def test_asked_for(run: Run) -> None:
    options = ("--target", "znver5", "--json", "--threads", 1)
    every, none = (
        json.loads(run(*SMALL, *options, "--fusion", fusion).stdout) for fusion in ("all", "none")
    )
    assert every["threads"] == 1
    assert every["totals"]["chosen"] == every["totals"]["fused"]
    assert none["totals"]["chosen"] == none["totals"]["unfused"]
    assert {s["fusion"]["source"] for s in none["steps"] if "fusion" in s} == {"asked"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--target", "rpi4", "--threads", 5), "rpi4 has 4 cores"),
        (("--target", "rpi4", "--threads", 0), "0 threads"),
        (("--target", "pdp11"), "pdp11"),
        (("--records", "/no/such/folder"), "/no/such/folder"),
    ],
)
def test_what_makes_no_sense_is_said(run: Run, wrong: tuple[object, ...], told: str) -> None:
    done = run("explain", "v1", *wrong)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr

"""``profile`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import processor_seconds

Run = Callable[..., object]


def test_json_and_roofline(run: Run, artifact: Path, tmp_path: Path) -> None:
    drawing = tmp_path / "roofline.png"
    done = run(
        *("profile", artifact, "--threads", 1, "--repeats", 10, "--json", "--plot", drawing),
        DISPLAY="",
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    manifest = json.loads(run("inspect", artifact, "--json").stdout)
    assert [one["layers"] for one in data["rows"]] == [c["layers"] for c in manifest["calls"]]
    assert data["threads"] == 1
    assert list(data["machine"]["bandwidth"])[-1] == "memory"
    for one in data["rows"]:
        assert one["alone_us"] > 0
        assert one["network_us"] > 0
        # No kernel beats what this processor can do; the clock may have moved in between.
        assert one["compute_us"] < 1.5 * one["alone_us"]
        assert one["pool_us"] < one["alone_us"]
    totals = data["totals_us"]
    assert totals["network"] == pytest.approx(sum(one["network_us"] for one in data["rows"]))
    assert totals["uneven"] == totals["pool"] == totals["serial"] == 0
    assert drawing.read_bytes().startswith(b"\x89PNG")
    assert f"drawn: {drawing}" in done.stderr


def test_table(run: Run, artifact: Path) -> None:
    done = run("profile", artifact, "--threads", 1, "--repeats", 10)
    assert done.returncode == 0, done.stderr
    assert "block13.pw" in done.stdout
    assert "between kernels" in done.stdout
    assert "lost by threads" not in done.stdout


@pytest.mark.alone
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--plot", "roofline.gif"), ".png, .pdf, .svg"),
        (("--plot", "/no/such/folder/roofline.png"), "cannot write"),
        (("--threads", 0), "threads is 0"),
        (("--threads", 1024), "this process may run on"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    run: Run, artifact: Path, wrong: tuple[object, ...], told: str
) -> None:
    start = processor_seconds()
    done = run("profile", artifact, *wrong)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert processor_seconds() - start < 2.5


def test_no_artifact(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.so"
    other.write_text("no shared object")
    done = run("profile", other)
    assert done.returncode == 2
    assert str(other) in done.stderr

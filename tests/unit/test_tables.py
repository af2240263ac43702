"""Tables as CSV, JSON and HTML, and the reports that are some."""

from __future__ import annotations

import csv
import dataclasses
import html.parser
import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import tvm_mobilenet as tm
from tvm_mobilenet.bench.comparison import OURS, BenchReport, Row
from tvm_mobilenet.bench.gpu_comparison import GpuReport, GpuRow
from tvm_mobilenet.cli.output import Form, columns_here, show
from tvm_mobilenet.common.shown import shown
from tvm_mobilenet.common.tables import Column, Table, to_csv, together
from tvm_mobilenet.compilation.report import CompileReport, KernelRow
from tvm_mobilenet.errors import InputError
from tvm_mobilenet.profile.board import BoardProfile, BoardRow
from tvm_mobilenet.profile.gpu import GpuKernel, GpuProfile
from tvm_mobilenet.tuning.status import Status
from tvm_mobilenet.tuning.tuning_report import TunedKernel, TuningReport
from tvm_mobilenet.verify.report import VerifyReport, VerifyRow

TABLE = Table(
    "kernels",
    "<b>Title</b>",
    (
        Column("layers", show=together, kind="name"),
        Column("us", show=".1f"),
        Column("knobs", show=str, kind="text", priority=3),
    ),
    ((("a.dw", "a.pw"), 1.23456789012345, {"x": 7, "y": "<i>"}), (("b",), None, {})),
    ("a & b",),
)


def test_csv_has_numbers_in_full() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([TABLE]))))
    assert [row["layers"] for row in rows] == ["a.dw+a.pw", "b"]
    assert float(rows[0]["us"]) == 1.23456789012345
    assert rows[0]["knobs"] == "x=7 y=<i>"
    assert rows[1]["us"] == ""


def test_csv_orders_no_terminal_about() -> None:
    table = Table("t", "T", (Column("name", kind="name"),), (("a\x1b[2Jb",),))
    assert to_csv([table]) == "name\na\\x1b[2Jb\n"


def test_several_tables_are_one_csv() -> None:
    other = Table("facts", "Facts", (Column("us"), Column("more")), ((2, 3),))
    rows = list(csv.DictReader(io.StringIO(to_csv([TABLE, other]))))
    assert [row["table"] for row in rows] == ["kernels", "kernels", "facts"]
    assert (rows[2]["us"], rows[2]["more"], rows[2]["layers"]) == ("2", "3", "")
    assert rows[0]["more"] == ""


def test_html_holds_every_word_and_no_markup_of_others() -> None:
    class Reader(html.parser.HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: list[str] = []
            self.texts: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.tags.append(tag)

        def handle_data(self, data: str) -> None:
            self.texts.append(data)

    reader = Reader()
    reader.feed(TABLE.to_html())
    assert "i" not in reader.tags
    assert reader.tags.count("b") == 1
    assert reader.tags.count("tr") == 3
    for text in ("<b>Title</b>", "a.dw+pw", "1.2", "{'x': 7, 'y': '<i>'}", "-", "a & b"):
        assert text in reader.texts


def test_json_has_the_rows_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    show(Form.json, TABLE)
    (row, _) = json.loads(capsys.readouterr().out)["kernels"]
    assert row == {
        "layers": ["a.dw", "a.pw"],
        "us": 1.23456789012345,
        "knobs": {"x": 7, "y": "<i>"},
    }


def test_two_answers_at_once_are_refused() -> None:
    with pytest.raises(InputError, match="--json and --csv"):
        Form.asked(as_json=True, as_csv=True, wide=False)


def test_what_moves_a_cursor_is_spelled_out() -> None:
    assert shown("a\x1b[31mb\nc\td") == "a\\x1b[31mb\\x0ac\\x09d"
    assert shown("é 界 … ─") == "é 界 … ─"


def test_repeated_cells_are_left_out_for_people_only() -> None:
    columns = (Column("image", kind="name", once=True), Column("class"))
    table = Table("t", "T", columns, (("a", 1), ("a", 2), ("b", 2)))
    assert table.cells() == [["a", "1"], ["", "2"], ["b", "2"]]
    assert to_csv([table]).splitlines()[2] == "a,2"


# Where the width comes from.


def test_a_file_is_as_wide_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert columns_here() is None
    monkeypatch.setenv("COLUMNS", "50")
    assert columns_here() == 50
    monkeypatch.setenv("COLUMNS", "wide")
    assert columns_here() is None


def on_terminal(columns: int, *arguments: str) -> str:
    """Run a command on a terminal of so many columns, and return what it shows."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tvm_mobilenet", *arguments],
        stdout=theirs,
        stdin=subprocess.DEVNULL,
        env=environment,
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            part = os.read(ours, 65536)
        except OSError:  # what a terminal says when nobody holds it any more
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return shown.decode().replace("\r\n", "\n")


def test_a_terminal_is_filled_and_not_exceeded() -> None:
    narrow = on_terminal(72, "explain", "v1")
    assert max(map(len, narrow.splitlines())) <= 72
    assert "not in 72 columns: " in narrow
    wide = on_terminal(72, "explain", "v1", "--wide")
    assert max(map(len, wide.splitlines())) > 72
    assert "L1 MB" in wide
    assert "not in" not in wide


# Reports in a notebook.


def test_models_and_reports_have_a_line_and_a_table() -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    told = tm.explain(model, records=False)
    for thing, words in ((model, "30 layers"), (told, "MMACs")):
        assert "\n" not in repr(thing)
        assert len(repr(thing)) < 160
        assert words in repr(thing)
        assert "<td" in thing._repr_html_()
        assert "block1.dw" in thing._repr_html_()


KERNEL = VerifyRow(("a.dw", "a.pw"), "k", 1e-6, 2e-7, 3e-7, 4e-6, True)
VERIFIED = VerifyReport("Net", (KERNEL,), 1e-6, 2e-7)
STATUS = Status(5, 5, 5, 1e-3, 1e-3, 5e-4, {"wrong": 1}, 2.0, 1.0, 0.5)
TUNED = TunedKernel(
    "pool", "pool_n1_i64_o64", (), 2, 0, 8, 5, 0, 2e-6, 1e-6, "tuned",
    {"pixels": 1}, {"pixels": 7}, 0.0,
)  # fmt: skip
COMPILED = CompileReport(
    "Net", "native", (KernelRow(("a.dw", "a.pw"), "separable", "cpu.separable", "rule", {"x": 1},
                                (1, 8, 4, 4), 1000, "yes, rule", 5.0, 1.0),), 1000, 6.0,
)  # fmt: skip
ROWS = (Row.of("ncnn", 1, [1e-3]), Row.of(OURS, 1, [5e-4]))
ON_GPU = GpuKernel(("a",), "k", "pool", "s", 0, 0.0, 1.0, "L2", bytes=8, us=2.0)
REPORTS: list[tuple[Any, str, list[str]]] = [
    (VERIFIED, "Net: right, 1 kernels", ["a.dw+pw", "3.0e-07", "ok"]),
    (dataclasses.replace(VERIFIED, relative=1.0), "WRONG", ["a.dw+pw"]),
    (COMPILED, "1 kernels, 0 without", ["cpu.separable", "x=1", "1x8x4x4", "0.4"]),
    (
        TuningReport("Net", "znver5", 1, (TUNED,), (), {}, (), 0.0, None, "logs", STATUS),
        "kernels 0.002 ms, by rule 0.004",
        ["pool_n1_i64_o64", "50.0%", "tuned", "pixels=7"],
    ),
    (BenchReport("Net", 10**6, {1: 10.0}, ROWS), "ncnn 1.000 ms on 1 thread", ["2.000"]),
    (
        GpuReport("Net", "sm_90", "float32", 1, 1, {"device": "H200"}, (GpuRow(OURS, "0", 2.0),)),
        "Net on H200",
        ["2.0000"],
    ),
    (GpuProfile("Net", "sm_90", "float32", "H200", "H100", (ON_GPU,), 9.0), "90 ms", ["50.0%"]),
    (BoardProfile("Net", "pi", 4, 9.0, (BoardRow(("a",), "k", 3.0, 2.0, 1.0),)), "pi", ["33.3%"]),
]


@pytest.mark.parametrize(("report", "line", "cells"), REPORTS, ids=lambda one: type(one).__name__)
def test_reports_have_a_line_and_a_table(report: Any, line: str, cells: list[str]) -> None:
    assert line in repr(report)
    assert repr(report).startswith(f"<{type(report).__name__} ")
    assert "\n" not in repr(report)
    shown = report._repr_html_()
    for cell in cells:
        assert f">{cell}" in shown


def test_modules_and_what_was_compiled_have_a_line_and_a_table(tmp_path: Path) -> None:
    compiled = tm.compile(tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10), verify=False)
    module = tm.load(compiled.export(tmp_path / "m.so"), threads=1)
    assert re.fullmatch(
        r"<Compiled MobileNet V1 0\.25/32 for native: \d+ kernels, not verified>", repr(compiled)
    )
    assert "<td" in compiled._repr_html_()
    assert "cpu.dense" in compiled._repr_html_()
    assert repr(module) == f"<Module MobileNet V1 0.25/32 from {tmp_path}/m.so, 1 threads>"
    for words in ("m.so", "1x3x32x32 float32 NCHW", "1x10 float32 NC"):
        assert words in module._repr_html_()
    with pytest.raises(InputError, match="runs on the processor"):
        tm.load(tmp_path / "m.so", device="cuda:0")


def test_the_package_shows_its_public_names_only() -> None:
    import tvm_mobilenet.api  # noqa: F401  what was imported does not show either

    assert dir(tm) == sorted(tm.__all__)

"""Tables at every width of a terminal: no digit lost, no line too long."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_mobilenet.cli.layout import lines
from tvm_mobilenet.common.tables import Column, Table, cell_width, shortened

WIDTHS = st.one_of(st.none(), st.integers(40, 200))
HEADINGS = st.text("abcdefgh /", min_size=1, max_size=16).map(lambda s: s.strip() or "x")
NUMBERS = st.one_of(
    st.none(), st.floats(-1e12, 1e12, allow_nan=False), st.floats(0, 1), st.integers(0, 10**9)
)
# Letters alone, so that no digit of a name is taken for one of a number.
LETTERS = st.text(st.sampled_from("abcxyz .+_é界"), max_size=90)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    kinds = draw(st.lists(st.sampled_from(["number", "word", "name", "text"]), max_size=14))
    columns, makers = [], []
    for at, kind in enumerate(["name", *kinds, "number"]):
        show = draw(st.sampled_from([".3f", ".1f"])) if kind == "number" else ""
        priority = draw(st.integers(0, 6))
        columns.append(Column(f"c{at}", draw(HEADINGS), show, kind, priority))
        word = st.text("abcdefg", max_size=14)
        makers.append({"number": NUMBERS, "word": word}.get(kind, LETTERS))
    rows = draw(st.lists(st.tuples(*makers), max_size=6))
    notes = draw(st.lists(LETTERS, max_size=2))
    return Table("t", draw(LETTERS), tuple(columns), tuple(rows), tuple(notes))


def texts(table: Table, at: int) -> list[str]:
    return [row[at] for row in table.cells()]


@settings(max_examples=300, deadline=None)
@given(tables(), WIDTHS)
def test_numbers_are_whole_and_lines_fit(table: Table, width: int | None) -> None:
    made = lines(table, width)
    assert all(line == line.rstrip() for line in made)
    if width is not None:
        assert max(map(cell_width, made)) <= width
    shown = "\n".join(made)
    known = {text for at in range(len(table.columns)) for text in texts(table, at)}
    found = re.findall(r"-?\d[\d.]*", shown)
    # Each number that stands there is one of the table's, whole.
    told = {number for text in known for number in re.findall(r"-?\d[\d.]*", text)}
    told |= {str(width)}
    assert set(found) <= told
    for at, column in enumerate(table.columns):
        if column.kind == "number" and (column.priority == 0 or width is None):
            for text in texts(table, at):
                assert text in shown


@settings(max_examples=200, deadline=None)
@given(tables(), st.integers(40, 200))
def test_columns_go_by_their_weight_and_are_named(table: Table, width: int) -> None:
    named = tuple(
        dataclasses.replace(column, heading=f"c{at}") for at, column in enumerate(table.columns)
    )
    words = " ".join(" ".join(lines(dataclasses.replace(table, columns=named), width)).split())
    note = re.search(rf"not in {width} columns: ([c\d, ]+); --wide shows all", words)
    gone = [int(at) for at in re.findall(r"c(\d+)", note[1])] if note else []
    kept = [column.priority for at, column in enumerate(named) if at not in gone]
    # What went mattered less than, or as much as, whatever stayed; what always is shown stayed.
    for at in gone:
        assert named[at].priority > 0
        assert named[at].priority >= max(kept)


@given(LETTERS, st.integers(3, 60))
def test_a_shortened_name_keeps_both_ends(name: str, width: int) -> None:
    short = shortened(name, width)
    assert cell_width(short) <= width
    if short != name:
        head, _, tail = short.partition("…")
        assert name.startswith(head)
        assert name.endswith(tail)
        assert width < 4 or (head and tail) or cell_width(name[0]) == 2 or cell_width(name[-1]) == 2


def wide(columns: int) -> Table:
    return Table(
        "t",
        "Title",
        (Column("name", kind="name"), *(Column(f"n{i}") for i in range(columns))),
        (("block1.dw+pw", *(123456.75 + i for i in range(columns))),),
    )


def test_what_does_not_fit_side_by_side_is_stacked() -> None:
    made = lines(wide(20), 40)
    assert made[2] == "block1.dw+pw"
    assert made[3] == f"  n0{'123456.75':>36}"
    assert len(made) >= 23


def test_a_note_says_what_went() -> None:
    columns: tuple[Any, ...] = (
        Column("name", kind="name"),
        *(Column(f"n{i}", priority=i) for i in range(9)),
    )
    table = Table("t", "Title", columns, (("layer", *range(100_000, 100_009)),))
    made = lines(table, 40)
    assert "not in 40 columns: n4, n5, n6, n7, n8;" in " ".join(made)
    assert "100003" in made[4]
    assert "100004" not in "\n".join(made)
    assert "100008" in "\n".join(lines(table, 200))

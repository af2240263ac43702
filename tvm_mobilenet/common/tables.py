"""Tables as data: the rows of a report, independent of how they are shown.

A report gives values and says, for each column, how a person reads it and how important it is.
The command line lays tables out for a terminal (:mod:`tvm_mobilenet.cli.layout`) or prints them
as CSV; notebooks show them as HTML.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tvm_mobilenet.common.shown import shown

Kind = Literal["number", "word", "name", "text"]
"""How a cell is shown where there is little room: numbers and words whole or not at all,
names shortened in the middle, texts on several lines."""

NONE = "-"
"""Text of a cell without a value."""

_LAYOUT = "(layout)"
"""Stands where a kernel computes no layer, only another order of the same numbers."""


def layers_of(call: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what reports say that a call of the manifest computes: its layers, if it has any."""
    whole = call.get("part_of")
    return tuple(call["layers"]) or (_LAYOUT if whole is None else f"(part of {whole})",)


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes
    ----------
    name : str
        Name in CSV and JSON, with the unit, such as ``"median_ms"``.
    heading : str
        Heading for people; by default the words of `name`.
    show : str or callable
        Format specification of its values (``".3f"``, ``".1%"``), or a function from a value
        to text.
    priority : int
        0 is always shown; where room is short, columns with the largest number are left out first.
    room : int
        Characters that a name or a text keeps before another column is left out.
    once : bool
        Whether only the first of several rows with the same value shows it.
    """

    name: str
    heading: str = ""
    show: str | Callable[[Any], str] = ""
    kind: Kind = "number"
    priority: int = 0
    room: int = 24
    once: bool = False

    @property
    def title(self) -> str:
        """Heading of the column."""
        return self.heading or self.name.replace("_", " ")

    def text(self, value: Any) -> str:
        """Return a value as people read it, without control characters."""
        if value is None:
            return NONE
        made = self.show(value) if callable(self.show) else format(value, self.show)
        return shown(made)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings.

    Attributes
    ----------
    name : str
        Name that tells it from a command's other tables, such as ``"kernels"``.
    title : str
        Line above it.
    rows : tuple of tuple
        One value for each column; None where there is none.
    notes : tuple of str
        Lines below it.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()

    def cells(self) -> list[list[str]]:
        """Return the texts of all rows."""
        found: list[list[str]] = []
        before: list[Any] | None = None
        for row in self.rows:
            told = [value for column, value in zip(self.columns, row, strict=True) if column.once]
            again = before == told
            found.append(
                [
                    "" if again and column.once else column.text(value)
                    for column, value in zip(self.columns, row, strict=True)
                ]
            )
            before = told
        return found

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as objects, values by the columns' names."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]

    def to_html(self) -> str:
        """Return the table for a notebook; every word of it escaped."""
        from html import escape

        right = ' style="text-align: right"'
        left = ' style="text-align: left"'
        sides = [right if column.kind == "number" else left for column in self.columns]

        def line(tag: str, texts: Iterable[str]) -> str:
            cells = zip(sides, texts, strict=True)
            return "".join(f"<{tag}{side}>{escape(text)}</{tag}>" for side, text in cells)

        head = line("th", (column.title for column in self.columns))
        body = "".join(f"<tr>{line('td', row)}</tr>" for row in self.cells())
        notes = "".join(f"<p>{escape(shown(note))}</p>" for note in self.notes)
        return (
            f"<table><caption{left}><b>{escape(shown(self.title))}</b></caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"
        )


class Tabular:
    """A report that is one table: notebooks show that instead of its ``repr``."""

    __slots__ = ()

    def table(self) -> Table:
        """Return what it says, in rows."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self.table().to_html()


def facts_table(title: str, facts: Mapping[str, Any], notes: tuple[str, ...] = ()) -> Table:
    """Return a table of named facts."""
    columns = (Column("fact", " ", kind="word"), Column("value", " ", kind="text"))
    return Table("facts", title, columns, tuple(facts.items()), notes)


def to_csv(tables: Sequence[Table]) -> str:
    """Return tables as one CSV file.

    Parameters
    ----------
    tables : sequence of Table
        With several tables, each row begins with the name of its table, and there are the
        columns of all of them.

    Returns
    -------
    str
        Numbers have all their digits, lists are joined by ``+``, mappings are ``name=value``, and
        missing values are empty.
    """
    import csv

    several = len(tables) > 1
    names = list(dict.fromkeys(column.name for table in tables for column in table.columns))
    made = io.StringIO()
    writer = csv.DictWriter(made, [*(["table"] * several), *names], lineterminator="\n")
    writer.writeheader()
    for table in tables:
        which = {"table": table.name} if several else {}
        for row in table.to_dicts():
            writer.writerow({**which, **{name: _plain(value) for name, value in row.items()}})
    return made.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        value = " ".join(f"{name}={part}" for name, part in value.items())
    if isinstance(value, tuple | list):
        value = "+".join(map(str, value))
    # It may go to a terminal, as anything else.
    return shown(value) if isinstance(value, str) else value


def cell_width(text: str) -> int:
    """Return how many columns a text takes: Chinese characters take two, accents none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def chopped(text: str, width: int) -> list[str]:
    """Return a text in parts of at most `width` columns, or of one character that takes more."""
    parts, used = [""], 0
    for character in text:
        used += _columns(character)
        if used > width and parts[-1]:
            parts.append("")
            used = _columns(character)
        parts[-1] += character
    return parts


def shortened(text: str, width: int) -> str:
    """Return a name in at most `width` columns; its middle is left out, its ends identify it."""
    if cell_width(text) <= width:
        return text
    tail = (width - 1) // 2
    return _begin(text, width - 1 - tail) + "…" + _begin(text[::-1], tail)[::-1]


def _begin(text: str, width: int) -> str:
    """Return as much of a text as `width` columns hold, which may be nothing."""
    part = chopped(text, width)[0]
    return part if cell_width(part) <= width else ""


def together(layers: Sequence[str]) -> str:
    """Return the names of layers that share a kernel, with their prefix once: ``block1.dw+pw``."""
    first, *rest = layers
    block = first.rpartition(".")[0] + "."
    return "+".join([first, *(name.removeprefix(block) for name in rest)])


def by_size(shape: Sequence[int]) -> str:
    """Return a shape as people write it: ``1x3x224x224``."""
    return "x".join(map(str, shape))


def threads_text(count: int) -> str:
    """Return a number of threads in words."""
    return "1 thread" if count == 1 else f"{count} threads"

"""From a table to the lines of a terminal: whole columns go before a number loses a digit."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_mobilenet.common.shown import shown
from tvm_mobilenet.common.tables import Column, Table, cell_width, chopped, shortened

_INDENT, _GAP = 2, 2
_LEAST = {"name": 8, "text": 16}
"""Columns that are left to them when no other column can go any more."""


def lines(table: Table, width: int | None) -> list[str]:
    """Lay a table out.

    Parameters
    ----------
    width : int or None
        Columns of the terminal; None for as wide as it is.

    Returns
    -------
    list of str
        Title, table and notes, none longer than `width` and none with blanks at its end.
        What had no room is named below the table. Numbers and words are whole: a table of
        which not even the columns that always are shown fit side by side has a line for each.
    """
    cells = table.cells()
    kept, widths = _fit(table.columns, cells, width)
    shown = [[row[at] for at in kept] for row in cells]
    columns = [table.columns[at] for at in kept]
    body = _side_by_side(columns, shown, widths) if widths else _stacked(columns, shown, width)
    gone = [column.title for at, column in enumerate(table.columns) if at not in kept]
    notes = list(table.notes)
    if gone:
        notes.append(
            f"not in {width} columns: {', '.join(gone)}; --wide shows all, so do --csv and --json"
        )
    above = wrapped(table.title, width) if table.title else []
    return [*above, "", *body, "", *(line for note in notes for line in wrapped(note, width))]


def wrapped(text: str, width: int | None) -> list[str]:
    """Return a text in lines of at most so many columns."""
    text = shown(text).rstrip()
    if width is None or cell_width(text) <= width:
        return [text]
    made = [""]
    for word in text.split(" "):
        together = f"{made[-1]} {word}" if made[-1] else word
        if cell_width(together) <= width:
            made[-1] = together
        else:
            first, *more = chopped(word, max(width, 2))
            made += [first, *more]
    return [line.rstrip() for line in made if line]


def _fit(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int | None
) -> tuple[list[int], list[int]]:
    """Choose columns and their widths; no widths where they have to be stacked."""
    natural, narrow, least = [], [], []
    for at, column in enumerate(columns):
        widest = max((cell_width(row[at]) for row in cells), default=0)
        word = max(map(cell_width, column.title.split()), default=0)
        natural.append(max(widest, cell_width(column.title)))
        few = _LEAST.get(column.kind, widest)
        narrow.append(max(word, min(widest, max(few, column.room)) if few < widest else widest))
        least.append(max(word, min(widest, few)))
    kept = list(range(len(columns)))
    if width is None:
        return kept, natural
    while True:
        for floor in (natural, narrow):
            if _total(kept, floor) <= width:
                return kept, _widened(kept, floor, natural, width)
        optional = [at for at in kept if columns[at].priority > 0]
        if not optional:
            fits = _total(kept, least) <= width
            return kept, _widened(kept, least, natural, width) if fits else []
        kept.remove(max(optional, key=lambda at: (columns[at].priority, at)))


def _total(kept: Sequence[int], widths: Sequence[int]) -> int:
    return _INDENT + sum(widths[at] for at in kept) + _GAP * (len(kept) - 1)


def _widened(
    kept: Sequence[int], floor: Sequence[int], natural: Sequence[int], width: int
) -> list[int]:
    """Share out what is left of a line, to those first that lack least."""
    widths, spare = list(floor), width - _total(kept, floor)
    for at in sorted(kept, key=lambda at: natural[at] - floor[at]):
        more = min(spare, natural[at] - floor[at])
        widths[at] += more
        spare -= more
    return [widths[at] for at in kept]


def _side_by_side(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int]
) -> list[str]:
    heads = [wrapped(c.title, width) for c, width in zip(columns, widths, strict=True)]
    height = max(map(len, heads))
    # Headings stand on the rule below them.
    made = _joined([[*[""] * (height - len(head)), *head] for head in heads], columns, widths)
    made = [line for line in made if line]
    if made:
        made.append(" " + "─" * (_total(range(len(widths)), widths) - 1))
    for row in rows:
        texts = zip(columns, row, widths, strict=True)
        made += _joined([_cell(*each) for each in texts], columns, widths)
    return made


def _cell(column: Column, text: str, width: int) -> list[str]:
    if column.kind == "text":
        return wrapped(text, width)
    return [shortened(text, width) if column.kind == "name" else text]


def _joined(
    blocks: Sequence[list[str]], columns: Sequence[Column], widths: Sequence[int]
) -> list[str]:
    """Return blocks of lines beside each other."""
    made = []
    for number in range(max(map(len, blocks))):
        parts = []
        for block, column, width in zip(blocks, columns, widths, strict=True):
            text = block[number] if number < len(block) else ""
            blank = " " * (width - cell_width(text))
            parts.append(blank + text if column.kind == "number" else text + blank)
        made.append((" " * _INDENT + (" " * _GAP).join(parts)).rstrip())
    return made


def _stacked(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None
) -> list[str]:
    """Return a line for each cell: what it is, then the cell; a second one where it is long."""
    room = width or 0
    made: list[str] = []
    for row in rows:
        first, *others = zip(columns, row, strict=True)
        made += _cell(first[0], first[1], room)
        for column, text in others:
            blank = room - 2 - cell_width(column.title) - cell_width(text)
            if blank >= 1:
                made.append(f"  {column.title}{' ' * blank}{text}".rstrip())
            else:
                made += [f"  {line}" for line in wrapped(column.title, room - 2)]
                parts = _cell(column, text, room)
                made += [" " * (room - cell_width(part)) + part for part in parts]
    return made

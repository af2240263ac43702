"""What people see: tables, numbers, progress."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tvm_mobilenet.cli import logs
from tvm_mobilenet.cli.shown import shown

PLAIN_WIDTH = 200
"""Columns where the output is no terminal: files do not wrap."""


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], footer: str = ""
) -> None:
    """Print rows under a title; numbers to the right, text to the left.

    Parameters
    ----------
    title : str
        Printed above.
    columns : sequence of str
        Headings; ``">"`` in front aligns a column right, ``"~"`` lets it wrap
        where the terminal is narrow.
    rows : sequence of sequence
        Cells, shown by ``str``.
    footer : str
        Printed below.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(
            Text(shown(column.lstrip(">~"))),
            justify="right" if column.startswith(">") else "left",
            no_wrap=not column.startswith("~"),
            overflow="fold",
        )
    for row in rows:
        # Text, not str: a name in brackets is no markup.
        table.add_row(*(Text(shown(cell)) for cell in row))
    # Not the table's own title, which would be folded to the table's width.
    console.print(Text(shown(title), style="bold"))
    console.print(table)
    if footer:
        console.print(Text(shown(footer, keep="\n")))


def say(text: str, *, error: bool = False) -> None:
    """Print a text, in which nothing is hidden, to standard output or standard error."""
    print(shown(text, keep="\n"), file=sys.stderr if error else sys.stdout, flush=True)


def print_json(data: Any) -> None:
    """Print one JSON object and nothing else."""
    print(json.dumps(data, indent=2))


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show that something goes on, on a terminal's standard error; as a line with ``-v``.

    Parameters
    ----------
    text : str
        What it is.
    """
    logs.LOGGER.info("%s", text)
    if not _is_animated():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(shown(text))):
        yield


@contextlib.contextmanager
def progress_bar(after_s: float = 0.0) -> Iterator[Callable[[int, int, str], None]]:
    """Show steps as a bar on a terminal, else as a line now and then.

    Parameters
    ----------
    after_s : float
        Seconds before there is a bar.

    Yields
    ------
    callable
        Told of steps done, steps in all, and what comes next.
    """
    if logs.is_quiet():
        yield lambda done, total, text: None
        return
    if not _is_animated():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("", total=None)
    start = time.monotonic()
    if not after_s:
        bar.start()

    def tell(done: int, total: int, text: str) -> None:
        bar.update(task, completed=done, total=total, description=shown(text))
        if not bar.live.is_started and time.monotonic() - start >= after_s:
            bar.start()

    try:
        yield tell
    finally:
        bar.stop()


def _is_animated() -> bool:
    """Whether something may move on the screen: not among the lines of ``-v``."""
    return sys.stderr.isatty() and not logs.is_quiet() and not logs.is_verbose()


def _lines(every_seconds: float = 10.0) -> Callable[[int, int, str], None]:
    last = time.monotonic()

    def tell(done: int, total: int, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= every_seconds:
            last = time.monotonic()
            say(f"{done}/{total} {text}", error=True)

    return tell


def mega(count: int) -> str:
    """Return a count in millions, as the papers print MACs and parameters."""
    return f"{count / 1e6:.1f}" if count < 100e6 else f"{count / 1e6:.0f}"


def size(count: float) -> str:
    """Return bytes in MB (10**6)."""
    return f"{count / 1e6:.1f} MB"


def shape(numbers: Sequence[int]) -> str:
    """Return a shape as people write it."""
    return "x".join(map(str, numbers))

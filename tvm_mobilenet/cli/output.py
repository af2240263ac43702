"""What people see: tables, numbers, progress."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from enum import Enum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.cli import logs
from tvm_mobilenet.common.shown import shown
from tvm_mobilenet.common.tables import to_csv
from tvm_mobilenet.errors import InputError

if TYPE_CHECKING:
    from tvm_mobilenet.common.tables import Table


class Form(Enum):
    """How a command answers: a table that fits, all of it, or something for a program."""

    table = "--table"
    wide = "--wide"
    csv = "--csv"
    json = "--json"

    @classmethod
    def asked(cls, *, as_json: bool, as_csv: bool, wide: bool) -> Form:
        """Return what the options of a command ask for.

        Raises
        ------
        InputError
            Two of them.
        """
        given = [
            form for form, on in ((cls.json, as_json), (cls.csv, as_csv), (cls.wide, wide)) if on
        ]
        if len(given) > 1:
            raise InputError(
                f"{given[0].value} and {given[1].value} ask for two answers", "choose one"
            )
        return given[0] if given else cls.table

    @property
    def for_people(self) -> bool:
        """Whether words around the table are welcome."""
        return self in (Form.table, Form.wide)


def show(form: Form, *tables: Table, data: Any = None) -> None:
    """Answer with tables: every command that has one prints it here.

    Parameters
    ----------
    *tables : Table
        One after another; as CSV in one file, see :func:`tvm_mobilenet.common.tables.to_csv`.
    data : optional
        What ``--json`` prints; without it the tables' rows, by the tables' names.
    """
    if form is Form.json:
        print_json({t.name: t.to_dicts() for t in tables} if data is None else data)
    elif form is Form.csv:
        print(to_csv(tables), end="", flush=True)
    else:
        from tvm_mobilenet.cli.layout import lines

        width = None if form is Form.wide else columns_here()
        say("\n\n".join("\n".join(lines(table, width)).rstrip() for table in tables))


def columns_here() -> int | None:
    """Return how many columns the output has; None in a file, where nothing needs to fit."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say(text: str, *, error: bool = False) -> None:
    """Print a text, in which nothing is hidden, to standard output or standard error."""
    print(shown(text, keep="\n"), file=sys.stderr if error else sys.stdout, flush=True)


def print_json(data: Any) -> None:
    """Print one JSON object and nothing else."""
    print(json.dumps(data, indent=2))


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show on a terminal's standard error what goes on; as a line with ``-v``."""
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
    if not sys.stderr.isatty() or logs.is_quiet() or logs.is_verbose():
        return False
    return find_spec("rich") is not None  # which tvm-mobilenet-runtime does without


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

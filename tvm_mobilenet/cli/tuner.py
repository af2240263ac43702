"""``tune``: a live table on a terminal, lines elsewhere, and what came of it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.cli import logs
from tvm_mobilenet.cli.making import warnings_told
from tvm_mobilenet.cli.output import Form, say, show
from tvm_mobilenet.common.shown import shown
from tvm_mobilenet.common.tables import threads_text

if TYPE_CHECKING:
    from tvm_mobilenet.compilation.options import ModelLike
    from tvm_mobilenet.tuning.status import Board, Status

_EVERY_S = 5.0
"""Between two lines, where the output is no terminal."""


def tune_model(network: ModelLike, form: Form, **settings: Any) -> None:
    """Tune, showing how it goes, and print what was kept."""
    from tvm_mobilenet import api
    from tvm_mobilenet.models.network import model_from

    try:
        with warnings_told(), watched(model_from(network).title) as progress:
            report = api.tune(network, progress=progress, **settings)
    except KeyboardInterrupt:
        say(
            "stopped; nothing that was finished is lost. The same command goes on, and with "
            "--trials 0 it only keeps the best so far",
            error=True,
        )
        raise
    for problem in report.problems:
        logs.LOGGER.warning("%s", problem)
    show(form, report.table(), data=report.to_dict())


def write_report(folder: Path, path: Path) -> None:
    """Write the page of a tuning folder, and say what is on it."""
    from tvm_mobilenet.tuning.page import write_page

    summary = write_page(folder, path)
    for damage in summary.damaged:
        logs.LOGGER.warning("%s", damage)
    for report in summary.reports:
        say(
            f"{report.title or 'kernels of no known network'} for {report.target}, "
            f"{threads_text(report.threads)}: "
            f"{report.rule_s * 1e3:.3f} ms by rule, {report.best_s * 1e3:.3f} kept "
            f"({report.gain:.1%} less); {len(report.steps)} trials, "
            f"{sum(report.failures.values())} failed"
        )
    say(f"written: {path}", error=True)


@contextlib.contextmanager
def watched(title: str) -> Iterator[Callable[[Status], None]]:
    """Show each Status: a table that stays in its place, or a line now and then."""
    if logs.is_quiet():
        yield lambda status: None
        return
    if not sys.stderr.isatty() or logs.is_verbose():
        yield _lines()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=4) as live:
        yield lambda status: live.update(_table(title, status))


def _lines() -> Callable[[Status], None]:
    last = float("-inf")

    def tell(status: Status) -> None:
        nonlocal last
        over = status.trials >= status.budget
        if over or status.waiting or time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            facts = ", ".join(f"{name} {value}" for name, value in _facts(status).items())
            say(facts, error=True)

    return tell


def _table(title: str, status: Status) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"tuning {shown(title)}"), show_header=False)
    for name, value in ({"now": status.workload} | _facts(status)).items():
        table.add_row(Text(name), Text(shown(value)))
    return table


def _facts(status: Status) -> dict[str, str]:
    """Return what there is to say, by name."""
    minutes, seconds = divmod(round(status.left_s), 60)
    facts = {
        "trials": f"{status.trials} of {status.budget}",
        "a second": f"{status.rate:.2f}",
        "time left": f"{minutes}:{seconds:02d}",
    }
    if status.start_s:
        facts["kernels"] = (
            f"{status.now_s * 1e3:.3f} ms (rule {status.start_s * 1e3:.3f}, "
            f"bound {status.bound_s * 1e3:.3f})"
        )
    facts["failed"] = status.failed_text
    facts["building and measuring"] = f"{status.busy:.0%}"
    if status.boards:
        facts["boards"] = boards_text(status.boards)
    if status.waiting:
        facts["now"] = status.waiting
    return facts


def boards_text(boards: Sequence[Board]) -> str:
    """Say how many measure, and what is wrong with the others."""
    parts = [f"{sum(not board.why for board in boards)} of {len(boards)} measure"]
    for board in boards:
        if board.why:
            alone = f" left alone for {board.alone_s:.0f} s:" if board.alone_s else ":"
            parts.append(f"{board.name}{alone} {board.why}")
    return "; ".join(parts)

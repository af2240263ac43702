"""``doctor``: what this machine has, what it lacks, and the command that gets it.

Each part is looked at for itself: whatever is broken, the rest is told.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict

from tvm_mobilenet.cli.examining import CHECKS, Finding
from tvm_mobilenet.cli.output import print_json, say, waiting
from tvm_mobilenet.errors import TvmMobilenetError

_NAME_WIDTH = 16


def examine(as_json: bool) -> bool:
    """Look at everything and print it; return whether compiling and running work here."""
    with waiting("looking at this machine"):
        findings = [finding for check in CHECKS for finding in _guarded(check)]
    works = findings[0].ok
    if as_json:
        print_json({"works": works, "findings": [asdict(finding) for finding in findings]})
    else:
        say("\n".join(_lines(findings, shutil.get_terminal_size().columns)))
    return works


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; where it fails itself, what it failed of."""
    try:
        yield from check()
    except TvmMobilenetError as error:
        yield Finding(_title(check), error.what, False, error.remedy)
    except Exception as error:  # a broken installation may raise anything
        yield Finding(_title(check), f"{type(error).__name__}: {error}", False)


def _title(check: Callable[[], Iterator[Finding]]) -> str:
    return check.__name__.strip("_").replace("_", " ")


def _lines(findings: list[Finding], columns: int) -> list[str]:
    """Return the screen: a line or two for each, and below what is missing."""
    width = max(40, min(columns, 100)) - 1
    lines = []
    for finding in findings:
        mark = "" if finding.ok else "- "
        first = f"{finding.name:<{_NAME_WIDTH}} "
        text = mark + " ".join(finding.found.split())
        lines += textwrap.wrap(
            text, width, initial_indent=first, subsequent_indent=" " * len(first)
        ) or [first.rstrip()]
    missing = [finding for finding in findings if finding.get]
    if missing:
        lines += ["", "To get what is missing:"]
    for finding in missing:
        first = f"  {finding.name:<{_NAME_WIDTH - 2}} "
        # Commands stay whole, to be copied.
        lines += textwrap.wrap(
            " ".join(finding.get.split()),
            width,
            initial_indent=first,
            subsequent_indent=" " * len(first),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines

"""What was skipped, and the command that gets it: the last lines of a run.

A reason to skip reads ``what is missing: the command that gets it``, and without a command
it says what this machine is. From pytest's reports in JUnit's format, of one run or several::

    python tests/skips.py out/tests.xml out/tests-alone.xml
    python tests/skips.py out/tests.xml --allow 'root may write anywhere' --allow 'this machine'

The second form ends with status 1 if a skip names a command, or gives a reason not allowed.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

_COMMAND = re.compile(r"^(?P<what>.*?): (?P<command>(?:apt|pip|make|\.ci/board) .*)$", re.DOTALL)
_WIDTH = 79
NOT_COLLECTED = (
    "On their own: `make test-relay` (TVM 0.19, in .venv-relay), "
    "`make test-gpu` (on an NVIDIA GPU)."
)


def split(reason: str) -> tuple[str, str]:
    """Return what is missing, and the command that gets it, or ""."""
    found = _COMMAND.match(reason)
    return (found["what"], found["command"]) if found else (reason, "")


def summary(reasons: Iterable[str]) -> list[str]:
    """Return the lines that tell of skipped tests by reason; those to be had come last."""
    counts = Counter(" ".join(reason.split()) for reason in reasons)
    if not counts:
        return ["Nothing was skipped."]
    lines = [f"{sum(counts.values())} skipped. What they lacked, and the command that gets it:"]
    ordered = sorted(counts.items(), key=lambda item: (bool(split(item[0])[1]), item[1]))
    for reason, count in ordered:
        what, command = split(reason)
        lines += textwrap.wrap(f"{count:>4}  {what}", _WIDTH, subsequent_indent=" " * 6)
        # Whole, to be copied, however wide it is.
        lines.append(f"        {command}" if command else "        (nothing: so it is here)")
    return lines


def skipped_in(reports: Sequence[str]) -> list[tuple[str, str]]:
    """Return the tests that were skipped, and why."""
    return [
        (f"{case.get('classname')}::{case.get('name')}", skip.get("message") or "")
        for report in reports
        for case in ElementTree.parse(report).iter("testcase")
        for skip in case.findall("skipped")
        if skip.get("type") != "pytest.xfail"
    ]


def refused(skipped: Iterable[tuple[str, str]], allowed: Sequence[str]) -> list[str]:
    """Return the tests that should have run: their reason names a command, or is not allowed."""
    return [
        f"{name}: {reason}"
        for name, reason in skipped
        if split(reason)[1] or not any(known in reason for known in allowed)
    ]


def main() -> None:
    """Print the summary, or with ``--allow`` fail where more was skipped than that."""
    parser = argparse.ArgumentParser(description="What pytest skipped, and how to get it.")
    parser.add_argument("reports", nargs="+", metavar="REPORT")
    parser.add_argument("--allow", action="append", metavar="REASON")
    given = parser.parse_args()
    skipped = skipped_in(given.reports)
    if given.allow is None:
        print("\n" + "\n".join(summary(reason for _, reason in skipped)))
        print(NOT_COLLECTED)
    elif wrong := refused(skipped, given.allow):
        raise SystemExit("skipped, though it should run here:\n  " + "\n  ".join(wrong))


if __name__ == "__main__":
    main()

"""What every test may ask for."""

from __future__ import annotations

import pytest
import skips


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write tests/golden/* anew instead of comparing with them",
    )


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was skipped and how to get it, last of all; workers' reports come here too."""
    reports = terminalreporter.stats.get("skipped", [])
    if not reports:
        return
    # A module's skip is a test's too: file, line, "Skipped: reason".
    reasons = [report.longrepr[2].removeprefix("Skipped: ") for report in reports]
    terminalreporter.section("skipped")
    for line in skips.summary(reasons):
        terminalreporter.write_line(line)

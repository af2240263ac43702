"""What is quoted of an error in the message of another."""

from __future__ import annotations

import pytest

from tvm_mobilenet.errors import WeightsError, last_line, reason


@pytest.mark.parametrize(
    ("error", "line", "why"),
    [
        (ValueError("one"), "one", "ValueError: one"),
        (RuntimeError("Traceback\n  in f\n  Check failed: x\n\n"), "Check failed: x",
         "RuntimeError: Check failed: x"),
        (KeyError(), "KeyError", "KeyError"),
        (ValueError(" \n "), "ValueError", "ValueError"),
        (WeightsError("none there", "give some"), "none there", "WeightsError: none there"),
    ],
)  # fmt: skip
def test_the_last_line_or_the_name(error: Exception, line: str, why: str) -> None:
    assert last_line(error) == line
    assert reason(error) == why

"""The command line as a user runs it: a process, its output, its exit status."""

from __future__ import annotations

import os
import subprocess
import sys


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line; extra keywords are environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "tvm_mobilenet", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        stdin=subprocess.DEVNULL,
        # What a person's shell exported about its window is not part of a test.
        env={k: v for k, v in os.environ.items() if k != "COLUMNS"} | environment,
    )

"""The command line as a user runs it: a process, its output, its exit status."""

from __future__ import annotations

import os
import resource
import subprocess
import sys


def processor_seconds() -> float:
    """Return the seconds of processor that children took: a busy machine changes them little."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line; extra keywords are environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "tvm_mobilenet", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        stdin=subprocess.DEVNULL,
        # What a person's shell exported about its window is not part of a test.
        env={k: v for k, v in os.environ.items() if k != "COLUMNS"} | environment,
    )

"""Programs that make files: run one, and let what it made take its place."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tvm_mobilenet.errors import OutputError, ToolchainError

_log = logging.getLogger(__name__)

ANEW = "install it anew"
"""What to do about a tool that does not start."""
_LIMIT_S = 600


@contextlib.contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """Give a path to write to; what is there in the end becomes `target`, whole or not at all."""
    try:
        # Beside the output: os.replace is atomic only within a file system.
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as aside:
            made = Path(aside) / f"made{target.suffix}"
            yield made
            with made.open("rb") as file:
                os.fsync(file.fileno())
            made.replace(target)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}",
            "choose a path in a folder that exists and that you may write to",
        ) from error


def run_tool(
    command: Sequence[str], doing: str, remedy: str, environment: Mapping[str, str] | None = None
) -> str:
    """Run a compiler or a linker, and return what it says.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; no shell reads them.
    doing : str
        What fails where it does, such as ``"linking"``.
    remedy : str
        Below its own words.
    environment : mapping of str to str, optional
        Beside this process's.

    Raises
    ------
    ToolchainError
        It cannot be run, failed, or did not come to an end.
    """
    _log.debug("%s: %s", doing, shlex.join(command))
    try:
        done = subprocess.run(
            command,
            # zig is a module of Python's, which shall not be looked for where one stands.
            env={**os.environ, "LC_ALL": "C", "PYTHONSAFEPATH": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolchainError(
            f"{command[0]} did not finish in {_LIMIT_S} s", "try again on an idle machine"
        ) from error
    except OSError as error:
        raise ToolchainError(f"cannot run {command[0]}: {error.strerror}", ANEW) from error
    said = done.stdout.decode(errors="replace")
    if done.returncode:
        raise ToolchainError(
            f"{doing} failed with status {done.returncode}: {shlex.join(command)}\n{said.strip()}",
            remedy,
        )
    return said

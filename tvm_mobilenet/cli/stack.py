"""``--stack``: the same command in the environment of the other stack."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tvm_mobilenet.common.interpreter import python_module
from tvm_mobilenet.common.stacks import REMEDY, check_stack
from tvm_mobilenet.compilation.stack import this_stack
from tvm_mobilenet.errors import StackError

VARIABLE = "TVM_MOBILENET_RELAY"
"""Environment variable: the folder of the classic stack's environment."""

FOLDER = ".venv-relay"
"""What `make relay` makes beside the project."""


def use_stack(stack: str, arguments: Sequence[str]) -> None:
    """Go on here if this environment has a stack, else in the one that has it.

    Parameters
    ----------
    arguments : sequence of str
        The whole command line, ``--stack`` included.

    Raises
    ------
    StackError
        There is no such stack, or no environment with it.
    """
    if stack == this_stack().name:
        return
    if stack != "relay":
        check_stack(stack, f"`--stack {stack}`")
    _become(find_environment(), arguments)


def find_environment() -> Path:
    """Find the interpreter of the classic stack's environment.

    Returns
    -------
    Path
        In the folder that :data:`VARIABLE` names, else :data:`FOLDER` beside the project
        or the environment in use. Never of the working directory: whose folder one happens
        to stand in does not decide what runs.

    Raises
    ------
    StackError
        It is nowhere; the message says how to make it.
    """
    given = os.environ.get(VARIABLE)
    project = Path(__file__).resolve().parents[2]
    beside = [place / FOLDER for place in (project, Path(sys.prefix).parent)]
    folders = [Path(given)] if given else list(dict.fromkeys(beside))
    for folder in folders:
        interpreter = folder / "bin" / "python"
        if os.access(interpreter, os.X_OK) and (given or _is_ours(folder)):
            return interpreter
    raise StackError(
        f"the classic stack has no environment: no bin/python in {', '.join(map(str, folders))}",
        f"make it with `make relay`, or name its folder in {VARIABLE}",
    )


def _is_ours(folder: Path) -> bool:
    """Whether nobody else made a folder that was found: an environment in /tmp has neighbours."""
    return folder.stat().st_uid in {0, os.getuid()}


def _become(interpreter: Path, arguments: Sequence[str]) -> NoReturn:
    """Replace this process, so that signals, streams and the exit status are the command's own."""
    if interpreter.parent == Path(sys.executable).parent:  # or it would replace itself for ever
        raise StackError(f"{interpreter} has no TVM 0.19", REMEDY["relay"])
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(interpreter, [*python_module("tvm_mobilenet", str(interpreter)), *arguments])

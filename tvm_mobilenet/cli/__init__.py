"""The command line: parses, calls the api, prints.

``app``, ``run``, ``measuring`` and ``looking`` hold options and help texts, the modules that their
commands import what each does, ``output`` tables and progress, ``ending`` errors and statuses;
``small`` is all of tvm-mobilenet-runtime's.
Nothing beyond Typer is imported
before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``tvm-mobilenet``.

    Parameters
    ----------
    arguments : sequence of str, optional
        Instead of ``sys.argv[1:]``.

    Returns
    -------
    int
        Exit status, see :func:`tvm_mobilenet.cli.ending.run`.
    """
    try:
        from tvm_mobilenet.cli.ending import run
    except KeyboardInterrupt:  # before anything here can take it
        return 130

    given = list(sys.argv[1:] if arguments is None else arguments)

    def command() -> None:
        try:
            from tvm_mobilenet.cli.app import command_line
        except ModuleNotFoundError as missing:
            if missing.name != "tvm_mobilenet.cli.app":
                raise
            # Of tvm-mobilenet-runtime.
            from tvm_mobilenet.cli.small import run_command

            run_command(given)
            return
        # `--stack` runs them again, elsewhere.
        command_line()(args=given, prog_name="tvm-mobilenet", obj=given)

    return run(command)

"""The command line: parses, calls the api, prints.

``app``, ``run``, ``measuring`` and ``looking`` hold options and help texts, the modules that their
commands import what each does, ``output`` tables and progress. Nothing beyond Typer is imported
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
        Exit status 2 after an error of ours, printed without a traceback.

    Raises
    ------
    SystemExit
        By Typer, after everything else: 0, or 2 for a wrong command line.
    """
    from tvm_mobilenet.cli import logs
    from tvm_mobilenet.cli.app import command_line
    from tvm_mobilenet.errors import TvmMobilenetError

    logs.start()
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        # `--stack` runs them again, elsewhere.
        command_line()(args=given, prog_name="tvm-mobilenet", obj=given)
    except TvmMobilenetError as error:
        logs.tell_error(error)
        return error.exit_status
    return 0

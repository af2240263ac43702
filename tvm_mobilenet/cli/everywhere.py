"""Options that are no command's own: ``--version``, ``--stack``, ``-v``, ``-q``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tvm_mobilenet.cli import logs, words


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from tvm_mobilenet import __version__
    from tvm_mobilenet.compilation.stack import this_stack

    stack = this_stack()
    versions = stack.versions()
    parts = [f"tvm-mobilenet {__version__}"]
    parts += [f"{package} {versions.get(package, 'not installed')}" for package in stack.packages]
    typer.echo(", ".join(parts))
    raise typer.Exit


def _use_stack(context: typer.Context, stack: str | None) -> None:
    if stack is not None:
        from tvm_mobilenet.cli.stack import use_stack

        use_stack(stack, context.obj)


Version = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Print this version and TVM's, and leave.",
    ),
]
UseStack = Annotated[
    str | None,
    typer.Option(
        callback=_use_stack,
        is_eager=True,  # --version, too, is of the stack
        help="relax, the main stack, or relay: the same on TVM 0.19, in the environment "
        "that `make relay` makes.",
        metavar="STACK",
    ),
]
# Their callbacks do all there is to do: no function is given their values.
Verbose = Annotated[
    bool,
    typer.Option(
        "-v",
        "--verbose",
        callback=logs.be_verbose,
        is_eager=True,
        expose_value=False,
        help=words.VERBOSE,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q",
        "--quiet",
        callback=logs.be_quiet,
        is_eager=True,
        expose_value=False,
        help=words.QUIET,
    ),
]


def with_everywhere(group: Any) -> Any:
    """Let every command below a group take its ``-v`` and ``-q`` too; return the group."""
    options = [option for option in group.params if option.name in ("verbose", "quiet")]
    waiting = list(group.commands.values())
    while waiting:
        command = waiting.pop()
        command.params += options
        waiting += getattr(command, "commands", {}).values()
    return group

"""Every ``--help``: fits 80 columns, and its examples are of that command and can be run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from tvm_mobilenet.cli.app import command_line

GROUP = command_line()


def commands(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*before, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))


def found(words: list[str]) -> tuple[Any, typer.Context, list[str]]:
    """The command that words name, and what is left of them."""
    command, context = GROUP, typer.Context(GROUP, info_name="tvm-mobilenet", terminal_width=80)
    while words and words[0] in getattr(command, "commands", ()):
        command = command.commands[words[0]]
        context = typer.Context(command, parent=context, info_name=words[0])
        words = words[1:]
    return command, context, words


def helped(words: tuple[str, ...]) -> list[str]:
    command, context, left = found(list(words))
    assert not left
    return str(command.get_help(context)).splitlines()


def examples(lines: list[str]) -> list[str]:
    """Commands as a shell reads them, without what is told behind them."""
    whole = re.sub(r" *\\\n *", " ", "\n".join(lines))
    told = (re.split(r"  | \| | > ", line.strip())[0] for line in whole.splitlines())
    return [line for line in told if line.startswith("tvm-mobilenet ") and "COMMAND" not in line]


def parsed(example: str) -> str:
    """Parse a command as if it were run; return the name of the command that it runs."""
    words = shlex.split(example, comments=True)[1:]
    if words[:2] == ["--stack", "relay"]:
        words = words[2:]
    command, context, left = found(words)
    command.make_context(command.name, left, parent=context.parent)
    return str(command.name)


@pytest.mark.parametrize("words", [(), *commands(GROUP)], ids=" ".join)
def test_it_fits_a_terminal_and_what_it_shows_can_be_run(words: tuple[str, ...]) -> None:
    lines = helped(words)
    assert [line for line in lines if len(line) > 80] == []
    shown = examples(lines)
    for example in shown:
        parsed(example)
    assert shown or words == ("device",)


@pytest.mark.parametrize("words", list(commands(GROUP)), ids=" ".join)
def test_the_examples_of_a_command_are_its_own(words: tuple[str, ...]) -> None:
    lines = helped(words)
    starts = [at for at, line in enumerate(lines) if line.strip() in ("Example:", "Examples:")]
    for start in starts:
        block = lines[start + 1 :]
        block = block[: block.index("")]
        assert {parsed(example) for example in examples(block)} <= {words[-1]}
    assert starts or words == ("device",)

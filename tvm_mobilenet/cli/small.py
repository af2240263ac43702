"""The command line of tvm-mobilenet-runtime: the commands that need no compiler, without Typer.

Their words, options and answers are those of the same commands of tvm-mobilenet.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tvm_mobilenet import __version__
from tvm_mobilenet.cli import logs, words
from tvm_mobilenet.cli.output import Form, progress_bar, show
from tvm_mobilenet.common.distributions import SMALL, refusal

_TOP = """Run compiled networks.

  tvm-mobilenet run m.so photo.jpg    classify
  tvm-mobilenet bench m.so            how fast it is
  tvm-mobilenet inspect m.so          what a file says of itself
  tvm-mobilenet COMMAND --help        options and examples
"""
_BENCH = """Time an artifact here.

Numbers of threads take turns in one process. tvm-mobilenet's own `bench` also
measures what this processor could do, and compares with other runtimes.

Examples:
  tvm-mobilenet bench mobilenet.so --threads 1,2
  tvm-mobilenet bench mobilenet.so --rounds 5 --warmup 0.5 --iterations 100
"""


def run_command(given: Sequence[str]) -> None:
    """Run what a command line asks for.

    Parameters
    ----------
    given : sequence of str
        It, without the program's name.

    Raises
    ------
    NotInstalledError
        A command of tvm-mobilenet that needs more than is here.
    TvmMobilenetError
        The command failed.
    """
    asked = next((word for word in given if not word.startswith("-")), None)
    if asked is not None and asked not in _COMMANDS:
        raise refusal(f"the command {asked!r}")
    parser = _parser()
    options = parser.parse_args(given)
    if asked is None:
        parser.print_help()
        return
    if getattr(options, "verbose", False):
        logs.be_verbose(True)
    if getattr(options, "quiet", False):
        logs.be_quiet(True)
    options.do(options)


def _run(options: argparse.Namespace) -> None:
    from tvm_mobilenet.cli.classifying import classify, loaded

    form = _form(options)
    module = loaded(options.artifact, options.threads)
    asked = {"batch": options.batch, "save": options.save, "form": form}
    if not classify(module, options.images, options.top, **asked):
        raise SystemExit(1)


def _bench(options: argparse.Namespace) -> None:
    from tvm_mobilenet.bench.alone import bench_alone
    from tvm_mobilenet.common.lists import numbers

    form = _form(options)
    with progress_bar() as progress:
        report = bench_alone(
            options.artifact,
            threads=numbers(options.threads, "--threads"),
            rounds=options.rounds,
            seconds=options.seconds,
            warmup=options.warmup,
            iterations=options.iterations,
            progress=progress,
        )
    show(form, report.table(), data=report.to_dict())


def _inspect(options: argparse.Namespace) -> None:
    from tvm_mobilenet.cli.inspecting import inspect_artifact

    inspect_artifact(options.artifact, _form(options))


def _form(options: argparse.Namespace) -> Form:
    return Form.asked(as_json=options.json, as_csv=options.csv, wide=options.wide)


def _parser() -> argparse.ArgumentParser:
    everywhere = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    everywhere.add_argument("-v", "--verbose", action="store_true", help=words.VERBOSE)
    everywhere.add_argument("-q", "--quiet", action="store_true", help=words.QUIET)
    how: dict[str, Any] = {
        "parents": [everywhere],
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }
    parser = argparse.ArgumentParser("tvm-mobilenet", description=_TOP, **how)
    version = f"{SMALL} {__version__}"
    parser.add_argument("--version", action="version", version=version, help="Print it, and leave.")
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, (text, options, do) in _COMMANDS.items():
        command = commands.add_parser(name, description=text.replace("\b\n", ""), **how)
        command.set_defaults(do=do)
        command.add_argument("artifact", type=Path, metavar="ARTIFACT", help=words.ARTIFACT)
        options(command)
        for option, told in (("--json", words.JSON), ("--csv", words.CSV), ("--wide", words.WIDE)):
            command.add_argument(option, action="store_true", help=told)
    return parser


def _run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("images", nargs="+", metavar="IMAGE", help=words.IMAGES)
    command.add_argument("--top", type=_positive, default=5, metavar="N", help=words.TOP)
    command.add_argument("--batch", type=_positive, metavar="N", help=words.BATCH)
    command.add_argument("--threads", type=int, metavar="N", help=words.THREADS)
    command.add_argument("--save", type=Path, metavar="FILE", help=words.SAVE)


def _bench_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--threads", default="1", metavar="NUMBERS", help=words.COUNTS)
    command.add_argument("--rounds", type=_positive, default=10, metavar="N", help=words.ROUNDS)
    command.add_argument("--seconds", type=float, default=0.3, metavar="S", help=words.SECONDS)
    command.add_argument("--warmup", type=float, metavar="S", help=words.WARMUP)
    command.add_argument("--iterations", type=_positive, metavar="N", help=words.ITERATIONS)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


_Options = Callable[[argparse.ArgumentParser], None]
_Do = Callable[[argparse.Namespace], None]
_COMMANDS: dict[str, tuple[str, _Options, _Do]] = {
    "run": (words.RUN, _run_options, _run),
    "bench": (_BENCH, _bench_options, _bench),
    "inspect": (words.INSPECT, lambda command: None, _inspect),
}

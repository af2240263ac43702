"""Options and help of the commands that only look: what there is, what would be, what was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvm_mobilenet.cli.groups import grouped
from tvm_mobilenet.cli.options import (
    Answer,
    Artifact,
    ModelName,
    NetworkOptions,
    Planning,
)


def report_command(
    log_dir: Annotated[Path, typer.Argument(help="The --log-dir of `tune`.", metavar="LOGDIR")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="HTML file to write.", metavar="FILE")
    ] = Path("report.html"),
) -> None:
    """Show a tuning run as one page for a browser.

    Its curve, kernels, roofline and failures. The page needs nothing else, from the
    network or from here. A run may still be writing to the folder.

    \b
    Examples:
      tvm-mobilenet report tuning
      tvm-mobilenet report mylogs -o mylogs.html
    """
    from tvm_mobilenet.cli.tuner import write_report

    write_report(log_dir, output)


@grouped
def explain(
    model: ModelName,
    *,
    network: NetworkOptions,
    planning: Planning,
    threads: Annotated[
        int | None, typer.Option(help="Threads that run it; the target's cores by default.")
    ] = None,
    answer: Answer,
) -> None:
    """Predict a network's kernels, bytes and time, without compiling.

    For each block, as separate kernels and as one: the bytes that come from each level
    of the caches, multiply-adds, predicted cycles, what bounds them, the choice and why.

    \b
    Examples:
      tvm-mobilenet explain v1
      tvm-mobilenet explain v1 --alpha 0.5 --target rpi4 --threads 1
      tvm-mobilenet explain v1 --dtype int8
      tvm-mobilenet explain v1 --records mylogs --cores 1
    """
    from tvm_mobilenet import api
    from tvm_mobilenet.cli.making import warnings_told
    from tvm_mobilenet.cli.output import show

    found, plan = network.find(model), planning.plan()
    with warnings_told():
        told = api.explain(
            found,
            target=plan.spec,
            dtype=planning.in_integers,
            fusion=plan.fusion,
            records=plan.records,
            threads=threads,
        )
    show(answer.form, told.table(), told.choices(), data=told.to_dict())


@grouped
def inspect(artifact: Artifact, *, answer: Answer) -> None:
    """Print a manifest; the help is :data:`tvm_mobilenet.cli.words.INSPECT`."""
    from tvm_mobilenet.cli.inspecting import inspect_artifact

    inspect_artifact(artifact, answer.form)


@grouped
def models(
    name: Annotated[
        str | None, typer.Argument(help="One network, layer by layer.", metavar="MODEL")
    ] = None,
    *,
    network: NetworkOptions,
    answer: Answer,
) -> None:
    """List the networks, or one layer by layer.

    \b
    Examples:
      tvm-mobilenet models
      tvm-mobilenet models v1 --alpha 0.75 --resolution 192
      tvm-mobilenet models v3-small
    """
    from tvm_mobilenet.cli.describing import show_models

    show_models(name, network.given(), answer.form)


@grouped
def targets(*, answer: Answer) -> None:
    """List the processors that --target knows.

    \b
    Example:
      tvm-mobilenet targets
    """
    from tvm_mobilenet.cli.describing import show_targets

    show_targets(answer.form)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Say what this machine has and lacks, and what command gets it.

    Compiles a small network, loads it and runs it. Each part is looked at for itself:
    whatever is broken, the rest is told.

    \b
    Exit status:
      0  compiling and running work here
      2  they do not; the first lines say why

    \b
    Examples:
      tvm-mobilenet doctor
      tvm-mobilenet doctor --json
    """
    from tvm_mobilenet.cli.doctor import examine

    if not examine(as_json):
        raise typer.Exit(2)


@grouped
def records_command(
    folder: Annotated[
        Path | None, typer.Argument(help="The package's own by default.", metavar="DIR")
    ] = None,
    *,
    answer: Answer,
) -> None:
    """List the tuning records that compile uses.

    Lines that cannot be read are named on standard error.

    \b
    Examples:
      tvm-mobilenet records
      tvm-mobilenet records mylogs --json
    """
    from tvm_mobilenet.cli.describing import show_records

    show_records(folder, answer.form)

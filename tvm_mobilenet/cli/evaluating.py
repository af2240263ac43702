"""``evaluate``: how good an artifact is on a person's own images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvm_mobilenet.cli.groups import grouped
from tvm_mobilenet.cli.options import Answer, Artifact, Threads

_PATIENCE_S = 2.0
"""Until then nobody asks how far it is."""


@grouped
def evaluate(
    artifact: Artifact,
    folder: Annotated[
        Path,
        typer.Argument(help="Images, in a subfolder for each class or flat.", metavar="FOLDER"),
    ],
    *,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="A CSV file of two columns, path below FOLDER and class; then subfolders say "
            "nothing.",
            metavar="FILE",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Another artifact, or an .onnx file, which onnxruntime runs.", metavar="FILE"
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Keep the result of each image here, and continue from it; by default beside "
            "the page of --html.",
            metavar="FILE",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page for browsers.", metavar="FILE")
    ] = None,
    threads: Threads = None,
    answer: Answer,
) -> None:
    """Tell how good an artifact is on images.

    Top-1 and top-5 where classes are known, images per second, the classes with most
    errors; with --against also how often both take an image for the same, and SQNR.
    Classes are names, numbers from 0, or all 1000 WordNet ids of ImageNet. The exit
    status is 1 where some images could not be read.

    \b
    Examples:
      tvm-mobilenet evaluate m.so photos
      tvm-mobilenet evaluate m.so photos --labels labels.csv --state seen.jsonl
      tvm-mobilenet evaluate int8.so photos --against float32.so
      tvm-mobilenet evaluate int8.so photos --against model.onnx --html page.html
    """
    from tvm_mobilenet.cli.output import progress_bar, say, show
    from tvm_mobilenet.evaluation.evaluate import evaluate as run
    from tvm_mobilenet.evaluation.page import write_page

    form = answer.form
    if html is not None:
        _check_page(html)
        state = state or html.with_name(f"{html.name}.state.jsonl")
    with progress_bar(after_s=_PATIENCE_S) as told:
        report = run(
            artifact,
            folder,
            labels=labels,
            against=against,
            state=state,
            threads=threads,
            progress=told,
        )
    for what in report.skipped:
        say(f"skipped: {what}", error=True)
    if html is not None:
        write_page(report, html)
        say(f"written: {html}", error=True)
    show(form, *report.tables(), data=report.to_dict())
    if report.skipped:
        raise typer.Exit(1)


def _check_page(path: Path) -> None:
    """Refuse a page that cannot be written, before anything is computed."""
    from tvm_mobilenet.errors import OutputError

    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"cannot write {str(path)!r}", "choose a path in a folder that exists")

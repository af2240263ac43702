"""Options of ``run``, and where it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tvm_mobilenet.cli import words
from tvm_mobilenet.cli.groups import grouped
from tvm_mobilenet.cli.options import Answer, Artifact, OnDevice, Save, Threads

if TYPE_CHECKING:
    from tvm_mobilenet.device import RemoteModule
    from tvm_mobilenet.runtime import Loaded


@grouped
def run(
    artifact: Artifact,
    images: Annotated[list[str], typer.Argument(help=words.IMAGES, metavar="IMAGE...")],
    *,
    top_k: Annotated[int, typer.Option("--top", help=words.TOP, min=1)] = 5,
    batch: Annotated[int | None, typer.Option(help=words.BATCH, min=1)] = None,
    threads: Threads = None,
    device: OnDevice = None,
    save: Save = None,
    answer: Answer,
) -> None:
    """Classify images, or run arrays; the help is :data:`tvm_mobilenet.cli.words.RUN`."""
    from tvm_mobilenet.cli.classifying import classify

    form = answer.form
    with opened(artifact, threads, device) as module:
        complete = classify(module, images, top_k, batch=batch, save=save, form=form)
    if not complete:
        raise typer.Exit(1)


@contextlib.contextmanager
def opened(
    artifact: Path, threads: int | None, device: str | None
) -> Iterator[Loaded | RemoteModule]:
    """Load an artifact, here or on a device, for the time of the block."""
    if device is None:
        from tvm_mobilenet.cli.classifying import loaded

        yield loaded(artifact, threads)
        return
    from tvm_mobilenet.device import open_device

    with open_device(device) as board, board.session() as session:
        yield session.artifact(artifact, threads)

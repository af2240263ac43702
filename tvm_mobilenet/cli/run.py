"""Options and help of ``run``."""

from __future__ import annotations

from typing import Annotated

import typer

from tvm_mobilenet.cli.groups import grouped
from tvm_mobilenet.cli.options import Answer, Artifact, OnDevice, Save, Threads


@grouped
def run(
    artifact: Artifact,
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders (with those inside them), or - for standard input: "
            "an image, or names of files by line; or arrays as .npy or .npz.",
            metavar="IMAGE...",
        ),
    ],
    *,
    top_k: Annotated[int, typer.Option("--top", help="Classes to print.", min=1)] = 5,
    batch: Annotated[
        int | None,
        typer.Option(help="Images a call; as many as the artifact takes by default.", min=1),
    ] = None,
    threads: Threads = None,
    device: OnDevice = None,
    save: Save = None,
    answer: Answer,
) -> None:
    """Classify images, or run arrays.

    Preprocesses as the artifact says and prints the likeliest classes. Photographs
    are turned upright; of an animation the first frame counts. What cannot be read
    is named on standard error and skipped. Arrays go in as they are, any number of
    examples in each; of a network that does not classify, the outputs are described.

    \b
    Exit status:
      0  every image was classified
      1  some were skipped
      2  none was classified, or the artifact cannot be run

    \b
    Examples:
      tvm-mobilenet run mobilenet.so cat.jpg dog.png --top 3
      tvm-mobilenet run mobilenet.so ~/Pictures --json > classes.json
      tvm-mobilenet run mobilenet.so batch.npy --save scores.npz
      find . -name '*.jpg' -newer mark | tvm-mobilenet run mobilenet.so -
    """
    from tvm_mobilenet.cli.classifying import run_images

    complete = run_images(
        artifact,
        images,
        top_k,
        batch=batch,
        threads=threads,
        device=device,
        save=save,
        form=answer.form,
    )
    if not complete:
        raise typer.Exit(1)

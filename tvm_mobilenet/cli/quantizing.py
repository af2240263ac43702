"""``quantize``: a network in integers, and what that cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tvm_mobilenet.cli.groups import Group, grouped
from tvm_mobilenet.cli.options import (
    Answer,
    ModelName,
    NetworkOptions,
    Pixels,
    TargetOptions,
    WeightOptions,
)
from tvm_mobilenet.cli.output import Form

if TYPE_CHECKING:
    from tvm_mobilenet.models.network import Network

_ONNX = ".onnx"
_PATIENCE_S = 2.0
"""Seconds before there is a bar."""


@dataclass(frozen=True)
class Ranges(Group):
    """How ranges are chosen, and which layers stay out of integers."""

    method: Annotated[
        Literal["auto", "mse", "average", "minmax", "percentile"],
        typer.Option(
            help="Ranges by least squared error, the images' average extremes, extremes, or "
            "without the outermost; auto takes the better of the first two."
        ),
    ] = "auto"
    keep: Annotated[
        list[str] | None,
        typer.Option(help="A layer to leave out of integers; once for each.", metavar="LAYER"),
    ] = None
    min_sqnr: Annotated[
        float | None,
        typer.Option(
            help="Leave the layers that hurt most out, until the logits have so many dB.",
            metavar="DB",
        ),
    ] = None
    min_agreement: Annotated[
        float | None,
        typer.Option(
            help="The same until so many of the images keep their first class, 0 to 1.",
            min=0,
            max=1,
            metavar="SHARE",
        ),
    ] = None
    keep_as: Annotated[
        Literal["auto", "bfloat16", "float32"],
        typer.Option(
            help="What those are stored as; auto: bfloat16 where the target multiplies it, else "
            "float32. In an .onnx file they are float32."
        ),
    ] = "auto"
    samples: Annotated[int, typer.Option(help="Images to take at most.", min=1)] = 64
    pixels: Pixels = False

    def on(self, target: TargetOptions, output: Path | None) -> dict[str, Any]:
        """Return what the api is asked for, with what the target and the file can hold."""
        given = self.given()
        if output is not None and output.suffix == _ONNX:
            return given | {"keep_as": "float32"}
        some = self.keep or self.min_sqnr is not None or self.min_agreement is not None
        if some and target.plan().kept(self.keep_as) == "float32":
            return given | {"keep_as": "float32"}
        return given


@grouped
def quantize(
    model: ModelName,
    images: Annotated[
        Path,
        typer.Option(
            help="Folder of images to calibrate with: some dozens that look like the task's.",
            metavar="DIR",
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="What to write: an artifact, q.so; or q.onnx, for other runtimes.",
            metavar="FILE",
        ),
    ] = None,
    how: Ranges,
    network: NetworkOptions,
    weights: WeightOptions,
    target: TargetOptions,
    answer: Answer,
) -> None:
    """Quantise a network to int8 after training, and say what it cost.

    Prints the signal-to-noise ratio of every layer, those that lost most first,
    and that of the logits. The network in the .so is verified bit for bit.

    \b
    Examples:
      tvm-mobilenet quantize v2 --weights pretrained --images photos -o v2.so
      tvm-mobilenet quantize v1 --images photos --min-sqnr 25 -o v1.so
      tvm-mobilenet quantize model.onnx --images photos --keep Conv_0 -o q.so
      tvm-mobilenet quantize v2 --images . --min-sqnr 25 --keep-as float32 -o q.so
      tvm-mobilenet quantize v2 --images photos -o v2.onnx   QDQ, for onnxruntime
    """
    from tvm_mobilenet.artifact.emission import SHARED, check_name
    from tvm_mobilenet.cli.making import check_writable, warnings_told
    from tvm_mobilenet.cli.output import progress_bar, say, show, size, waiting
    from tvm_mobilenet.compilation.quantizing import quantize as run

    if output is not None:
        if output.suffix != _ONNX:
            check_name(output, SHARED)
        check_writable(output)
    found, asked = network.find(model), how.on(target, output)
    with progress_bar(after_s=_PATIENCE_S) as told:
        made, report = run(found, images, **weights.given(), **asked, progress=told)
    if output is not None:
        with warnings_told(), waiting(f"writing {report.title} in integers"):
            write(made, output, target, None if how.pixels else weights.preprocess)
    show(answer.form, report.table(), data=report.to_dict())
    if output is not None and answer.form is Form.table:
        say(f"{output}: {size(output.stat().st_size)}")


def write(made: Network, output: Path, target: TargetOptions, preprocess: str | None) -> None:
    """Write a network in integers as what a file's ending says."""
    if output.suffix == _ONNX:
        from tvm_mobilenet.models.onnx_qdq import write_qdq

        write_qdq(made, output)
        return
    from tvm_mobilenet import api

    api.compile(made, target=target.plan().spec, preprocess=preprocess).export(output)

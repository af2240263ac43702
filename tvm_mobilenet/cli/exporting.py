"""``export``: a network as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvm_mobilenet.cli.options import (
    Alpha,
    Batch,
    Classes,
    ModelName,
    Paddings,
    Resolution,
    Weights,
)


def export(
    model: ModelName,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="ONNX file to write.", metavar="FILE")
    ],
    alpha: Alpha = None,
    resolution: Resolution = None,
    classes: Classes = None,
    batch: Batch = None,
    padding: Paddings = None,
    weights: Weights = None,
    seed: Annotated[
        int, typer.Option(help="Seed of random weights, where none are given.", min=0)
    ] = 0,
) -> None:
    """Write a network as an ONNX file, for every other runtime.

    \b
    Examples:
      tvm-mobilenet export v1 --alpha 0.5 -o v1.onnx
      tvm-mobilenet export v2 --weights pretrained -o v2.onnx
    """
    from tvm_mobilenet.cli.describing import model_options
    from tvm_mobilenet.cli.output import say, size
    from tvm_mobilenet.models.network import find_model, network_from
    from tvm_mobilenet.models.onnx_export import export_onnx

    options = model_options(alpha, resolution, classes, batch, padding and padding.value)
    network = network_from(find_model(model, options), weights, seed)
    export_onnx(network.model, network.weights, output)
    say(f"{output}: {network.model.title}, {size(output.stat().st_size)}")

"""``export``: a network as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvm_mobilenet.cli.groups import grouped
from tvm_mobilenet.cli.options import ModelName, ModelOptions, Seed, Weights


@grouped
def export(
    model: ModelName,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="ONNX file to write.", metavar="FILE")
    ],
    *,
    network: ModelOptions,
    weights: Weights = None,
    seed: Seed = 0,
) -> None:
    """Write a network as an ONNX file, for every other runtime.

    \b
    Examples:
      tvm-mobilenet export v1 --alpha 0.5 -o v1.onnx
      tvm-mobilenet export v2 --weights pretrained -o v2.onnx
    """
    from tvm_mobilenet.cli.output import say, size
    from tvm_mobilenet.models.network import network_from
    from tvm_mobilenet.models.onnx_export import export_onnx

    made = network_from(network.find(model), weights, seed)
    export_onnx(made.model, made.weights, output)
    say(f"{output}: {made.model.title}, {size(output.stat().st_size)}")

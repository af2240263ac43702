"""Options and help of ``verify``, ``bench`` and ``profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvm_mobilenet.cli.options import (
    Artifact,
    Batch,
    Dtype,
    Json,
    OnDevice,
    OnnxFile,
    Threads,
    Weights,
)


def verify(
    artifact: Artifact,
    weights: Weights = None,
    model: OnnxFile = None,
    device: OnDevice = None,
    as_json: Json = False,
) -> None:
    """Compare an artifact with the NumPy reference, and with onnx's if it is from a file.

    Layer by layer and end to end; exit status 2 where a number is wrong.

    \b
    Example:
      tvm-mobilenet verify mobilenet.so
      tvm-mobilenet verify v3.so --weights hf-hub:timm/mobilenetv3_large_100.ra_in1k
      tvm-mobilenet verify pi.so --device ssh://pi@raspberrypi
    """
    from tvm_mobilenet.cli.using import verify_artifact

    verify_artifact(artifact, weights, model, device, as_json)


def bench(
    artifact: Annotated[
        str, typer.Argument(help="An artifact; or with --target a model, compiled first.")
    ],
    against: Annotated[
        str,
        typer.Option(
            help="Runtimes to compare with, by commas: onnxruntime,openvino,ncnn; on a GPU torch.",
            metavar="RUNTIMES",
        ),
    ] = "",
    threads: Annotated[
        str, typer.Option(help="Numbers of threads, by commas: 1,2.", metavar="NUMBERS")
    ] = "1",
    weights: Weights = None,
    model: OnnxFile = None,
    target: Annotated[
        str | None,
        typer.Option(help="Compile a model for this first: cuda, sm_90, ….", metavar="TARGET"),
    ] = None,
    dtype: Dtype = None,
    batch: Batch = None,
    rounds: Annotated[int, typer.Option(help="Turns that every runtime takes.", min=1)] = 10,
    seconds: Annotated[float, typer.Option(help="Length of a turn.", min=0.01)] = 0.3,
    device: OnDevice = None,
    as_json: Json = False,
) -> None:
    """Time an artifact, the bound, and other runtimes.

    Every runtime has a process of its own and they take turns, the others
    stopped. The same weights go to all, and outputs are compared. A ratio is
    the other's median over ours: above 1 we are faster. On a GPU PyTorch is timed
    eager, channels_last and compiled with CUDA graphs; cuDNN autotuned, TF32 off.

    \b
    Examples:
      tvm-mobilenet bench mobilenet.so --threads 1,2
      tvm-mobilenet bench v1 --target cuda --dtype float16 --batch 64 --against torch
      tvm-mobilenet bench mobilenet.so --against onnxruntime,openvino,ncnn --json
    """
    from tvm_mobilenet.cli.timing import bench_artifact, names, numbers

    if target is not None:
        from tvm_mobilenet.cli.on_gpu import compiled_for

        with compiled_for(artifact, target, dtype, batch, weights=weights) as path:
            bench_artifact(
                path,
                against=names(against),
                threads=numbers(threads),
                weights=None,
                model=model,
                rounds=rounds,
                seconds=seconds,
                as_json=as_json,
            )
        return
    if device is not None:
        from tvm_mobilenet.cli.devices import bench_on_device

        bench_on_device(
            Path(artifact),
            device,
            against=names(against),
            threads=numbers(threads),
            rounds=rounds,
            seconds=seconds,
            as_json=as_json,
        )
        return
    bench_artifact(
        Path(artifact),
        against=names(against),
        threads=numbers(threads),
        weights=weights,
        model=model,
        rounds=rounds,
        seconds=seconds,
        as_json=as_json,
    )


def profile(
    artifact: Artifact,
    threads: Threads = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the roofline: .png, .pdf or .svg.", metavar="FILE"),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Runs to take medians of.", min=1)] = 40,
    device: OnDevice = None,
    as_json: Json = False,
) -> None:
    """Time every layer in the network, alone, and against its bound.

    The bound is the larger of two: multiply-adds at the measured peak, and bytes
    at the measured bandwidth of where they come from. On several threads it
    also says how uneven each layer's parts are, and what the thread pool takes.

    \b
    Examples:
      tvm-mobilenet profile mobilenet.so --threads 2
      tvm-mobilenet profile mobilenet.so --threads 1 --plot roofline.png
    """
    from tvm_mobilenet.cli.profiling import profile_artifact

    if device is not None:
        from tvm_mobilenet.cli.devices import profile_on_device

        profile_on_device(
            artifact, device, threads=threads, plot=plot, repeats=repeats, as_json=as_json
        )
        return
    profile_artifact(artifact, threads, plot, repeats, as_json)

"""Options and help of ``verify``, ``bench`` and ``profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tvm_mobilenet.cli.options import (
    Artifact,
    Csv,
    Dtype,
    Json,
    OnDevice,
    OnnxFile,
    Save,
    Threads,
    Weights,
    Wide,
)
from tvm_mobilenet.cli.output import Form


def verify(
    artifact: Artifact,
    weights: Weights = None,
    model: OnnxFile = None,
    device: OnDevice = None,
    given: Annotated[
        Path | None,
        typer.Option(
            "--input", help="An .npy or .npz file to compare on, not a made image.", metavar="FILE"
        ),
    ] = None,
    save: Save = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Compare an artifact with the NumPy reference, and with onnx's if it is from a file.

    Layer by layer and end to end; exit status 2 where a number is wrong.

    \b
    Examples:
      tvm-mobilenet verify mobilenet.so
      tvm-mobilenet verify v3.so --weights hf-hub:timm/mobilenetv3_large_100.ra_in1k
      tvm-mobilenet verify mobilenet.so --input mine.npy --save outputs.npz
      tvm-mobilenet verify pi.so --device ssh://pi@raspberrypi
    """
    from tvm_mobilenet.cli.using import verify_artifact

    form = Form.asked(as_json=as_json, as_csv=as_csv, wide=wide)
    verify_artifact(
        artifact, form, weights=weights, model=model, device=device, inputs=given, save=save
    )


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
    contexts: Annotated[
        int,
        typer.Option(
            help="Copies of each runtime at a time, each with its own threads: throughput.", min=1
        ),
    ] = 1,
    weights: Weights = None,
    model: OnnxFile = None,
    target: Annotated[
        str | None,
        typer.Option(help="Compile a model for this first: native, sm_90, ….", metavar="TARGET"),
    ] = None,
    dtype: Dtype = None,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Images a call: of a model that is compiled first, or as the artifact has it.",
            min=1,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Turns that every runtime takes.", min=1)] = 10,
    seconds: Annotated[float, typer.Option(help="Length of a turn.", min=0.001)] = 0.3,
    warmup: Annotated[
        float | None,
        typer.Option(
            help="Seconds before each turn that are not timed; a fifth of the turn by default.",
            min=0,
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(help="Calls to time in a turn, instead of its --seconds.", min=1),
    ] = None,
    device: OnDevice = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Time an artifact, the bound, and other runtimes.

    Every runtime has a process of its own and they take turns, the others
    stopped. The same weights go to all, and outputs are compared. A ratio is
    the other's median over ours: above 1 we are faster. On a GPU PyTorch is timed
    eager, channels_last and compiled with CUDA graphs; cuDNN autotuned, TF32 off.

    \b
    Examples:
      tvm-mobilenet bench mobilenet.so --threads 1,2
      tvm-mobilenet bench mobilenet.so --against onnxruntime,openvino,ncnn --json
      tvm-mobilenet bench mobilenet.so --rounds 5 --warmup 0.5 --iterations 100 --wide
      tvm-mobilenet bench mobilenet.so --contexts 2 --threads 1   # two at a time: images/s
      tvm-mobilenet bench v1 --target native --batch 8            # compiled first
      tvm-mobilenet bench v1 --target cuda --dtype float16 --batch 64 --against torch
    """
    from tvm_mobilenet.cli.devices import bench_on_device
    from tvm_mobilenet.cli.timing import bench_artifact
    from tvm_mobilenet.lists import names, numbers

    given: dict[str, Any] = {
        "against": names(against),
        "threads": numbers(threads, "--threads"),
        "form": Form.asked(as_json=as_json, as_csv=as_csv, wide=wide),
        "rounds": rounds,
        "seconds": seconds,
        "warmup": warmup,
        "iterations": iterations,
        "contexts": contexts,
        "batch": batch,
    }
    if target is not None:
        from tvm_mobilenet.cli.on_gpu import compiled_for

        with compiled_for(artifact, target, dtype, batch, weights=weights) as path:
            bench_artifact(path, model=model, **given)
    elif device is not None:
        bench_on_device(Path(artifact), device, weights=weights, model=model, **given)
    else:
        bench_artifact(Path(artifact), weights=weights, model=model, **given)


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
    as_csv: Csv = False,
    wide: Wide = False,
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

    form = Form.asked(as_json=as_json, as_csv=as_csv, wide=wide)

    if device is not None:
        from tvm_mobilenet.cli.devices import profile_on_device

        profile_on_device(artifact, device, threads=threads, plot=plot, repeats=repeats, form=form)
        return
    profile_artifact(artifact, threads, plot, repeats, form)

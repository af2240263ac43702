"""Options and help of ``verify``, ``bench`` and ``profile``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tvm_mobilenet.cli import words
from tvm_mobilenet.cli.groups import grouped
from tvm_mobilenet.cli.options import (
    Answer,
    Artifact,
    ArtifactWeights,
    OnDevice,
    OnnxFile,
    Save,
    Stores,
    Threads,
)


@grouped
def verify(
    artifact: Artifact,
    *,
    weights: ArtifactWeights = None,
    model: OnnxFile = None,
    device: OnDevice = None,
    given: Annotated[
        Path | None,
        typer.Option(
            "--input", help="An .npy or .npz file to compare on, not a made image.", metavar="FILE"
        ),
    ] = None,
    save: Save = None,
    answer: Answer,
) -> None:
    """Compare an artifact with the NumPy reference, layer by layer.

    Also end to end, and what came from an ONNX file with onnx's own evaluator. The
    exit status is 2 where a number is wrong.

    \b
    Examples:
      tvm-mobilenet verify mobilenet.so
      tvm-mobilenet verify mine.so --weights mine.npz
      tvm-mobilenet verify mobilenet.so --input mine.npy --save outputs.npz
      tvm-mobilenet verify pi.so --device ssh://pi@raspberrypi
    """
    from tvm_mobilenet.cli.timing import verify_artifact

    verify_artifact(
        artifact,
        answer.form,
        weights=weights,
        model=model,
        device=device,
        inputs=given,
        save=save,
    )


Runtimes = Annotated[
    str,
    typer.Option(
        help="Runtimes to compare with, by commas: onnxruntime,openvino,ncnn,litert; on a GPU "
        "torch.",
        metavar="RUNTIMES",
    ),
]


@dataclass(frozen=True)
class Turns:
    """How long and how often to measure; the names are those of :func:`tvm_mobilenet.bench`."""

    rounds: Annotated[int, typer.Option(help=words.ROUNDS, min=1)] = 10
    seconds: Annotated[float, typer.Option(help=words.SECONDS, min=0.001)] = 0.3
    warmup: Annotated[
        float | None,
        typer.Option(
            help=words.WARMUP,
            min=0,
        ),
    ] = None
    iterations: Annotated[
        int | None,
        typer.Option(help=words.ITERATIONS, min=1),
    ] = None
    contexts: Annotated[
        int,
        typer.Option(
            help="Copies of each runtime at a time, each with its own threads: throughput.", min=1
        ),
    ] = 1


@grouped
def bench(
    artifact: Annotated[
        str,
        typer.Argument(
            help="An artifact; or with --target a model, which is compiled first.",
            metavar="ARTIFACT",
        ),
    ],
    *,
    against: Runtimes = "",
    threads: Annotated[str, typer.Option(help=words.COUNTS, metavar="NUMBERS")] = "1",
    weights: ArtifactWeights = None,
    model: OnnxFile = None,
    target: Annotated[
        str | None,
        typer.Option(help="Compile a model for this first: native, sm_90, ….", metavar="TARGET"),
    ] = None,
    dtype: Stores = None,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Images a call: of a model that is compiled first, or as the artifact has it.",
            min=1,
        ),
    ] = None,
    turns: Turns,
    device: OnDevice = None,
    answer: Answer,
) -> None:
    """Time an artifact, and compare with the bound and other runtimes.

    Every runtime has a process of its own and they take turns, the others
    stopped. The same weights go to all, and outputs are compared. A ratio is
    the other's median over ours: above 1 we are faster. On a GPU PyTorch is timed
    eager, channels_last and compiled with CUDA graphs; cuDNN autotuned, TF32 off.

    \b
    Examples:
      tvm-mobilenet bench mobilenet.so --threads 1,2
      tvm-mobilenet bench mobilenet.so --against onnxruntime,openvino,ncnn,litert
      tvm-mobilenet bench mobilenet.so --rounds 5 --warmup 0.5 --iterations 100
      tvm-mobilenet bench mobilenet.so --contexts 2   # two at a time: images/s
      tvm-mobilenet bench v1 --target native --batch 8        # compiled first
      tvm-mobilenet bench v1 --target cuda --batch 64 --against torch
    """
    from tvm_mobilenet.cli.timing import bench_artifact, compiled_for
    from tvm_mobilenet.common.lists import names, numbers

    given = {
        **dataclasses.asdict(turns),
        "against": names(against),
        "threads": numbers(threads, "--threads"),
        "model": model,
        "batch": batch,
    }
    if target is None:
        bench_artifact(Path(artifact), answer.form, device=device, weights=weights, **given)
        return
    with compiled_for(artifact, target, dtype, batch, weights=weights) as path:
        bench_artifact(path, answer.form, device=None, **given)


@grouped
def profile(
    artifact: Artifact,
    *,
    threads: Threads = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the roofline: .png, .pdf or .svg.", metavar="FILE"),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Runs to take medians of.", min=1)] = 40,
    device: OnDevice = None,
    answer: Answer,
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
    from tvm_mobilenet.cli.timing import profile_artifact

    profile_artifact(
        artifact, answer.form, device=device, plot=plot, threads=threads, repeats=repeats
    )

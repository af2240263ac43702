"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

# Typer reads annotations when a command is declared; Optional, because `X | None` is not an
# annotation that Python 3.10 can evaluate for every X.


class Padding(str, Enum):
    """Where strided layers pad."""

    same = "same"
    symmetric = "symmetric"


class Stored(str, Enum):
    """What a GPU's maps and weights are stored as."""

    float32 = "float32"
    float16 = "float16"


class Fusion(str, Enum):
    """Which layers share a kernel."""

    auto = "auto"
    all = "all"
    none = "none"


def _models(incomplete: str) -> Iterator[str]:
    """Complete a network's name, or an ``.onnx`` file's."""
    from tvm_mobilenet.models import MODELS

    yield from (name for name in MODELS if name.startswith(incomplete))
    folder = Path(incomplete if incomplete.endswith("/") else Path(incomplete).parent)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = f"{path}/" if path.is_dir() else str(path)
        if name.startswith(incomplete) and (path.is_dir() or path.suffix == ".onnx"):
            yield name


def _targets(incomplete: str) -> Iterator[str]:
    """Complete what `tvm-mobilenet targets` lists."""
    from tvm_mobilenet.target import GPUS, PRESETS

    names = ("native", "cuda", *PRESETS, *GPUS)
    yield from (name for name in dict.fromkeys(names) if name.startswith(incomplete))


Artifact = Annotated[
    Path, typer.Argument(help="File that `tvm-mobilenet compile` wrote.", metavar="ARTIFACT")
]
ModelName = Annotated[
    str,
    typer.Argument(
        help="Which network: v1, v2, v3-large, v3-small, or an .onnx file.",
        metavar="MODEL",
        autocompletion=_models,
    ),
]
Alpha = Annotated[float | None, typer.Option(help="Width multiplier; 1.0 by default.")]
Resolution = Annotated[int | None, typer.Option(help="Height and width in pixels; 224 by default.")]
InputShape = Annotated[
    str | None,
    typer.Option(
        help="Of an .onnx file: the whole shape of its input, in its order; instead of "
        "--resolution and --batch.",
        metavar="[NAME:]1,3,H,W",
    ),
]
Classes = Annotated[int | None, typer.Option(help="Outputs; 1000 by default.")]
Batch = Annotated[int | None, typer.Option(help="Images per run; 1 by default.")]
Paddings = Annotated[
    Padding | None,
    typer.Option(help="As TensorFlow pads (same, the default of v1) or as PyTorch (symmetric)."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="A file (.npz, .safetensors, .pth) with our names, torchvision's or timm's; "
        "pretrained; or hf-hub:OWNER/NAME.",
        metavar="WEIGHTS",
    ),
]
OnnxFile = Annotated[
    Path | None,
    typer.Option("--model", help="The .onnx file it was compiled from, if moved.", metavar="FILE"),
]
Target = Annotated[
    str,
    typer.Option(
        help="native, a preset, an LLVM triple, TVM's JSON, or a GPU: sm_90, opencl, metal, ….",
        metavar="TARGET",
        autocompletion=_targets,
    ),
]
Mcpu = Annotated[str | None, typer.Option(help="LLVM processor of a triple.")]
Mattr = Annotated[str | None, typer.Option(help="LLVM features of a triple, such as +dotprod.")]
Cores = Annotated[int | None, typer.Option(help="Cores to plan for; the target's own by default.")]
Host = Annotated[
    str | None,
    typer.Option(
        help="Of a GPU: the processor beside it, such as aarch64-linux-gnu.", metavar="TARGET"
    ),
]
Dtype = Annotated[
    Stored | None,
    typer.Option(help="Of a GPU: what maps and weights are stored as; float32 by default."),
]
Fusions = Annotated[
    Fusion,
    typer.Option(help="Layers that share a kernel: by record or rule, all that can, none."),
]
Records = Annotated[
    str | None,
    typer.Option(
        help="Folder of tuning records, instead of the package's; none: rules only.",
        metavar="DIR|none",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
Csv = Annotated[
    bool, typer.Option("--csv", help="Print the table as CSV instead, numbers in full.")
]
Wide = Annotated[bool, typer.Option("--wide", help="All columns, however wide the table becomes.")]
Save = Annotated[
    Path | None,
    typer.Option(help="Write the outputs: .npz by name, or .npy of a single one.", metavar="FILE"),
]
OnDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Do it there: HOST:PORT, tracker://HOST:PORT/KEY, ssh://USER@HOST[:PORT].",
        metavar="DEVICE",
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="Threads; TVM_NUM_THREADS, or all cores, by default.")
]

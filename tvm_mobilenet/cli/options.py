"""Arguments and options that several commands share, alone or as groups of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tvm_mobilenet.artifact.emission import SHARED, Emit
from tvm_mobilenet.artifact.native_header import PREFIX
from tvm_mobilenet.cli import words
from tvm_mobilenet.cli.groups import Group
from tvm_mobilenet.cli.output import Form

if TYPE_CHECKING:
    from tvm_mobilenet.compilation.options import CompileOptions, PlanOptions
    from tvm_mobilenet.models import Model
    from tvm_mobilenet.models.importer import Imported


def _models(incomplete: str) -> Iterator[str]:
    """Complete a network's name, or that of an ``.onnx`` or ``.tflite`` file."""
    from tvm_mobilenet.models import MODELS

    yield from (name for name in MODELS if name.startswith(incomplete))
    folder = Path(incomplete if incomplete.endswith("/") else Path(incomplete).parent)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = f"{path}/" if path.is_dir() else str(path)
        if name.startswith(incomplete) and (path.is_dir() or path.suffix in (".onnx", ".tflite")):
            yield name


def _targets(incomplete: str) -> Iterator[str]:
    """Complete what `tvm-mobilenet targets` lists."""
    from tvm_mobilenet.machine import GPUS, PRESETS

    names = ("native", "cuda", *PRESETS, *GPUS)
    yield from (name for name in dict.fromkeys(names) if name.startswith(incomplete))


Artifact = Annotated[Path, typer.Argument(help=words.ARTIFACT, metavar="ARTIFACT")]
ModelName = Annotated[
    str,
    typer.Argument(
        help="Which network: a name that `models` lists, such as v1, v3-small or mobileone-s0, or "
        "an .onnx or .tflite file.",
        metavar="MODEL",
        autocompletion=_models,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="A file (.npz, .safetensors, .pth) with our names, torchvision's or timm's; "
        "pretrained; or hf-hub:OWNER/NAME. Random by default.",
        metavar="WEIGHTS",
    ),
]
ArtifactWeights = Annotated[
    str | None,
    typer.Option(
        help="The weights that the artifact was compiled with; by default found where it says.",
        metavar="WEIGHTS",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of random weights, where none are given.", min=0)]
OnnxFile = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="The .onnx or .tflite file that the artifact was compiled from, if moved.",
        metavar="FILE",
    ),
]
Fusions = Annotated[
    Literal["auto", "all", "none"],
    typer.Option(
        help="Which layers share a kernel: auto, as a record or else the cost model says; all that "
        "can; none."
    ),
]
Save = Annotated[
    Path | None,
    typer.Option(help=words.SAVE, metavar="FILE"),
]
OnDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Run it on a board: HOST:PORT, tracker://HOST:PORT/KEY, ssh://USER@HOST[:PORT].",
        metavar="DEVICE",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(help=words.THREADS),
]
Stored = Literal["float32", "float16", "bfloat16", "int8"]
Stores = Annotated[
    Stored | None,
    typer.Option(
        "--dtype",
        help="What maps and weights are stored as: float32 by default; float16 by a GPU or ARM, "
        "bfloat16 by a processor that multiplies it; or int8: a processor computes in integers.",
    ),
]


@dataclass(frozen=True)
class ModelOptions(Group):
    """Which variant of a family; what is not given is the family's own."""

    alpha: Annotated[
        float | None,
        typer.Option(help="Width multiplier of V1 to V4 and MnasNet; 1.0 by default."),
    ] = None
    resolution: Annotated[
        int | None,
        typer.Option(help="Height and width in pixels; by default the network's own, mostly 224."),
    ] = None
    classes: Annotated[int | None, typer.Option(help="Outputs; 1000 by default.")] = None
    batch: Annotated[int | None, typer.Option(help="Images a call; 1 by default.")] = None
    padding: Annotated[
        Literal["same", "symmetric"] | None,
        typer.Option(
            help="Pad as TensorFlow does (same, the default of v1) or as PyTorch (symmetric)."
        ),
    ] = None

    def find(self, name: str, *, epsilon: float | None = None) -> Model | Imported:
        """Return the network of a name or a file."""
        from tvm_mobilenet.models.network import find_model

        return find_model(name, self.given() | ({} if epsilon is None else {"epsilon": epsilon}))


@dataclass(frozen=True)
class NetworkOptions(ModelOptions):
    """The same, of a file too."""

    input_shape: Annotated[
        str | None,
        typer.Option(
            help="The whole shape of a file's input, in its order; instead of --resolution "
            "and --batch.",
            metavar="[NAME:]1,3,H,W",
        ),
    ] = None


@dataclass(frozen=True)
class TargetOptions(Group):
    """What to compile for."""

    target: Annotated[
        str,
        typer.Option(
            help="native, a preset (see `tvm-mobilenet targets`), an LLVM triple, TVM's JSON, or a "
            "GPU: sm_90, opencl, metal, ….",
            metavar="TARGET",
            autocompletion=_targets,
        ),
    ] = "native"
    mcpu: Annotated[str | None, typer.Option(help="LLVM processor of a triple.")] = None
    mattr: Annotated[
        str | None, typer.Option(help="LLVM features of a triple, such as +dotprod.")
    ] = None
    cores: Annotated[
        int | None, typer.Option(help="Cores to plan for; the target's own by default.")
    ] = None
    host: Annotated[
        str | None,
        typer.Option(
            help="The processor beside a GPU, such as aarch64-linux-gnu.", metavar="TARGET"
        ),
    ] = None
    dtype: Stores = None

    @property
    def in_integers(self) -> Literal["int8"] | None:
        """What is asked for beside a target that is understood already."""
        return "int8" if self.dtype == "int8" else None

    def plan(self) -> PlanOptions:
        """Return what the api is asked to plan for."""
        from tvm_mobilenet.compilation.options import PlanOptions

        return PlanOptions(**self.given())


@dataclass(frozen=True)
class Planning(TargetOptions):
    """What decides which kernels there are, and with which knobs."""

    fusion: Fusions = "auto"
    records: Annotated[
        str | None,
        typer.Option(
            help="Folder of tuning records, instead of the package's; none: every kernel by rule.",
            metavar="DIR|none",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """Return those that were given; records that are ``none`` are False there."""
        return super().given() | ({"records": False} if self.records == "none" else {})


@dataclass(frozen=True)
class WeightOptions(Group):
    """What numbers a network has, and what they expect of an image."""

    weights: Weights = None
    seed: Seed = 0
    preprocess: Annotated[
        str | None,
        typer.Option(
            help="What images go through: torchvision, tf (-1 to 1), none (0 to 255), a JSON file; "
            "what the weights say by default.",
            metavar="RECIPE",
        ),
    ] = None


Pixels = Annotated[
    bool,
    typer.Option(
        "--pixels",
        help="The network takes pixels as they are, bytes of 0 to 255: mean and deviation go into "
        "its first convolution.",
    ),
]


@dataclass(frozen=True)
class Compiling(Planning):
    """All that is asked of a compilation beside its network."""

    dtype: Annotated[
        Stored | None,
        typer.Option(
            help="What maps and weights are stored as: float32 by default; float16 by a GPU or "
            "ARM, bfloat16 by a processor that multiplies it. Or int8: a processor computes in "
            "integers, by ranges from --calibration."
        ),
    ] = None
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images to quantise by; `quantize` says more of what that cost.",
            metavar="DIR",
        ),
    ] = None
    pixels: Pixels = False
    require_records: Annotated[
        bool, typer.Option("--require-records", help="Fail where a kernel has no record.")
    ] = False
    verify: Annotated[
        bool,
        typer.Option(
            help="Check against the NumPy reference before writing, here or on the --device."
        ),
    ] = True
    device: Annotated[
        str | None,
        typer.Option(
            help="A board to compile for and to verify on: HOST:PORT, tracker://HOST:PORT/KEY, "
            "ssh://USER@HOST[:PORT].",
            metavar="DEVICE",
        ),
    ] = None
    dump_ir: Annotated[
        Path | None,
        typer.Option(help="Write the module after every phase into a folder.", metavar="DIR"),
    ] = None

    def options(self, weights: WeightOptions, written: Written) -> CompileOptions:
        """Return what the api is asked for."""
        from tvm_mobilenet.compilation.options import CompileOptions

        return CompileOptions(
            **self.given(), **weights.given(), prefix=written.prefix, emit=written.emit
        )


@dataclass(frozen=True)
class Written(Group):
    """What compiling writes, and what C calls it."""

    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write.", metavar="FILE")
    ] = None
    package: Annotated[
        Path | None,
        typer.Option(
            help="Write a folder instead: the library, its header, and what CMake and pkg-config "
            "find them by.",
            metavar="DIR",
        ),
    ] = None
    emit: Annotated[
        Emit,
        typer.Option(
            help="What to write: so, a shared object; a, a static archive; object, a .o; c-header, "
            "the header alone. An archive or object has C functions only, none for TVM."
        ),
    ] = SHARED
    prefix: Annotated[
        str,
        typer.Option(
            help="What the names of C functions begin with; two networks in one program need "
            "different ones.",
            metavar="NAME",
        ),
    ] = PREFIX
    header: Annotated[
        Path | None,
        typer.Option(help="Write a header for programs in C and C++, too.", metavar="FILE"),
    ] = None


@dataclass(frozen=True)
class Answer:
    """How a command with a table answers."""

    as_json: Annotated[bool, typer.Option("--json", help=words.JSON)] = False
    as_csv: Annotated[bool, typer.Option("--csv", help=words.CSV)] = False
    wide: Annotated[bool, typer.Option("--wide", help=words.WIDE)] = False

    @property
    def form(self) -> Form:
        """What the three ask for; InputError where two contradict each other."""
        return Form.asked(as_json=self.as_json, as_csv=self.as_csv, wide=self.wide)

"""Options and help of the commands that only look: what there is, what would be, what was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvm_mobilenet.cli.options import (
    Alpha,
    Artifact,
    Batch,
    Classes,
    Cores,
    Csv,
    Dtype,
    Fusion,
    Fusions,
    Host,
    InputShape,
    Json,
    Mattr,
    Mcpu,
    ModelName,
    Paddings,
    Records,
    Resolution,
    Target,
    Wide,
)
from tvm_mobilenet.cli.output import Form


def report_command(
    log_dir: Annotated[Path, typer.Argument(help="The --log-dir of `tune`.", metavar="LOGDIR")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="HTML file to write.", metavar="FILE")
    ] = Path("report.html"),
) -> None:
    """Show a tuning run as one page for a browser: curve, kernels, roofline, failures.

    The page needs nothing else, from the network or from here. A run may still be
    writing to the folder.

    \b
    Examples:
      tvm-mobilenet report tuning
      tvm-mobilenet report mylogs -o mylogs.html
    """
    from tvm_mobilenet.cli.tuner import write_report

    write_report(log_dir, output)


def explain(
    model: ModelName,
    alpha: Alpha = None,
    resolution: Resolution = None,
    input_shape: InputShape = None,
    classes: Classes = None,
    batch: Batch = None,
    padding: Paddings = None,
    target: Target = "native",
    mcpu: Mcpu = None,
    mattr: Mattr = None,
    cores: Cores = None,
    host: Host = None,
    dtype: Dtype = None,
    fusion: Fusions = Fusion.auto,
    records: Records = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads that run it; the target's cores by default.")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Predict bytes, time and which layers share a kernel, without compiling.

    For each block, as kernels apart and as one: bytes that come from each level of
    the caches, multiply-adds, predicted cycles, what bounds them, the choice and why.

    \b
    Examples:
      tvm-mobilenet explain v1
      tvm-mobilenet explain v1 --alpha 0.5 --resolution 160 --target rpi4 --threads 1
    """
    from tvm_mobilenet.cli.describing import model_options
    from tvm_mobilenet.cli.explaining import explain_model
    from tvm_mobilenet.cli.making import target_of

    explain_model(
        model,
        model_options(
            alpha, resolution, classes, batch, padding and padding.value, input_shape=input_shape
        ),
        target=target_of(target, mcpu, mattr, cores, host=host, dtype=dtype),
        fusion=fusion.value,
        records=False if records == "none" else records,
        threads=threads,
        form=Form.asked(as_json=as_json, as_csv=as_csv, wide=wide),
    )


def inspect(
    artifact: Artifact, as_json: Json = False, as_csv: Csv = False, wide: Wide = False
) -> None:
    """Print what an artifact says about itself.

    Nothing in it is executed.

    \b
    Examples:
      tvm-mobilenet inspect mobilenet.so
      tvm-mobilenet inspect mobilenet.so --json | jq .needs
    """
    from tvm_mobilenet.cli.making import inspect_artifact

    inspect_artifact(artifact, Form.asked(as_json=as_json, as_csv=as_csv, wide=wide))


def models(
    name: Annotated[
        str | None, typer.Argument(help="One network, layer by layer.", metavar="MODEL")
    ] = None,
    alpha: Alpha = None,
    resolution: Resolution = None,
    input_shape: InputShape = None,
    classes: Classes = None,
    batch: Batch = None,
    padding: Paddings = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """List the networks, or one layer by layer.

    \b
    Examples:
      tvm-mobilenet models
      tvm-mobilenet models v1 --alpha 0.75 --resolution 192
      tvm-mobilenet models v3-small
    """
    from tvm_mobilenet.cli.describing import model_options, show_models

    options = model_options(
        alpha, resolution, classes, batch, padding and padding.value, input_shape=input_shape
    )
    show_models(name, options, Form.asked(as_json=as_json, as_csv=as_csv, wide=wide))


def targets(as_json: Json = False, as_csv: Csv = False, wide: Wide = False) -> None:
    """List the processors that --target knows.

    \b
    Example:
      tvm-mobilenet targets
    """
    from tvm_mobilenet.cli.describing import show_targets

    show_targets(Form.asked(as_json=as_json, as_csv=as_csv, wide=wide))


def doctor(as_json: Json = False) -> None:
    """Say what this machine has, what it lacks, and the command that gets it.

    Compiles a tiny kernel, loads it and runs it. Each part is looked at for itself: whatever
    is broken, the rest is told.

    \b
    Exit status:
      0  compiling and running work here
      2  they do not; the first lines say why

    \b
    Examples:
      tvm-mobilenet doctor
      tvm-mobilenet doctor --json
    """
    from tvm_mobilenet.cli.doctor import examine

    if not examine(as_json):
        raise typer.Exit(2)


def records_command(
    folder: Annotated[
        Path | None, typer.Argument(help="The package's own by default.", metavar="DIR")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """List the tuning records that compile uses.

    Lines that cannot be read are named on standard error.

    \b
    Examples:
      tvm-mobilenet records
      tvm-mobilenet records mylogs --json
    """
    from tvm_mobilenet.cli.describing import show_records

    show_records(folder, Form.asked(as_json=as_json, as_csv=as_csv, wide=wide))

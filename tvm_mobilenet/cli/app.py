"""Options and help of every command. What a command does is in ``commands``."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from tvm_mobilenet.cli import devices
from tvm_mobilenet.cli.options import (
    Alpha,
    Artifact,
    Batch,
    Classes,
    Cores,
    Fusion,
    Fusions,
    Json,
    Mattr,
    Mcpu,
    ModelName,
    OnDevice,
    Paddings,
    Records,
    Resolution,
    Target,
    Threads,
    Weights,
)
from tvm_mobilenet.cli.run import run

app = typer.Typer(
    name="tvm-mobilenet",
    no_args_is_help=True,
    add_completion=False,
    # Rich help would import all of rich before a word is printed.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

app.add_typer(devices.app, name="device")


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from tvm_mobilenet import __version__

    parts = [f"tvm-mobilenet {__version__}"]
    for package in ("apache-tvm", "apache-tvm-ffi"):
        try:
            parts.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            parts.append(f"{package} not installed")
    typer.echo(", ".join(parts))
    raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print this version and TVM's, and leave.",
        ),
    ] = False,
) -> None:
    """Compile MobileNets with Apache TVM into one verified .so, and use it.

    \b
    Start here:
      tvm-mobilenet compile v1 -o mobilenet.so     compile for this processor, verified
      tvm-mobilenet run mobilenet.so photo.jpg     classify
      tvm-mobilenet bench mobilenet.so             how fast, and how far from the bound
      tvm-mobilenet profile mobilenet.so           where the time goes, layer by layer

    \b
    Then:
      tvm-mobilenet models                         which networks, how large
      tvm-mobilenet targets                        which processors
      tvm-mobilenet explain v1 --target rpi4       what would be chosen there, and why
      tvm-mobilenet tune v1 --trials 500           faster knobs for this processor
      tvm-mobilenet device check ssh://USER@HOST   what a board is
      tvm-mobilenet COMMAND --help                 options and examples
    """


@app.command("compile")
def compile_command(
    model: ModelName,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Shared object to write.", metavar="FILE")
    ],
    alpha: Alpha = None,
    resolution: Resolution = None,
    classes: Classes = None,
    batch: Batch = None,
    padding: Paddings = None,
    weights: Weights = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Of batch norm; what the weights or the family have by default."),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of random weights, where none are given.", min=0)
    ] = 0,
    preprocess: Annotated[
        str | None,
        typer.Option(
            help="What images go through: torchvision, tf (-1 to 1), none (0 to 255), a JSON file; "
            "what the weights say by default.",
            metavar="RECIPE",
        ),
    ] = None,
    target: Target = "native",
    mcpu: Mcpu = None,
    mattr: Mattr = None,
    cores: Cores = None,
    verify: Annotated[
        bool,
        typer.Option(help="Check against the NumPy reference before writing (this machine only)."),
    ] = True,
    fusion: Fusions = Fusion.auto,
    records: Records = None,
    require_records: Annotated[
        bool, typer.Option("--require-records", help="Fail where a kernel has no record.")
    ] = False,
    strassen: Annotated[
        bool,
        typer.Option(
            "--strassen",
            help="Seven products for eight in large 1 x 1 layers: faster, rounds more.",
        ),
    ] = False,
    dump_ir: Annotated[
        Path | None,
        typer.Option(help="Write the module after every phase into a folder.", metavar="DIR"),
    ] = None,
) -> None:
    """Compile a network into one .so, verified.

    Prints, layer by layer, the schedule, where its knobs came from, and the
    share of time (timed where the target is this machine).

    \b
    Examples:
      tvm-mobilenet compile v1 -o mobilenet.so
      tvm-mobilenet compile v1 --alpha 0.5 --resolution 160 --weights w.npz -o small.so
      tvm-mobilenet compile v2 --weights pretrained -o mobilenet.so
      tvm-mobilenet compile v3-large --weights hf-hub:timm/mobilenetv3_large_100.ra_in1k -o v3.so
      tvm-mobilenet compile v1 --target rpi4 -o pi.so
      tvm-mobilenet compile v1 --target aarch64-linux-gnu --mcpu cortex-a76 -o pi5.so
    """
    from tvm_mobilenet.cli.describing import model_options
    from tvm_mobilenet.cli.making import compile_model, target_of

    options = model_options(alpha, resolution, classes, batch, padding and padding.value)
    compile_model(
        model,
        options if epsilon is None else options | {"epsilon": epsilon},
        output,
        weights=weights,
        seed=seed,
        preprocess=preprocess,
        target=target_of(target, mcpu, mattr, cores),
        verify=verify,
        fusion=fusion.value,
        records=False if records == "none" else records,
        require_records=require_records,
        strassen=strassen,
        dump_ir=dump_ir,
    )


@app.command()
def tune(
    model: ModelName,
    trials: Annotated[
        int,
        typer.Option(help="Candidates to try in all, earlier runs included.", min=0, metavar="N"),
    ],
    alpha: Alpha = None,
    resolution: Resolution = None,
    classes: Classes = None,
    batch: Batch = None,
    padding: Paddings = None,
    target: Target = "native",
    mcpu: Mcpu = None,
    mattr: Mattr = None,
    cores: Cores = None,
    fusion: Fusions = Fusion.auto,
    tuner: Annotated[
        str,
        typer.Option(
            help="template: the knobs of our own schedules; auto: what MetaSchedule generates.",
            metavar="NAME",
        ),
    ] = "template",
    log_dir: Annotated[
        Path, typer.Option(help="Folder of the history and the records.", metavar="DIR")
    ] = Path("tuning"),
    device: Annotated[
        str,
        typer.Option(
            help="Who measures: local, HOST:PORT, tracker://HOST:PORT/KEY, ssh://USER@HOST.",
            metavar="DEVICE",
        ),
    ] = "local",
    cool_down: Annotated[
        float, typer.Option(help="Seconds of rest before each measurement.", min=0)
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of what is tried.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Search faster knobs for every kernel, on the machine itself.

    Candidates are built and run in processes that may crash or hang. Each is compared
    with the NumPy reference; the fastest of each kernel meets the rule's knobs in turns
    before its record is kept. Whatever ends a run, the same command continues it;
    --trials 0 only keeps the best of what was tried.

    \b
    Examples:
      tvm-mobilenet tune v1 --trials 500
      tvm-mobilenet tune v1 --trials 500 --cores 1 --log-dir mylogs
      tvm-mobilenet compile v1 --records mylogs --cores 1 -o mobilenet.so
    """
    from tvm_mobilenet.cli.describing import model_options
    from tvm_mobilenet.cli.making import target_of
    from tvm_mobilenet.cli.tuner import tune_model

    native_there = device != "local" and target == "native" and not (mcpu or mattr)
    tune_model(
        model,
        model_options(alpha, resolution, classes, batch, padding and padding.value),
        as_json,
        trials=trials,
        # A device says itself what is native there.
        target=target if native_there else target_of(target, mcpu, mattr, cores),
        log_dir=log_dir,
        tuner=tuner,
        device=device,
        cores=cores,
        fusion=fusion.value,
        cool_down=cool_down,
        seed=seed,
    )


@app.command("report")
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


@app.command()
def explain(
    model: ModelName,
    alpha: Alpha = None,
    resolution: Resolution = None,
    classes: Classes = None,
    batch: Batch = None,
    padding: Paddings = None,
    target: Target = "native",
    mcpu: Mcpu = None,
    mattr: Mattr = None,
    cores: Cores = None,
    fusion: Fusions = Fusion.auto,
    records: Records = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads that run it; the target's cores by default.")
    ] = None,
    as_json: Json = False,
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
        model_options(alpha, resolution, classes, batch, padding and padding.value),
        target=target_of(target, mcpu, mattr, cores),
        fusion=fusion.value,
        records=False if records == "none" else records,
        threads=threads,
        as_json=as_json,
    )


app.command()(run)


@app.command()
def verify(
    artifact: Artifact, weights: Weights = None, device: OnDevice = None, as_json: Json = False
) -> None:
    """Compare an artifact with the NumPy reference.

    Layer by layer and end to end; exit status 2 where a number is wrong.

    \b
    Example:
      tvm-mobilenet verify mobilenet.so
      tvm-mobilenet verify pi.so --device ssh://pi@raspberrypi
    """
    from tvm_mobilenet.cli.using import verify_artifact

    verify_artifact(artifact, weights, device, as_json)


@app.command()
def bench(
    artifact: Artifact,
    against: Annotated[
        str,
        typer.Option(
            help="Runtimes to compare with, by commas: onnxruntime,openvino,ncnn.",
            metavar="RUNTIMES",
        ),
    ] = "",
    threads: Annotated[
        str, typer.Option(help="Numbers of threads, by commas: 1,2.", metavar="NUMBERS")
    ] = "1",
    weights: Weights = None,
    rounds: Annotated[int, typer.Option(help="Turns that every runtime takes.", min=1)] = 10,
    seconds: Annotated[float, typer.Option(help="Length of a turn.", min=0.01)] = 0.3,
    device: OnDevice = None,
    as_json: Json = False,
) -> None:
    """Time an artifact, the bound, and other runtimes.

    Every runtime has a process of its own and they take turns, the others
    stopped. The same weights go to all, and outputs are compared. A ratio is
    the other's median over ours: above 1 we are faster.

    \b
    Examples:
      tvm-mobilenet bench mobilenet.so --threads 1,2
      tvm-mobilenet bench mobilenet.so --against onnxruntime,openvino,ncnn --json
    """
    from tvm_mobilenet.cli.timing import bench_artifact, names, numbers

    if device is not None:
        from tvm_mobilenet.cli.devices import bench_on_device

        bench_on_device(
            artifact,
            device,
            against=names(against),
            threads=numbers(threads),
            rounds=rounds,
            seconds=seconds,
            as_json=as_json,
        )
        return
    bench_artifact(
        artifact,
        against=names(against),
        threads=numbers(threads),
        weights=weights,
        rounds=rounds,
        seconds=seconds,
        as_json=as_json,
    )


@app.command()
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


@app.command()
def inspect(artifact: Artifact, as_json: Json = False) -> None:
    """Print what an artifact says about itself.

    Nothing in it is executed.

    \b
    Examples:
      tvm-mobilenet inspect mobilenet.so
      tvm-mobilenet inspect mobilenet.so --json | jq .needs
    """
    from tvm_mobilenet.cli.making import inspect_artifact

    inspect_artifact(artifact, as_json)


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="One network, layer by layer.", metavar="MODEL")
    ] = None,
    alpha: Alpha = None,
    resolution: Resolution = None,
    classes: Classes = None,
    batch: Batch = None,
    padding: Paddings = None,
    as_json: Json = False,
) -> None:
    """List the networks, or one layer by layer.

    \b
    Examples:
      tvm-mobilenet models
      tvm-mobilenet models v1 --alpha 0.75 --resolution 192
      tvm-mobilenet models v3-small
    """
    from tvm_mobilenet.cli.describing import model_options, show_models

    options = model_options(alpha, resolution, classes, batch, padding and padding.value)
    show_models(name, options, as_json)


@app.command()
def targets(as_json: Json = False) -> None:
    """List the processors that --target knows.

    \b
    Example:
      tvm-mobilenet targets
    """
    from tvm_mobilenet.cli.describing import show_targets

    show_targets(as_json)


@app.command("records")
def records_command(
    folder: Annotated[
        Path | None, typer.Argument(help="The package's own by default.", metavar="DIR")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the tuning records that compile uses.

    Lines that cannot be read are named on standard error.

    \b
    Examples:
      tvm-mobilenet records
      tvm-mobilenet records mylogs --json
    """
    from tvm_mobilenet.cli.describing import show_records

    show_records(folder, as_json)

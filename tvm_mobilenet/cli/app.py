"""The command line: what there is, and the options and help of what makes an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tvm_mobilenet.cli import devices, looking, measuring
from tvm_mobilenet.cli.everywhere import Quiet, UseStack, Verbose, Version, with_everywhere
from tvm_mobilenet.cli.exporting import export
from tvm_mobilenet.cli.options import (
    Alpha,
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
    OnDevice,
    Paddings,
    Records,
    Resolution,
    Target,
    Weights,
    Wide,
)
from tvm_mobilenet.cli.output import Form
from tvm_mobilenet.cli.run import run

app = typer.Typer(
    name="tvm-mobilenet",
    no_args_is_help=True,
    # Rich help would import all of rich before a word is printed.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

app.add_typer(devices.app, name="device")


@app.callback()
def top(
    version: Version = False,
    stack: UseStack = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Compile MobileNets with Apache TVM into one verified .so, and use it.

    \b
    Start here:
      tvm-mobilenet compile v2 --weights pretrained -o m.so   for this processor, verified
      tvm-mobilenet run m.so photo.jpg                        classify
      tvm-mobilenet bench m.so                                how fast, how far from the bound
      tvm-mobilenet profile m.so                              where the time goes, by layer
      tvm-mobilenet doctor                                    what is installed, what is missing

    \b
    Then:
      tvm-mobilenet models                         which networks, how large
      tvm-mobilenet targets                        which processors
      tvm-mobilenet explain v1 --target rpi4       what would be chosen there, and why
      tvm-mobilenet tune v1 --trials 500           faster knobs for this processor
      tvm-mobilenet device check ssh://USER@HOST   what a board is
      tvm-mobilenet --stack relay compile v1 -o m.so   Relay and TE schedules instead of Relax
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
    input_shape: InputShape = None,
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
    host: Host = None,
    dtype: Dtype = None,
    verify: Annotated[
        bool,
        typer.Option(
            help="Check against the NumPy reference before writing, here or on the --device."
        ),
    ] = True,
    fusion: Fusions = Fusion.auto,
    records: Records = None,
    require_records: Annotated[
        bool, typer.Option("--require-records", help="Fail where a kernel has no record.")
    ] = False,
    dump_ir: Annotated[
        Path | None,
        typer.Option(help="Write the module after every phase into a folder.", metavar="DIR"),
    ] = None,
    device: OnDevice = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
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
      tvm-mobilenet compile model.onnx --batch 4 -o mine.so
      tvm-mobilenet compile v1 --target rpi4 -o pi.so
      tvm-mobilenet compile v1 --target aarch64-linux-gnu --mcpu cortex-a76 -o pi5.so
      tvm-mobilenet compile v1 --target sm_90 --dtype float16 -o cuda.so   # no GPU needed
      tvm-mobilenet compile v1 --target sm_87 --host aarch64-linux-gnu -o jetson.so
      tvm-mobilenet compile v1 --device ssh://pi@raspberrypi -o pi.so   # verified there
    """
    from tvm_mobilenet.cli.describing import model_options
    from tvm_mobilenet.cli.making import compile_model, target_of

    form = Form.asked(as_json=as_json, as_csv=as_csv, wide=wide)
    options = model_options(
        alpha, resolution, classes, batch, padding and padding.value, input_shape=input_shape
    )
    compile_model(
        model,
        options if epsilon is None else options | {"epsilon": epsilon},
        output,
        weights=weights,
        seed=seed,
        preprocess=preprocess,
        target=target_of(target, mcpu, mattr, cores, device, host=host, dtype=dtype),
        verify=verify,
        fusion=fusion.value,
        records=False if records == "none" else records,
        require_records=require_records,
        dump_ir=dump_ir,
        device=device,
        form=form,
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
    tuner: Annotated[
        str,
        typer.Option(
            help="template: the knobs of our own schedules; auto: what MetaSchedule generates; "
            "with --stack relay: template, autotvm or ansor.",
            metavar="NAME",
        ),
    ] = "template",
    log_dir: Annotated[
        Path, typer.Option(help="Folder of the history and the records.", metavar="DIR")
    ] = Path("tuning"),
    device: Annotated[
        str,
        typer.Option(
            help="Who measures, and without --target says what to tune for: local, HOST:PORT, "
            "tracker://HOST:PORT/KEY (all boards under the key), ssh://USER@HOST.",
            metavar="DEVICE",
        ),
    ] = "local",
    cool_down: Annotated[
        float, typer.Option(help="Seconds of rest before each measurement.", min=0)
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of what is tried.", min=0)] = 0,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Search faster knobs for every kernel, on this machine or on boards (--device).

    Candidates are built and run in processes that may crash or hang. Each is compared
    with the NumPy reference; the fastest of each kernel meets the rule's knobs in turns
    before its record is kept. Whatever ends a run, the same command continues it;
    --trials 0 only keeps the best of what was tried.

    \b
    Examples:
      tvm-mobilenet tune v1 --trials 500
      tvm-mobilenet tune v1 --trials 500 --cores 1 --log-dir mylogs
      tvm-mobilenet compile v1 --records mylogs --cores 1 -o mobilenet.so
      tvm-mobilenet tune v1 --trials 500 --device ssh://pi@raspberrypi --log-dir pilogs
      tvm-mobilenet compile v1 --target sm_90 --dtype float16 -o cuda.so   # no GPU needed
      tvm-mobilenet compile v1 --target sm_87 --host aarch64-linux-gnu -o jetson.so
      tvm-mobilenet compile v1 --device ssh://pi@raspberrypi --records pilogs -o pi.so
    """
    from tvm_mobilenet.cli.describing import model_options
    from tvm_mobilenet.cli.making import target_of
    from tvm_mobilenet.cli.tuner import tune_model

    native_there = device != "local" and target == "native" and not (mcpu or mattr)
    tune_model(
        model,
        model_options(
            alpha, resolution, classes, batch, padding and padding.value, input_shape=input_shape
        ),
        Form.asked(as_json=as_json, as_csv=as_csv, wide=wide),
        trials=trials,
        # A device says itself what is native there.
        target=target
        if native_there
        else target_of(target, mcpu, mattr, cores, host=host, dtype=dtype),
        log_dir=log_dir,
        tuner=tuner,
        device=device,
        cores=cores,
        fusion=fusion.value,
        cool_down=cool_down,
        seed=seed,
    )


# Those above make an artifact; these use one, or need none.
app.command()(export)
app.command()(run)
app.command()(measuring.verify)
app.command()(measuring.bench)
app.command()(measuring.profile)
app.command()(looking.explain)
app.command("report")(looking.report_command)
app.command()(looking.inspect)
app.command()(looking.models)
app.command()(looking.targets)
app.command("records")(looking.records_command)
app.command()(looking.doctor)


def command_line() -> Any:
    """Return the command, made of all of this."""
    return with_everywhere(typer.main.get_command(app))

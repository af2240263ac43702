"""The command line: what there is, and the options and help of what makes an artifact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tvm_mobilenet.cli import devices, looking, measuring, words
from tvm_mobilenet.cli.evaluating import evaluate
from tvm_mobilenet.cli.everywhere import Quiet, UseStack, Verbose, Version, with_everywhere
from tvm_mobilenet.cli.exporting import export
from tvm_mobilenet.cli.groups import Group, grouped
from tvm_mobilenet.cli.options import (
    Answer,
    Compiling,
    Fusions,
    ModelName,
    NetworkOptions,
    TargetOptions,
    WeightOptions,
    Written,
)
from tvm_mobilenet.cli.quantizing import quantize
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
      tvm-mobilenet compile v2 --weights pretrained -o m.so  for this machine
      tvm-mobilenet run m.so photo.jpg                       classify
      tvm-mobilenet bench m.so                               how fast it is
      tvm-mobilenet evaluate m.so FOLDER                     how good it is
      tvm-mobilenet profile m.so                             where the time goes
      tvm-mobilenet doctor                                   what is missing here

    \b
    Then:
      tvm-mobilenet models                            which networks, how large
      tvm-mobilenet targets                           which processors
      tvm-mobilenet explain v1 --target rpi4          which kernels, and why
      tvm-mobilenet tune v1 --trials 500              faster knobs, measured here
      tvm-mobilenet device check ssh://USER@HOST      what a board is
      tvm-mobilenet --stack relay compile v1 -o m.so  Relay and TE, not Relax
      tvm-mobilenet COMMAND --help                    options and examples
    """


@app.command("compile")
@grouped
def compile_command(
    model: ModelName,
    *,
    written: Written,
    network: NetworkOptions,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Of batch norm; what the weights or the family have by default."),
    ] = None,
    weights: WeightOptions,
    how: Compiling,
    answer: Answer,
) -> None:
    """Compile a network into one .so, verified.

    Prints, layer by layer, the schedule, where its knobs came from, and the
    share of time (timed where the target is this machine).

    \b
    Examples:
      tvm-mobilenet compile v1 -o mobilenet.so
      tvm-mobilenet compile v1 --alpha 0.5 --resolution 160 -o small.so
      tvm-mobilenet compile v2 --weights pretrained -o mobilenet.so
      tvm-mobilenet compile v3-large -o v3.so \\
          --weights hf-hub:timm/mobilenetv3_large_100.ra_in1k
      tvm-mobilenet compile model.onnx --batch 4 -o mine.so
      tvm-mobilenet compile v1 --target rpi4 -o pi.so
      tvm-mobilenet compile v1 --device ssh://pi@raspberrypi -o pi.so

    \b
    In integers of 8 bits, with some dozens of images that look like the task's:
      tvm-mobilenet compile v2 --weights pretrained -o v2.so \\
          --dtype int8 --calibration photos

    \b
    For a program in C, C++, Rust or Go, which needs no TVM:
      tvm-mobilenet compile v1 --prefix net -o libnet.so --header net.h
      tvm-mobilenet compile v1 --prefix net --emit a -o libnet.a --header net.h
      tvm-mobilenet compile v1 --prefix net --package net

    \b
    For another processor, or a GPU; neither has to be here:
      tvm-mobilenet compile v1 -o pi5.so \\
          --target aarch64-linux-gnu --mcpu cortex-a76
      tvm-mobilenet compile v1 --target sm_90 --dtype float16 -o cuda.so
      tvm-mobilenet compile v1 -o jetson.so \\
          --target sm_87 --host aarch64-linux-gnu
    """
    from tvm_mobilenet.cli.making import compile_model

    found = network.find(model, epsilon=epsilon)
    compile_model(found, written, how.options(weights, written), answer.form)


@dataclass(frozen=True)
class SearchOptions(Group):
    """How the tuner searches; the names are those of :func:`tvm_mobilenet.tune`."""

    tuner: Annotated[
        str,
        typer.Option(
            help="Who proposes candidates. template: evolution over the knobs of our own "
            "schedules; auto: MetaSchedule. With `tvm-mobilenet --stack relay`: template, autotvm "
            "or ansor.",
            metavar="NAME",
        ),
    ] = "template"
    log_dir: Annotated[
        Path, typer.Option(help="Folder of the history and the records.", metavar="DIR")
    ] = Path("tuning")
    device: Annotated[
        str,
        typer.Option(
            help="What measures, and what to tune for where no --target is given: local, "
            "HOST:PORT, tracker://HOST:PORT/KEY (all boards under the key), ssh://USER@HOST.",
            metavar="DEVICE",
        ),
    ] = "local"
    cool_down: Annotated[
        float, typer.Option(help="Seconds of rest before each measurement.", min=0)
    ] = 0.0
    seed: Annotated[int, typer.Option(help="Seed of what is tried.", min=0)] = 0


@app.command()
@grouped
def tune(
    model: ModelName,
    trials: Annotated[
        int,
        typer.Option(help="Candidates to try in all, earlier runs included.", min=0, metavar="N"),
    ],
    *,
    network: NetworkOptions,
    target: TargetOptions,
    fusion: Fusions = "auto",
    search: SearchOptions,
    answer: Answer,
) -> None:
    """Search faster knobs for every kernel, here or on boards.

    Candidates are built and run in processes that may crash or hang. Each is compared
    with the NumPy reference; the fastest of each kernel meets the rule's knobs in turns
    before its record is kept. Whatever ends a run, the same command continues it;
    --trials 0 only keeps the best of what was tried.

    \b
    Examples:
      tvm-mobilenet tune v1 --trials 500
      tvm-mobilenet tune v1 --trials 500 --cores 1 --log-dir mylogs
      tvm-mobilenet tune v1 --trials 500 --dtype int8
      tvm-mobilenet tune v1 --trials 500 --dtype bfloat16
      tvm-mobilenet tune v1 --trials 500 --target cuda --dtype float16
      tvm-mobilenet tune v1 --trials 500 --device ssh://pi@raspberrypi
      tvm-mobilenet --stack relay tune v1 --trials 500 --tuner autotvm

    \b
    What it kept is for compile, with the same --cores:
      tvm-mobilenet compile v1 --records mylogs --cores 1 -o mobilenet.so
    """
    from tvm_mobilenet.cli.tuner import tune_model

    plan = target.plan()
    # A device says itself what is native there.
    there = search.device != "local" and plan.is_native
    tune_model(
        network.find(model),
        answer.form,
        trials=trials,
        target="native" if there else plan.spec,
        cores=target.cores,
        dtype=target.in_integers,
        fusion=fusion,
        **search.given(),
    )


# Those above make an artifact; these use one, or need none.
app.command()(quantize)
app.command()(export)
app.command(help=words.RUN)(run)
app.command()(measuring.verify)
app.command()(evaluate)
app.command()(measuring.bench)
app.command()(measuring.profile)
app.command()(looking.explain)
app.command("report")(looking.report_command)
app.command(help=words.INSPECT)(looking.inspect)
app.command()(looking.models)
app.command()(looking.targets)
app.command("records")(looking.records_command)
app.command()(looking.doctor)


def command_line() -> Any:
    """Return the command, made of all of this."""
    return with_everywhere(typer.main.get_command(app))

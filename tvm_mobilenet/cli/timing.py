"""``verify``, ``bench`` and ``profile``: run an artifact, and tell how right and how fast it is."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.cli.logs import LOGGER, is_quiet
from tvm_mobilenet.cli.output import Form, progress_bar, say, show, waiting
from tvm_mobilenet.compilation import using
from tvm_mobilenet.errors import InputError, PlotError, TvmMobilenetError

if TYPE_CHECKING:
    from tvm_mobilenet.bench import BenchReport
    from tvm_mobilenet.bench.gpu_comparison import GpuReport
    from tvm_mobilenet.machine import Dtype


def verify_artifact(artifact: Path, form: Form, *, save: Path | None, **options: Any) -> None:
    """Compare with the reference; a wrong artifact is an error, after its table."""
    with waiting("comparing with the reference"):
        report = using.verify(artifact, save=save, **options)
    if save is not None and not is_quiet():
        say(f"written: {save}", error=True)
    table = dataclasses.replace(report.table(), title=str(artifact))
    if is_quiet() and form.for_people:
        say("\n".join(table.notes))
    else:
        show(form, table, data=report.to_json())
    report.check()


@contextlib.contextmanager
def compiled_for(
    model: str, target: str, dtype: Dtype | None, batch: int | None, *, weights: str | None
) -> Iterator[Path]:
    """Compile a model for the time of a measurement; yield its path."""
    from tvm_mobilenet.compilation.compile import compile_network
    from tvm_mobilenet.compilation.options import CompileOptions
    from tvm_mobilenet.models.network import find_model

    options = CompileOptions(target=target, dtype=dtype, weights=weights)
    network = find_model(model, {} if batch is None else {"batch": batch})
    with waiting(f"compiling {model} for {target}"):
        compiled = compile_network(network, options)
    yield compiled.path


def bench_artifact(artifact: Path, form: Form, *, device: str | None, **options: Any) -> None:
    """Time against the bound and other runtimes, here or on a device."""
    with progress_bar() as progress:
        report = using.bench(artifact, device=device, progress=progress, **options)
    show(form, report.table(), data=report.to_dict())
    if device is None:
        _warn_if_disturbed(report)
        _check_agreement(report)
    elif form.for_people:
        say(f"on {device}: calls next to the network, without the way there; no other runtimes")


def _warn_if_disturbed(report: Any) -> None:
    if getattr(report, "disturbed", False):
        LOGGER.warning("other processes used the processors meanwhile; measure again in quiet")


def _check_agreement(report: BenchReport | GpuReport) -> None:
    odd = [f"{row.runtime} ({row.relative_error:.0e})" for row in report.disagreeing]
    if odd:
        raise TvmMobilenetError(
            f"outputs differ from ours beyond {report.tolerance:.0e}: {', '.join(odd)}",
            "their times are of another network; verify the artifact first",
        )


def profile_artifact(
    artifact: Path, form: Form, *, device: str | None, plot: Path | None, **options: Any
) -> None:
    """Time kernel by kernel where the artifact runs, and draw the roofline if asked to."""
    from tvm_mobilenet.runtime.artifact import read_manifest

    if device is not None:
        _profile_on_device(artifact, form, device, plot=plot, **options)
    elif read_manifest(artifact)["target"].get("gpu") is not None:
        _profile_on_gpu(artifact, form, plot=plot, repeats=options["repeats"])
    else:
        _profile_here(artifact, form, plot=plot, **options)


def _profile_here(artifact: Path, form: Form, *, plot: Path | None, **options: Any) -> None:
    from tvm_mobilenet.profile.roofline import check_drawable, draw

    if plot is not None:
        check_drawable(plot)
    with progress_bar() as progress:
        report = using.profile(artifact, progress=progress, **options)
    show(form, report.table(), data=report.to_dict())
    if plot is not None:
        say(f"drawn: {draw(report, plot)}", error=True)
    _warn_if_disturbed(report)


def _profile_on_gpu(artifact: Path, form: Form, *, plot: Path | None, repeats: int) -> None:
    from tvm_mobilenet.profile.gpu import profile_on_gpu

    if plot is not None:
        raise PlotError("there is no drawing of a GPU's roofline", "leave --plot out")
    with waiting("timing every kernel"):
        report = profile_on_gpu(artifact, repeats)
    show(form, report.table(), data=report.to_dict())


def _profile_on_device(
    artifact: Path, form: Form, device: str, *, plot: Path | None, **options: Any
) -> None:
    from tvm_mobilenet.device import open_device
    from tvm_mobilenet.profile.board import profile_on

    if plot is not None:
        raise InputError("there is no roofline of a device", "leave --plot away")
    with waiting(f"timing on {device}"), open_device(device) as opened:
        report = profile_on(opened, artifact, **options)
    show(form, report.table(), data=dataclasses.asdict(report))

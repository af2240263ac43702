"""``profile``: every kernel in the network, alone, and against its bound."""

from __future__ import annotations

from pathlib import Path

from tvm_mobilenet.cli.logs import LOGGER
from tvm_mobilenet.cli.output import Form, progress_bar, say, show


def profile_artifact(
    artifact: Path, threads: int | None, plot: Path | None, repeats: int, form: Form
) -> None:
    """Time kernel by kernel, and draw the roofline if asked to."""
    from tvm_mobilenet import api
    from tvm_mobilenet.profile.roofline import check_drawable, draw
    from tvm_mobilenet.runtime.artifact import read_manifest

    if read_manifest(artifact)["target"].get("gpu") is not None:
        from tvm_mobilenet.cli.on_gpu import profile_gpu_artifact

        profile_gpu_artifact(artifact, plot, repeats, form)
        return
    if plot is not None:
        check_drawable(plot)
    with progress_bar() as progress:
        report = api.profile(artifact, threads=threads, repeats=repeats, progress=progress)
    show(form, report.table(), data=report.to_dict())
    if plot is not None:
        say(f"drawn: {draw(report, plot)}", error=True)
    if report.disturbed:
        LOGGER.warning("other processes used the processors meanwhile; measure again in quiet")

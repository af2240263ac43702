"""``profile``: every kernel in the network, alone, and against its bound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tvm_mobilenet.cli.logs import LOGGER
from tvm_mobilenet.cli.output import print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from tvm_mobilenet.profile.report import KernelProfile, ProfileReport


def profile_artifact(
    artifact: Path, threads: int | None, plot: Path | None, repeats: int, as_json: bool
) -> None:
    """Time kernel by kernel, and draw the roofline if asked to."""
    from tvm_mobilenet import api
    from tvm_mobilenet.profile.roofline import check_drawable, draw
    from tvm_mobilenet.runtime.artifact import read_manifest

    if read_manifest(artifact)["target"].get("gpu") is not None:
        from tvm_mobilenet.cli.on_gpu import profile_gpu_artifact

        profile_gpu_artifact(artifact, plot, repeats, as_json)
        return
    if plot is not None:
        check_drawable(plot)
    with progress_bar() as progress:
        report = api.profile(artifact, threads=threads, repeats=repeats, progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_profile(report)
    if plot is not None:
        say(f"drawn: {draw(report, plot)}", error=True)
    if report.disturbed:
        LOGGER.warning("other processes used the processors meanwhile; measure again in quiet")


def _print_profile(report: ProfileReport) -> None:
    columns = ["layers", ">us in network", ">alone", ">bound", "by"]
    columns += [">GFLOP/s", ">of peak", ">MB", ">GB/s"]
    if report.threads > 1:
        columns += [">uneven", ">pool us"]
    threads = "1 thread" if report.threads == 1 else f"{report.threads} threads"
    title = f"{report.model} for {report.target}, {threads}"
    rows = [_cells(row, report.threads) for row in report.rows]
    print_table(title, columns, rows, "\n".join([*_roofs(report), *_sums(report)]))


def _cells(row: KernelProfile, threads: int) -> list[str]:
    cells = [
        " + ".join(row.layers),
        f"{row.network_us:.1f}",
        f"{row.alone_us:.1f}",
        f"{row.bound_us:.1f}",
        row.bound_by,
        f"{row.gflops:.1f}" if row.macs else "-",
        f"{row.share:.1%}" if row.macs else "-",
        f"{row.bytes / 1e6:.2f}",
        f"{row.gbytes:.1f}",
    ]
    if threads > 1 and row.parallel:
        cells += [f"{row.waiting:.1%}", f"{row.pool_us:.1f}"]
    elif threads > 1:
        cells += ["serial", "-"]
    return cells


def _roofs(report: ProfileReport) -> list[str]:
    machine = report.machine
    bandwidth = ", ".join(f"{level} {speed:.0f}" for level, speed in machine.bandwidth.items())
    return [f"measured: peak {machine.peak_gflops:.0f} GFLOP/s; reading, GB/s: {bandwidth}"]


def _sums(report: ProfileReport) -> list[str]:
    totals = report.totals()

    def part(name: str) -> str:
        return f"{totals[name]:.0f} us ({totals[name] / totals['call']:.1%})"

    lines = [
        f"one call {totals['call'] / 1e3:.3f} ms, {totals['compute'] / totals['call']:.1%} of the "
        f"peak; its kernels {totals['network'] / 1e3:.3f} ms in the network, "
        f"{totals['alone'] / 1e3:.3f} ms alone; their bounds {totals['bound'] / 1e3:.3f} ms",
        f"between kernels (virtual machine, input and output): {part('between')}",
    ]
    if report.threads > 1:
        regions = sum(row.split.regions for row in report.rows)
        lines.append(
            f"lost by threads: {part('uneven')} to uneven parts, {part('serial')} to kernels on "
            f"one thread, {part('pool')} to the pool and to each other"
        )
        lines.append(
            f"an empty parallel region takes {report.machine.region_us:.1f} us; {regions} of them"
        )
    return lines

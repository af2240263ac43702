"""Every MobileNet V1 of the paper's grid, and the other families, against every peer.

    python benchmarks/grid.py --write README.md
    python benchmarks/grid.py --models v2 v3-large v3-small --artifacts out/grid --write README.md
    python benchmarks/grid.py --models families --artifacts out/grid --write README.md

Each model but V1 is measured at its own size, without --alpha and --resolution; `families` are
MobileNet V4, EfficientNet-Lite, MnasNet and MobileOne. Each of these lines makes one table of the
README. `--artifacts` keeps what is compiled, so that
`--prepare` can do it before the machine has to be quiet.

Random weights of seed 0: the time of a network does not depend on them. Each
cell compiles with the default rules (no tuning record), verifies, and runs
`tvm_mobilenet.bench` with all peers. A cell's ratio is the fastest peer's
median over ours.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import tvm_mobilenet as tm
from tvm_mobilenet.bench.comparison import OURS, BenchReport, geometric_mean
from tvm_mobilenet.bench.peers import FLOAT32, version_of
from tvm_mobilenet.machine.host import processor_name
from tvm_mobilenet.models import SHORT_NAMES
from tvm_mobilenet.models.spec import Model

ALPHAS = (1.0, 0.75, 0.5, 0.25)
RESOLUTIONS = (224, 192, 160, 128)
ATTEMPTS = 2
V1, FAMILIES = "v1", "families"
LATER = ("v2", "v3-large", "v3-small")
OTHERS = tuple(name for name in SHORT_NAMES if name not in {V1, *LATER})


def networks(arguments: argparse.Namespace) -> Iterator[tuple[str, Model]]:
    """Yield what is asked for: a file's name and the model."""
    for name in named(arguments.models):
        if name != V1:
            yield name, tm.build(name)
            continue
        for alpha in arguments.alphas:
            for resolution in arguments.resolutions:
                model = tm.mobilenet_v1(alpha=alpha, resolution=resolution)
                yield f"{name}-{alpha}-{resolution}", model


def named(models: Sequence[str]) -> list[str]:
    """Return the names that are asked for, those of :data:`FAMILIES` one by one."""
    return [name for asked in models for name in (OTHERS if asked == FAMILIES else (asked,))]


def region_of(models: Sequence[str]) -> str:
    """Return the region of the README that a table of these models is written to."""
    names = set(named(models))
    if V1 in names:
        return "grid"
    return "later" if names <= set(LATER) else FAMILIES


def compiled(folder: Path, arguments: argparse.Namespace) -> Iterator[Path]:
    """Yield artifacts, compiled where the folder lacks them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in networks(arguments):
        path = folder / f"{name}.so"
        yield path if path.exists() else tm.compile(model).export(path)


def measure(folder: Path, arguments: argparse.Namespace) -> Iterator[BenchReport]:
    """Time one network after another."""
    for path in compiled(folder, arguments):
        report = _quietest(path, arguments)
        if report.disagreeing:
            sys.exit(f"{report.model}: outputs differ: {report.disagreeing}")
        print(json.dumps(report.to_dict()), file=sys.stderr, flush=True)
        yield report


def _quietest(path: Path, arguments: argparse.Namespace) -> BenchReport:
    """Time a network until nobody disturbs it, or return the least disturbed attempt."""
    reports = []
    for _ in range(ATTEMPTS):
        report = tm.bench(
            path,
            threads=arguments.threads,
            against=FLOAT32,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
        )
        if not report.disturbed:
            return report
        reports.append(report)
    return min(reports, key=lambda report: max(report.peak_spread.values()))


def table(reports: list[BenchReport], threads: int) -> list[str]:
    """Return the Markdown lines of one number of threads."""
    lines = [
        f"**{threads} thread{'s' if threads > 1 else ''}**, median ms",
        "",
        f"| network | bound | ours | of peak | {' | '.join(FLOAT32)} | fastest peer / ours |",
        f"|---|---:|---:|---:|{'---:|' * len(FLOAT32)}---:|",
    ]
    fastest = []
    for report in reports:
        rows = {row.runtime: row for row in report.rows if row.threads == threads}
        ratio = min(report.ratio[threads].values())
        fastest.append(ratio)
        peers = " | ".join(f"{rows[name].median_ms:.3f}" for name in FLOAT32)
        lines.append(
            f"| {report.model.removeprefix('MobileNet ')}{' †' * report.disturbed} "
            f"| {report.bound_ms[threads]:.3f} "
            f"| **{rows[OURS].median_ms:.3f}** | {report.share(rows[OURS]):.0%} "
            f"| {peers} | {ratio:.3f} |"
        )
    lines += ["", f"Geometric mean {geometric_mean(fastest):.3f}, smallest {min(fastest):.3f}.", ""]
    if any(report.disturbed for report in reports):
        lines += [
            f"† The machine's own peak varied by more than a tenth in each of {ATTEMPTS} attempts;",
            "the rounds are interleaved, so ratios hold better than times.",
            "",
        ]
    return lines


def write_region(path: Path, region: str, lines: list[str]) -> None:
    """Replace what stands between the marks of a region of a file."""
    first, last = f"<!-- {region}:begin -->", f"<!-- {region}:end -->"
    text = path.read_text()
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        sys.exit(f"{path} has no region {first} … {last}")
    aside = path.with_name(f".{path.name}.part")
    with aside.open("w") as file:
        file.write("\n".join([before + first, *lines, last]) + after)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=(V1,))
    parser.add_argument("--alphas", type=float, nargs="+", default=ALPHAS)
    parser.add_argument("--resolutions", type=int, nargs="+", default=RESOLUTIONS)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--write", type=Path, help="file whose marked region to replace")
    parser.add_argument("--artifacts", type=Path, help="folder that keeps what is compiled")
    parser.add_argument("--prepare", action="store_true", help="compile into it, measure nothing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.artifacts or Path(temporary)
        if arguments.prepare:
            for path in compiled(folder, arguments):
                print(path)
            return
        reports = list(measure(folder, arguments))
    versions = ", ".join(f"{name} {version_of(name)}" for name in FLOAT32)
    lines = [
        f"{processor_name()}, {len(os.sched_getaffinity(0))} cores, float32, batch 1, "
        f"knobs by rule, fusion by record or rule; {versions}. "
        f"Made by `python {' '.join(sys.argv)}`.",
        "",
    ]
    for threads in arguments.threads:
        lines += table(reports, threads)
    print("\n".join(lines))
    if arguments.write:
        write_region(arguments.write, region_of(arguments.models), lines)


if __name__ == "__main__":
    main()

"""What the cost model predicts against what is measured, kernel by kernel, and its mistakes.

    python benchmarks/traffic.py --prepare out/traffic
    python benchmarks/traffic.py out/traffic --threads 1

Two artifacts of a network, nothing fused and everything, run whole in turns, each first once
untimed, so that every kernel finds the caches as its predecessors leave them. Cycles become
microseconds by --peak. A mistake is a block whose predicted winner, by more than the margin of
``prediction/fusion.py``, is measured slower by more than NOISE; a kernel is off if its time is
wrong by more than OFF.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tvm_mobilenet as tm
from tvm_mobilenet.machine import TargetSpec, parse
from tvm_mobilenet.prediction.fusion import MARGIN
from tvm_mobilenet.prediction.speeds import speeds_of

NETWORKS = ((1.0, 224), (0.75, 192), (0.5, 160), (0.25, 128))
NOISE, OFF = 0.01, 0.15


def path_of(folder: Path, alpha: float, resolution: int, threads: int, fusion: str) -> Path:
    """Return the artifact's place."""
    return folder / f"{alpha}-{resolution}-{threads}-{fusion}.so"


def spec_of(threads: int) -> TargetSpec:
    """Return this machine with as many cores as threads."""
    return dataclasses.replace(parse("native"), cores=threads)


def prepare(folder: Path) -> None:
    """Compile everything, so that measuring is all that is left."""
    folder.mkdir(parents=True, exist_ok=True)
    for alpha, resolution in NETWORKS:
        for threads in (1, 2):
            for fusion in ("none", "all"):
                made = tm.compile(
                    tm.mobilenet_v1(alpha, resolution), target=spec_of(threads), fusion=fusion,
                    verify=False, records=False,
                )  # fmt: skip
                made.export(path_of(folder, alpha, resolution, threads, fusion))


def measure(
    folder: Path, alpha: float, resolution: int, threads: int, passes: int
) -> dict[str, dict[tuple[str, ...], float]]:
    """Return median microseconds of each kernel by its layers, for both artifacts."""
    modules = {
        fusion: tm.load(path_of(folder, alpha, resolution, threads, fusion), threads=threads)
        for fusion in ("none", "all")
    }
    shape = modules["none"].inputs[0]["shape"]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    kernels = {fusion: module.kernels(x) for fusion, module in modules.items()}
    runs: dict[str, list[list[float]]] = {fusion: [] for fusion in modules}
    for _ in range(passes):
        for fusion, network in kernels.items():
            network.replay()
            runs[fusion].append(network.replay())
    return {
        fusion: dict(
            zip(
                [tuple(call["layers"]) for call in module.manifest["calls"]],
                map(float, np.median(runs[fusion], axis=0)),
                strict=True,
            )
        )
        for fusion, module in modules.items()
    }


def compared(
    title: str, found: Any, measured: dict[str, dict[tuple[str, ...], float]], mega_cycles: float
) -> Iterator[str]:
    """Print the table of one network; give its mistakes."""

    def off(name: str, predicted: float, actual: float) -> Iterator[str]:
        if abs(predicted / actual - 1) > OFF:
            error = f"{predicted / actual - 1:+.0%}"
            yield f"{title}, {name}: {predicted:.1f} us predicted, {actual:.1f} measured ({error})"

    print(f"\n{title}\n\n| | unfused | fused | gain | unfused, predicted | fused | gain | chosen |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    for step in found.steps:
        apart = sum(measured["none"][(name,)] for name in step.layers)
        if step.compared is None or step.layers not in measured["all"]:
            yield from off("+".join(step.layers), step.cost.cycles / mega_cycles, apart)
            continue
        one = measured["all"][step.layers]
        both, gain = step.compared, 1 - one / apart
        times = [cost.cycles / mega_cycles for cost in (both.unfused, both.fused)]
        print(
            f"| {'+'.join(step.layers)} | {apart:.1f} | {one:.1f} | {gain:+.1%} | {times[0]:.1f} "
            f"| {times[1]:.1f} | {both.gain:+.1%} | {'fused' if step.choice.fused else 'unfused'} |"
        )
        yield from off("+".join(step.layers) + ", unfused", times[0], apart)
        yield from off("+".join(step.layers) + ", fused", times[1], one)
        if abs(both.gain) >= MARGIN and abs(gain) > NOISE and both.gain * gain < 0:
            yield f"{title}, {'+'.join(step.layers)}: {both.gain:+.1%} predicted, {gain:+.1%}"
    for fusion, name in (("none", "unfused"), ("all", "fused")):
        total = sum(measured[fusion].values())
        print(
            f"\n{name}: {total:.0f} us, {found.totals()[name].cycles / mega_cycles:.0f} predicted"
        )


def main() -> None:
    """Prepare, or measure and list mistakes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prepare", action="store_true", help="compile into the folder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--peak", type=float, default=240.0, help="GFLOP/s of one core")
    arguments = parser.parse_args()
    if arguments.prepare:
        prepare(arguments.folder)
        return
    threads, spec = arguments.threads, spec_of(arguments.threads)
    # One multiply-add is two operations; cycles a microsecond.
    mega_cycles = arguments.peak * 1e3 / (2 * spec.lanes * speeds_of(spec).pipes)
    mistakes: list[str] = []
    for alpha, resolution in NETWORKS:
        measured = measure(arguments.folder, alpha, resolution, threads, arguments.passes)
        found = tm.explain(tm.mobilenet_v1(alpha, resolution), target=spec, records=False)
        title = f"V1 {alpha}/{resolution}, {threads} thread{'s' * (threads > 1)}"
        mistakes += compared(title, found, measured, mega_cycles)
    print(f"\n{len(mistakes)} mistakes")
    for mistake in mistakes:
        print(f"- {mistake}")


if __name__ == "__main__":
    main()

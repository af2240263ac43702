"""Networks imported from ONNX against the same networks built in: the same speed within 3%.

    python benchmarks/imported.py out/imported --prepare
    python benchmarks/imported.py out/imported --threads 1 2

Both have the same random weights and the default rules. They run in turns in one process, from
copies of their files: a copy lies elsewhere in memory, which alone makes 1 to 2%. So each
network is compared several times, with fresh copies, and a built-in one with another copy of
itself (`control`) tells what such a comparison is worth. It fails where the imported network is
slower by more, beyond what the control is; `kernels` tells whether both call the same ones.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import tvm_mobilenet as tm
from tvm_mobilenet.models.onnx_export import export_onnx
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.runtime.artifact import read_manifest, write_manifest
from tvm_mobilenet.verify.artifact import sample_input

NAMES = (
    *("v1", "v2", "v3-large", "v3-small"),
    *("v4-conv-small", "efficientnet-lite0", "mnasnet-a1", "mobileone-s0"),
)
WITHIN = 0.03
BUILT_IN, IMPORTED = "built-in", "imported"
CALLS = 6
"""In a turn; the first is not timed."""


def prepare(folder: Path, names: list[str]) -> None:
    """Compile what the folder lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        model, source = tm.build(name), folder / f"{name}.onnx"
        if not (folder / f"{name}-{BUILT_IN}.so").exists():
            tm.compile(model).export(folder / f"{name}-{BUILT_IN}.so")
        if not (folder / f"{name}-{IMPORTED}.so").exists():
            export_onnx(model, initialize(model, seed=0), source)
            tm.compile(str(source)).export(folder / f"{name}-{IMPORTED}.so")


def medians(paths: list[Path], threads: int, rounds: int) -> list[float]:
    """Return the median milliseconds of each artifact, run in turns."""
    with tempfile.TemporaryDirectory() as folder:
        modules = []
        for number, path in enumerate(paths):
            copy = Path(folder) / f"{number}.so"
            shutil.copy(path, copy)
            # With a title of its own: the same content would be loaded once.
            write_manifest(copy, {**read_manifest(copy), "title": f"{path.stem} {number}"})
            modules.append(tm.load(copy, threads=threads))
        x = sample_input(tuple(modules[0].inputs[0]["shape"]), seed=0)
        first, second = (module(x) for module in modules)
        if not np.allclose(first, second, rtol=1e-3, atol=1e-6):
            sys.exit(f"{paths[0]} and {paths[1]} compute different networks")
        times: list[list[float]] = [[] for _ in modules]
        for turn in range(rounds * len(modules)):
            # The first of two rotates.
            at = (turn + turn // len(modules)) % len(modules)
            for call in range(CALLS):
                begin = time.perf_counter()
                modules[at](x)
                if call:
                    times[at].append(time.perf_counter() - begin)
    return [float(np.median(some)) * 1e3 for some in times]


def main() -> None:
    """Compile, or compare and fail where one is slower."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prepare", action="store_true", help="compile into the folder")
    parser.add_argument("--models", nargs="+", default=NAMES)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--copies", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.prepare:
        prepare(arguments.folder, arguments.models)
        return
    slower = []
    titles = ["network", "threads", "built-in ms", "imported ms", "imported / built-in", "control"]
    print(f"| {' | '.join([*titles, 'kernels'])} |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for name in arguments.models:
        built_in, imported = (arguments.folder / f"{name}-{w}.so" for w in (BUILT_IN, IMPORTED))
        calls = [[c["kernel"] for c in read_manifest(p)["calls"]] for p in (built_in, imported)]
        kernels = "the same" if calls[0] == calls[1] else "others"
        for threads in arguments.threads:
            pairs = [
                medians([built_in, imported], threads, arguments.rounds)
                for _ in range(arguments.copies)
            ]
            control = [
                medians([built_in, built_in], threads, arguments.rounds)
                for _ in range(arguments.copies)
            ]
            ratio, same = (float(np.median([b / a for a, b in some])) for some in (pairs, control))
            ours, theirs = np.median(pairs, axis=0)
            cells = [f"{ours:.3f}", f"{theirs:.3f}", f"{ratio:.3f}", f"{same:.3f}", kernels]
            print(f"| {name} | {threads} | {' | '.join(cells)} |")
            if ratio / max(same, 1.0) > 1 + WITHIN:
                slower.append(f"{name} on {threads}")
    if slower:
        sys.exit(f"not within {WITHIN:.0%}: {', '.join(slower)}")


if __name__ == "__main__":
    main()

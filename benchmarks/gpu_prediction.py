"""What V1 should take on GPUs, and what nvcc reports of its kernels: tables for docs/gpu.md.

PREDICTION: no GPU is used, and none was measured.

    python benchmarks/gpu_prediction.py --write docs/gpu.md
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvm_mobilenet.machine import Dtype, TargetSpec, parse
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.network.explain import explain
from tvm_mobilenet.network.explanation import Explanation, Step
from tvm_mobilenet.network.planning import plan_network

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "h200")
REPORTED = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90")
"""Of machine code there is no more."""

DTYPES: tuple[Dtype, ...] = ("float32", "float16")
BATCHES = (1, 64)


def microseconds(found: Explanation, cycles: float) -> float:
    """Return clocks of a target's GPU in microseconds."""
    assert found.target.gpu is not None
    return cycles / found.target.gpu.clock_mhz


def predictions(batch: int, dtype: Dtype) -> list[str]:
    """Return a table: layers down, architectures across, microseconds."""
    targets = [parse(name, dtype=dtype) for name in ARCHITECTURES]
    found = [explain(plan_network(mobilenet_v1(batch=batch), target)) for target in targets]
    chips = [f"{one.target.name} {one.target.gpu.chip}" for one in found if one.target.gpu]
    lines = [
        f"**Batch {batch}, {dtype}: PREDICTION, µs**",
        "",
        f"| layers | {' | '.join(chips)} |",
        f"|---|{'---:|' * len(found)}",
    ]
    for row in zip(*(one.steps for one in found), strict=True):
        cells = [cell(one, step) for one, step in zip(found, row, strict=True)]
        lines.append(f"| {' + '.join(row[0].layers)} | {' | '.join(cells)} |")
    whole = [f"**{microseconds(one, one.total.cycles):.0f}**" for one in found]
    shares = [f"{one.total.share:.0%}" for one in found]
    images = [f"{1e6 * batch / microseconds(one, one.total.cycles):.0f}" for one in found]
    lines.append(f"| **all** | {' | '.join(whole)} |")
    lines.append(f"| of the arithmetic bound | {' | '.join(shares)} |")
    lines.append(f"| images a second | {' | '.join(images)} |")
    return [*lines, ""]


def cell(found: Explanation, step: Step) -> str:
    """Return a step's time, marked where one kernel computes it all, and what bounds it."""
    one = "" if step.choice is None else "¹" if step.choice.fused else "²"
    return f"{microseconds(found, step.cost.cycles):.1f}{one} {step.cost.bound}"


def lowered(model: Model, target: TargetSpec) -> Any:
    """Lower a network with weights of ones: only its kernels matter."""
    from tvm_mobilenet.emit.relax.pipeline import lower

    weights = {name: np.ones(shape, np.float32) for name, shape in model.parameters.items()}
    return lower(plan_network(model, target), weights)


def reports(batch: int, dtype: Dtype) -> list[str]:
    """Return a table: kernels down, architectures across, what nvcc says of each."""
    columns = [dict(report(mobilenet_v1(batch=batch), parse(n, dtype=dtype))) for n in REPORTED]
    names = dict.fromkeys(name for column in columns for name in column)
    lines = [
        f"**Batch {batch}, {dtype}: nvcc's report**",
        "",
        f"| kernel | {' | '.join(REPORTED)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for name in names:
        lines.append(f"| {name} | {' | '.join(column.get(name, '–') for column in columns)} |")
    return [*lines, ""]


def report(model: Model, target: TargetSpec) -> Iterator[tuple[str, str]]:
    """Yield each kernel's name, and its grid, registers, shared memory, occupancy, spills."""
    from tvm import tirx

    from tvm_mobilenet.emit.relax.device_code import device_code

    # Not imported above: without nvcc the predictions are printed all the same.
    find_nvcc = importlib.import_module("tvm_mobilenet.artifact.toolchain_cuda").find_nvcc
    gpu = target.gpu
    assert gpu is not None
    network = lowered(model, target)
    called = dict.fromkeys(call.kernel for call in network.calls)
    funcs = {
        str(gv.name_hint): func
        for gv, func in network.mod.functions.items()
        if isinstance(func, tirx.PrimFunc) and str(gv.name_hint) in called
    }
    code = device_code({name: funcs[name] for name in called}, target)
    resources = find_nvcc().cubin(code.source, gpu.arch).resources
    for launches in code.kernels.values():
        for launch in launches:
            used = resources[launch.kernel]
            blocks = int(np.prod(launch.grid))
            resident = gpu.resident_blocks(launch.threads, used.registers, launch.shared_bytes)
            occupancy = resident * launch.threads / gpu.unit_threads
            waves = blocks / (gpu.units * max(resident, 1))
            spills = f", **{used.spill_bytes} B spilled**" if used.spill_bytes else ""
            yield (
                launch.kernel.removesuffix("_kernel"),
                f"{blocks} × {launch.threads}, {used.registers} r, "
                f"{launch.shared_bytes / 1024:.1f} K, {occupancy:.0%}, {waves:.1f} w{spills}",
            )


def tables(batches: Sequence[int], dtypes: Sequence[Dtype]) -> Iterator[list[str]]:
    """Yield every table."""
    for dtype in dtypes:
        for batch in batches:
            yield predictions(batch, dtype)
    yield [
        "¹ one kernel, ² a kernel each. Behind a time: what takes longest of its kernels.",
        "",
        "Of each kernel: blocks × threads, registers of a thread, shared memory of a block, share "
        "of a unit's threads that are resident, how often the grid fills the GPU (w). A spill "
        "would stand there in bold.",
        "",
    ]
    for dtype in dtypes:
        for batch in batches:
            yield reports(batch, dtype)


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--write", type=Path, help="file whose marked region to replace")
    arguments = parser.parse_args()
    lines = [f"Made by `python {' '.join(sys.argv)}`.", ""]
    for table in tables(arguments.batches, arguments.dtypes):
        lines += table
    print("\n".join(lines))
    if arguments.write:
        from grid import write_region

        write_region(arguments.write, "prediction", lines)


if __name__ == "__main__":
    main()

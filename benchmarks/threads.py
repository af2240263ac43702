"""From how many multiply-adds on a kernel gains from threads.

    python benchmarks/threads.py

Times pointwise and depthwise kernels of growing size on one thread and on all,
and prints the ratio. ``schedules/plans/threads.py`` keeps kernels below the
crossover on one thread.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tvm
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.machine import host
from tvm_mobilenet.operators.workload import Workload


class ThreadKnob(Knobs):
    """Answers one knob, and leaves the others to the rule."""

    def __init__(self, threads: str) -> None:
        super().__init__({"threads": threads})


def seconds(work: Workload, threads: str, spec: Any) -> float:
    """Return the median time of a kernel."""
    done = schedule(prim_func(work), spec, ThreadKnob(threads))
    assert done is not None
    func = done.func.with_attr("global_symbol", work.key)
    buffers = [
        tvm.runtime.tensor(np.ones([int(s) for s in p.ty.shape], np.float32)) for p in func.params
    ]
    target = tvm.target.Target(spec.tvm_dict())
    library = tvm.compile(tvm.IRModule({work.key: func}), target=target).jit()
    timer = library.time_evaluator(work.key, tvm.cpu(), number=20, repeat=15, min_repeat_ms=5)
    return float(np.median(timer(*buffers).results))


def main() -> None:
    """Measure and print."""
    spec = host()
    os.environ.setdefault("TVM_NUM_THREADS", str(spec.cores))
    print(f"{os.environ['TVM_NUM_THREADS']} threads\n")
    print("| kernel | MACs | one µs | all µs | gain |\n|---|---:|---:|---:|---:|")
    for channels, size in ((64, 4), (64, 6), (64, 8), (128, 7), (128, 10), (128, 14), (256, 14)):
        common = (1, channels, channels, (size, size), (size, size), spec.lanes, spec.lanes)
        for work in (
            Workload("pointwise", *common, activation="relu6"),
            Workload("depthwise", *common, (3, 3), (1, 1), (1, 1, 1, 1), "relu6"),
        ):
            one, every = seconds(work, "one", spec), seconds(work, "all", spec)
            name = f"{work.operator} {size} x {size} x {channels}"
            spans = f"{one * 1e6:.1f} | {every * 1e6:.1f} | {one / every:.2f}"
            print(f"| {name} | {work.macs} | {spans} |")


if __name__ == "__main__":
    main()

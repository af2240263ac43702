"""Every kernel of a network: its bound, its time alone, and its time inside the network.

    TVM_NUM_THREADS=1 python benchmarks/layers.py --alpha 1.0 --resolution 224

Alone means again and again on the same buffers: what the micro-kernel can do.
Inside the network, weights and maps come from wherever they are by then; the
difference is what memory costs. The bound is the kernel's multiply-adds at the
measured peak of this processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import numpy as np
import tvm

import tvm_mobilenet as tm
from tvm_mobilenet.bench.peak import runner
from tvm_mobilenet.graph.pipeline import lower
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.target import host
from tvm_mobilenet.verify import sample_input


def peak_gflops(spec: Any, threads: int) -> float:
    """Measure the processor, best of several."""
    call, operations = runner(spec, threads)
    spans = []
    for _ in range(12):
        start = time.perf_counter()
        call()
        spans.append(time.perf_counter() - start)
    return operations / statistics.median(spans) / 1e9


def alone(mod: Any, name: str, target: Any) -> float:
    """Return the microseconds of one kernel on buffers of its own."""
    func = mod[name].with_attr("global_symbol", name)
    rng = np.random.default_rng(0)
    buffers = [
        tvm.runtime.tensor(rng.standard_normal([int(s) for s in p.ty.shape], np.float32))
        for p in func.params
    ]
    library = tvm.compile(tvm.IRModule({name: func}), target=target).jit()
    timer = library.time_evaluator(name, tvm.cpu(), number=1, repeat=15, min_repeat_ms=10)
    return float(np.median(timer(*buffers).results)) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--resolution", type=int, default=224)
    arguments = parser.parse_args()
    threads = int(os.environ.get("TVM_NUM_THREADS", "1"))

    spec = host()
    peak = peak_gflops(spec, threads)
    model = tm.mobilenet_v1(alpha=arguments.alpha, resolution=arguments.resolution)
    compiled = tm.compile(model, target=spec)
    profile = compiled.module.profile(sample_input(model.input_shape), 60)
    target = tvm.target.Target(spec.tvm_dict())
    lowered = lower(model, initialize(model), spec, lambda _: None)

    print(f"{model.title}, {threads} threads, peak {peak:.0f} GFLOP/s\n")
    print("| layer | schedule | bound µs | alone µs | of peak | in the network µs | of peak |")
    print("|---|---|---:|---:|---:|---:|---:|")
    once: dict[str, float] = {}
    sums = [0.0, 0.0, 0.0]
    for call, span in profile.calls:
        name = call["kernel"]
        if name not in once:
            once[name] = alone(lowered.mod, name, target)
        bound = 2 * call["macs"] / peak / 1e3
        sums = [have + more for have, more in zip(sums, (bound, once[name], span), strict=True)]
        shares = [f"{bound / t:.0%}" if call["macs"] else "-" for t in (once[name], span)]
        print(
            f"| {' + '.join(call['layers'])} | {call['schedule']} | {bound:.1f} "
            f"| {once[name]:.1f} | {shares[0]} | {span:.1f} | {shares[1]} |"
        )
    print(f"| sum | | {sums[0]:.0f} | {sums[1]:.0f} | | {sums[2]:.0f} | |")
    print(f"\nOne call, from NumPy to NumPy: {profile.total:.0f} µs.")


if __name__ == "__main__":
    main()

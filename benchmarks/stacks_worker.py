"""One way from a network to machine code, open in this process; see ``stacks.py``.

    python benchmarks/stacks_worker.py KIND NETWORK RECORDS FILE THREADS [make]

With "make" only makes FILE. Else opens it, then runs for as many seconds as each line of standard
input says, and answers with the times of its calls.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tvm_mobilenet as tm
from tvm_mobilenet.machine import TargetSpec, parse
from tvm_mobilenet.models import build
from tvm_mobilenet.models.weights import initialize

SEED = 3


def make(kind: str, network: str, records: str, path: str, threads: int) -> None:
    """Compile a network, or export it for ONNX Runtime."""
    model, spec = build(network), dataclasses.replace(parse("native"), cores=threads)
    if kind == "topi":
        import tvm
        from tvm import relay

        from tvm_mobilenet.emit.relay.emit import emit
        from tvm_mobilenet.network.planning import unplanned

        mod = emit(unplanned(model, spec), initialize(model, SEED)).mod
        with tvm.transform.PassContext(opt_level=3):
            built = relay.build(mod, target=tvm.target.Target(spec.tvm_dict()))
        built.export_library(path)
    elif kind == "onnxruntime":
        from tvm_mobilenet.models.onnx_export import to_onnx

        with open(path, "wb") as file:
            file.write(to_onnx(model, initialize(model, SEED)).SerializeToString())
    elif kind != "bound":
        known: Any = False if records == "-" else records
        compiled = tm.compile(model, target=spec, seed=SEED, records=known)
        sources = [call["source"] for call in compiled.manifest["calls"]]
        if kind in ("autotvm", "ansor") and sources.count("record") < 0.9 * len(sources):
            sys.exit(f"{network}: {kind} has measured {sources.count('record')} of {len(sources)}")
        compiled.export(path)


def topi(path: str, threads: int) -> Callable[[Any], Any]:
    """Open Relay as it comes: TOPI's schedules, nothing tuned."""
    import tvm
    from tvm.contrib.graph_executor import GraphModule

    graph = GraphModule(tvm.runtime.load_module(path)["default"](tvm.cpu()))
    tvm.get_global_func("runtime.config_threadpool")(1, threads)

    def run(x: Any) -> Any:
        graph.set_input(0, x)
        graph.run()
        return graph.get_output(0).numpy()

    return run


def onnxruntime(path: str, threads: int) -> Callable[[Any], Any]:
    """Open ONNX Runtime's CPU provider."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def bound(spec: TargetSpec, model: Any, threads: int) -> Callable[[Any], Any]:
    """Return a kernel of as many multiply-adds, in chains in registers."""
    import tvm

    from tvm_mobilenet.bench.peak import CHAINS, chains_module

    steps = max(model.macs // (threads * CHAINS * spec.lanes), 1)
    target = tvm.target.Target(spec.tvm_dict())
    built = tvm.build(chains_module(threads, spec.lanes, steps), target=target)
    tvm.get_global_func("runtime.config_threadpool")(1, threads)
    x = tvm.nd.array(np.full(spec.lanes, 0.999, np.float32))
    y = tvm.nd.array(np.zeros((threads, CHAINS, spec.lanes), np.float32))

    def run(_: Any) -> Any:
        built["main"](x, y)
        return np.zeros(8, np.float32)

    return run


def opened(kind: str, network: str, path: str, threads: int) -> Any:
    """Return a call of the network, and an input."""
    model, spec = build(network), dataclasses.replace(parse("native"), cores=threads)
    x = np.random.default_rng(0).standard_normal(model.input_shape).astype(np.float32)
    if kind == "topi":
        return topi(path, threads), x
    if kind == "onnxruntime":
        return onnxruntime(path, threads), x
    if kind == "bound":
        return bound(spec, model, threads), x
    return tm.load(path, threads=threads), x


def main() -> None:
    """Make; or open, then answer until there are no more lines."""
    kind, network, records, path, threads, *what = sys.argv[1:]
    os.environ["AUTOTVM_TOPHUB_LOC"] = "NONE"
    os.environ["TVM_BIND_THREADS"] = "0"
    if what == ["make"]:
        return make(kind, network, records, path, int(threads))
    run, x = opened(kind, network, path, int(threads))
    head = [float(v) for v in np.ravel(run(x))[:8]]
    sys.stdout.write(json.dumps({"head": head}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        end, times = time.perf_counter() + float(line), []
        while time.perf_counter() < end:
            begin = time.perf_counter()
            run(x)
            times.append(time.perf_counter() - begin)
        sys.stdout.write(json.dumps(times[len(times) // 5 :]) + "\n")
        sys.stdout.flush()
    return None


if __name__ == "__main__":
    main()

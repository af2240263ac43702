"""Every block of MobileNet V1 1.0/224 as two kernels and as one, alone and in the network.

    python benchmarks/fused.py --threads 1 --passes 60

"Alone" repeats a kernel on its own buffers, which stay in cache as far as they
fit. "Network" runs whole networks that differ in one choice, in turns, so that
every kernel finds the caches as its predecessors leave them and both sides see
the same drift of the machine. Buffers are planned as a compiler would: a
kernel writes to the buffer that was used last and is free. The bound is
multiply-adds at --peak GFLOP/s a core (benchmarks of `tvm-mobilenet bench`).

    python benchmarks/fused.py --record tuning_logs --threads 2 --artifacts out/fusion

writes instead what compile shall do from now on for this target and so many threads:
one record for each block whose winner is beyond noise, measured in two whole
artifacts in turns (tvm_mobilenet/tuning/fusion.py). With --passes 0 it only
compiles the artifacts that the folder lacks.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

import tvm_mobilenet as tm
from tvm_mobilenet import machine as target
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.models.layers import Conv2d, Dense
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.runtime.artifact import read_manifest
from tvm_mobilenet.runtime.threads import use_threads
from tvm_mobilenet.tuning.fusion import compare, records_of
from tvm_mobilenet.tuning.store import Store

BLOCKS = range(1, 14)
Chosen = Mapping[str, Mapping[str, Any] | None]
"""Fused blocks by name ("block1" to "block13", or "tail"), and their knobs; None: by rule."""


def layers(lanes: int) -> dict[str, Workload]:
    """Return the workload of every layer of V1, by the layer's name."""
    found = {}
    for layer in mobilenet_v1(1.0, 224).layers:
        if isinstance(layer, Conv2d):
            (n, c, h, w), (_, o, oh, ow) = layer.in_shape, layer.out_shape
            full = layer.kind == "full"
            found[layer.name] = Workload(
                "conv" if full else layer.kind, n, c, o, (h, w), (oh, ow), 1 if full else lanes,
                lanes, layer.kernel, layer.strides, layer.padding, layer.activation,
            )  # fmt: skip
        elif isinstance(layer, Dense):
            n, c = layer.in_shape
            found["classifier"] = Workload(
                "dense", n, c, layer.out_features, (1, 1), (1, 1), lanes, lanes * 8
            )
    last = found["block13.pw"]
    found["pool"] = Workload(
        "pool", 1, last.out_channels, last.out_channels, last.out_size, (1, 1), lanes, lanes
    )
    for i in BLOCKS:
        first, second = found[f"block{i}.dw"], found[f"block{i}.pw"]
        found[f"block{i}"] = dataclasses.replace(
            first, operator="separable", out_channels=second.out_channels,
            mid_activation=first.activation, activation=second.activation,
        )  # fmt: skip
    found["tail"] = dataclasses.replace(last, operator="tail", classes=1000, class_block=lanes * 8)
    return found


class Network:
    """V1 as a list of kernel calls, some blocks fused."""

    def __init__(self, spec: target.TargetSpec, fused: Chosen, cache: dict[Any, Any]) -> None:
        self.spec, self.cache = spec, cache
        self.work = layers(spec.lanes)
        self.random = np.random.default_rng(0)
        self.calls: list[tuple[str, Callable[..., Any], list[Any]]] = []
        self.buffers = [np.zeros(802816 + 1024, "float32") for _ in range(3)]
        self.recent = [0, 1, 2]
        image = self.random.standard_normal((1, 3, 224, 224)).astype("float32")
        self.last: Any = tvm.runtime.tensor(image)
        self.at = -1
        self.add("conv1")
        for i in BLOCKS:
            if f"block{i}" in fused:
                self.add(f"block{i}", fused[f"block{i}"])
                continue
            self.add(f"block{i}.dw")
            if i == 13 and "tail" in fused:
                self.add("tail", fused["tail"])
                return
            self.add(f"block{i}.pw")
        self.add("pool")
        self.add("classifier")

    def add(self, name: str, knobs: Mapping[str, Any] | None = None) -> None:
        """Append one kernel, reading what the one before it wrote."""
        work = self.work[name]
        key = (work.key, str(knobs), self.spec.cores)
        if key not in self.cache:
            self.cache[key] = compiled(work, self.spec, knobs)
        _, *parameters, out = [tuple(int(size) for size in p.shape) for p in prim_func(work).params]
        weights = []
        for shape in parameters:
            value = self.random.standard_normal(shape).astype("float32")
            weights.append(tvm.runtime.tensor(value * np.float32((2 / shape[-2]) ** 0.5)))
        at = next(i for i in self.recent if i != self.at)
        flat = self.buffers[at]
        skip = -flat.ctypes.data % 64 // 4
        view = flat[skip : skip + int(np.prod(out))].reshape(out)
        data = self.last if name == "conv1" else self._reshaped(prim_func(work).params[0].shape)
        self.calls.append((name, self.cache[key], [data, *weights, tvm.runtime.from_dlpack(view)]))
        self.recent.remove(at)
        self.recent.insert(0, at)
        self.at, self.last = at, view

    def _reshaped(self, shape: Sequence[Any]) -> Any:
        return tvm.runtime.from_dlpack(self.last.reshape([int(size) for size in shape]))

    def run(self) -> dict[str, float]:
        """Run once; seconds by kernel."""
        seconds = {}
        for name, function, arguments in self.calls:
            begin = time.perf_counter()
            function(*arguments)
            seconds[name] = time.perf_counter() - begin
        return seconds


def compiled(work: Workload, spec: target.TargetSpec, knobs: Mapping[str, Any] | None) -> Any:
    """Return the kernel of a workload, ready to call."""
    done = schedule(prim_func(work), spec, Knobs(knobs))
    assert done is not None, work.key
    module = tvm.IRModule({work.key: done.func.with_attr("global_symbol", work.key)})
    return tvm.compile(module, target=tvm.target.Target(spec.tvm_dict())).jit()[work.key]


def alone(network: Network, names: Sequence[str], repeats: int = 30) -> float:
    """Return the median time in seconds of calls, repeated back to back."""
    calls = [call for call in network.calls if call[0] in names]
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        for _, function, arguments in calls:
            function(*arguments)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def artifacts(folder: Path, alpha: float, resolution: int, threads: int) -> list[Path]:
    """Compile the network without fusion and with all of it, where the folder lacks it."""
    paths = []
    for fusion in ("none", "all"):
        path = folder / f"v1_{alpha}_{resolution}_{threads}_{fusion}.so"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            spec = dataclasses.replace(target.parse("native"), cores=threads)
            model = mobilenet_v1(alpha, resolution)
            tm.compile(model, target=spec, fusion=fusion, records=False).export(path)
        paths.append(path)
    return paths


def record(paths: Sequence[Path], threads: int, passes: int, root: str) -> None:
    """Compare the artifacts, print each block, keep what is beyond noise."""
    manifests = [read_manifest(path) for path in paths]
    error = max(manifest["verification"]["relative"] for manifest in manifests)
    spec = target.TargetSpec.from_dict(manifests[0]["target"])
    compared = compare(paths[0], paths[1], threads, passes=passes)
    records = records_of(compared, spec, threads, error, manifests[0]["tvm"])
    print(f"{'us':60} {'unfused':>8} {'fused':>8}  gain in each round, %")
    for one in compared:
        gains = " ".join(f"{gain * 100:+.1f}" for gain in one.gains)
        kept = "  kept" if one.workload in {r.workload for r in records} else ""
        print(f"{one.workload:60} {np.median(one.unfused) * 1e6:8.1f} "
              f"{np.median(one.fused) * 1e6:8.1f}  {gains}{kept}")  # fmt: skip
    with Store(root).writing() as writer:
        for found in records:
            writer.keep(found)


def main() -> None:
    """Print one line per block, then the whole network."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--peak", type=float, default=238.0, help="GFLOP/s of one core")
    parser.add_argument("--record", metavar="DIR", help="write records into this folder")
    parser.add_argument("--artifacts", type=Path, default=Path("out/fusion"))
    parser.add_argument("--alpha", type=float, default=1.0, help="with --record")
    parser.add_argument("--resolution", type=int, default=224, help="with --record")
    arguments = parser.parse_args()
    if arguments.record:
        threads = arguments.threads
        paths = artifacts(arguments.artifacts, arguments.alpha, arguments.resolution, threads)
        if arguments.passes:
            record(paths, threads, arguments.passes, arguments.record)
        return
    use_threads(tvm_ffi, arguments.threads)
    spec = dataclasses.replace(target.parse("native"), cores=arguments.threads)
    cache: dict[Any, Any] = {}
    every: Chosen = dict.fromkeys([*(f"block{i}" for i in range(1, 13)), "tail"])
    networks = {
        "two kernels": Network(spec, {}, cache),
        "fused": Network(spec, every, cache),
        "tail fused": Network(spec, {"tail": None}, cache),
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in networks}
    for _ in range(arguments.passes):
        for name, network in networks.items():
            network.run()
            runs[name].append(network.run())

    def median(which: str, names: Sequence[str]) -> float:
        return float(np.median([sum(run[n] for n in names) for run in runs[which]])) * 1e6

    two, one = networks["two kernels"], networks["fused"]
    pairs = {f"block{i}": ([f"block{i}.dw", f"block{i}.pw"], [f"block{i}"]) for i in range(1, 13)}
    pairs["tail"] = (["block13.pw", "pool", "classifier"], ["tail"])
    print(f"{'µs':8} {'bound':>7} {'alone: two':>11} {'one':>7} {'network: two':>13} {'one':>7}")
    for name, (separate, fused) in pairs.items():
        bound = 2 * two.work[name].macs / arguments.peak / arguments.threads / 1e3
        print(
            f"{name:8} {bound:7.1f} {alone(two, separate) * 1e6:11.1f} "
            f"{alone(one, fused) * 1e6:7.1f} {median('two kernels', separate):13.1f} "
            f"{median('fused', fused):7.1f}"
        )
    for name in networks:
        totals = [sum(run.values()) * 1e6 for run in runs[name]]
        print(f"{name:12} whole network: median {np.median(totals):.0f}, "
              f"10th percentile {np.percentile(totals, 10):.0f} µs")  # fmt: skip


if __name__ == "__main__":
    main()

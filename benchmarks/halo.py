"""Depthwise layers of MobileNet V1: the border decided at each read, or already in the map.

    python benchmarks/halo.py --alpha 1.0 --resolution 224

"Peeled" is what networks run: an unpadded map, rows and columns of border apart. "Padded"
reads a map that has its border of zeros, as if the layer before had written it for nothing:
the most that such a producer could save. Both are timed in turns, alone, on one thread.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import tvm
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.machine import TargetSpec, host
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.models.layers import Conv2d
from tvm_mobilenet.operators.workload import Workload

_TURNS = 15


def peeled(layer: Conv2d, lanes: int) -> Workload:
    """Return the workload of a depthwise layer as networks have it."""
    (n, c, h, w), (_, o, oh, ow) = layer.in_shape, layer.out_shape
    block = min(lanes, c)
    return Workload(
        "depthwise", n, c, o, (h, w), (oh, ow), block, block,
        layer.kernel, layer.strides, layer.padding, layer.activation,
    )  # fmt: skip


def padded(work: Workload) -> Workload:
    """Return the same layer on a map that has its border."""
    top, left, bottom, right = work.padding
    size = (work.in_size[0] + top + bottom, work.in_size[1] + left + right)
    return dataclasses.replace(work, in_size=size, padding=(0, 0, 0, 0))


class Timed:
    """A kernel on buffers of its own."""

    def __init__(self, work: Workload, target: TargetSpec) -> None:
        func = prim_func(work)
        scheduled = schedule(func, target, Knobs())
        assert scheduled is not None
        module = tvm.IRModule({work.key: scheduled.func.with_attr("global_symbol", work.key)})
        library = tvm.compile(module, target=tvm.target.Target(target.tvm_dict()))
        random = np.random.default_rng(0)
        shapes = [tuple(int(size) for size in p.shape) for p in func.params]
        self.buffers = [
            tvm.runtime.tensor(random.standard_normal(shape).astype("float32")) for shape in shapes
        ]
        self.timer = library.jit().time_evaluator(
            work.key, tvm.cpu(), number=5, repeat=1, min_repeat_ms=4
        )

    def __call__(self) -> float:
        """Return µs."""
        return float(self.timer(*self.buffers).mean) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--resolution", type=int, default=224)
    options = parser.parse_args()
    target = dataclasses.replace(host(), cores=1)
    layers: dict[Workload, list[str]] = {}
    for layer in mobilenet_v1(options.alpha, options.resolution).layers:
        if isinstance(layer, Conv2d) and layer.kind == "depthwise":
            layers.setdefault(peeled(layer, target.lanes), []).append(layer.name)
    print("| layer | map | stride | peeled µs | padded µs | saved µs, all such layers |")
    print("|---|---|---:|---:|---:|---:|")
    total = 0.0
    kernels = {work: (Timed(work, target), Timed(padded(work), target)) for work in layers}
    for work, names in layers.items():
        spans = np.median([[kernel() for kernel in kernels[work]] for _ in range(_TURNS)], axis=0)
        saved = float(spans[0] - spans[1]) * len(names)
        total += saved
        name = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)})"
        size = f"{work.in_size[0]} × {work.in_size[1]} × {work.in_channels}"
        print(
            f"| {name} | {size} | {work.strides[0]} | {spans[0]:.1f} | {spans[1]:.1f} "
            f"| {saved:.1f} |"
        )
    print(f"| sum | | | | | {total:.1f} |")


if __name__ == "__main__":
    main()

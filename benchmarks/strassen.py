"""One level of Strassen–Winograd against the pointwise kernel, layer by layer, in turns.

    python benchmarks/strassen.py --threads 1

For whole networks compile one artifact with ``--strassen`` and one without, and run both
with ``tvm-mobilenet bench``. The errors are norm-wise relative, against float64.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from numpy.typing import NDArray
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.rules import schedule

from tvm_mobilenet import reference, target
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.compute.strassen import PANELS
from tvm_mobilenet.graph.strassen import choose_strassen
from tvm_mobilenet.operators.workload import Operator, Workload
from tvm_mobilenet.runtime.threads import use_threads

LAYERS = (
    (56, 64, 128),
    (56, 128, 128),
    (28, 128, 256),
    (28, 256, 256),
    (14, 256, 512),
    (14, 512, 512),
    (7, 512, 1024),
    (7, 1024, 1024),
)
"""Rows of the map, input channels, output channels: MobileNet V1 1.0/224."""

Array = NDArray[Any]


def packed(matrix: Array, lanes: int) -> Array:
    """(K, O) to (O / lanes, K, lanes)."""
    return np.ascontiguousarray(matrix.reshape(len(matrix), -1, lanes).transpose(1, 0, 2))


def in_panels(matrix: Array, lanes: int) -> Array:
    """(K, O) to the seven panels (7, O / 2 lanes, K / 2, lanes)."""
    k, o = (size // 2 for size in matrix.shape)
    quarters = np.stack([matrix[:k, :o], matrix[:k, o:], matrix[k:, :o], matrix[k:, o:]])
    sums = np.tensordot(np.array(PANELS, float), quarters, 1).astype("f4")
    return np.stack([packed(panel, lanes) for panel in sums])


def compiled(work: Workload, spec: target.TargetSpec) -> Any:
    """Return the kernel of a workload, ready to call."""
    done = schedule(prim_func(work), spec, Knobs())
    assert done is not None, work.key
    module = tvm.IRModule({work.key: done.func.with_attr("global_symbol", work.key)})
    return tvm.compile(module, target=tvm.target.Target(spec.tvm_dict())).jit()[work.key]


class Layer:
    """One layer, both ways, on the same numbers."""

    def __init__(self, rows: int, k: int, o: int, spec: target.TargetSpec) -> None:
        lanes, size = spec.lanes, (rows, rows)
        random = np.random.default_rng(0)
        x = random.standard_normal((rows * rows, k)).astype("f4")
        w = (random.standard_normal((k, o)) * (2 / k) ** 0.5).astype("f4")
        bias = random.standard_normal(o).astype("f4")
        want = np.clip(x.astype(float) @ w + bias, 0, 6)
        self.title, self.calls, self.errors = f"{rows} x {rows} x {k} -> {o}", [], []
        ways: tuple[tuple[Operator, Array], ...] = (
            ("pointwise", packed(w, lanes)),
            ("strassen", in_panels(w, lanes)),
        )
        for operator, weight in ways:
            work = Workload(operator, 1, k, o, size, size, lanes, lanes, activation="relu6")
            out = np.empty((1, o // lanes, rows * rows, lanes), "f4")
            arrays = (packed(x, lanes)[None], weight, bias.reshape(-1, lanes), out)
            tensors = [tvm.runtime.tensor(array) for array in arrays]
            kernel = compiled(work, spec)
            kernel(*tensors)
            got = tensors[-1].numpy()[0].transpose(1, 0, 2).reshape(want.shape)
            self.errors.append(reference.relative_error(got, want))
            self.calls.append((kernel, tensors))
        self.gain = choose_strassen(dataclasses.replace(work, operator="pointwise"))
        self.repeats = max(1, int(2e9 / (rows * rows * k * o)))

    def times(self, turns: int = 12) -> list[float]:
        """Median microseconds of both ways, in turns."""
        found: list[list[float]] = [[], []]
        for _ in range(turns):
            for times, (kernel, tensors) in zip(found, self.calls, strict=True):
                kernel(*tensors)
                begin = time.perf_counter()
                for _ in range(self.repeats):
                    kernel(*tensors)
                times.append((time.perf_counter() - begin) / self.repeats * 1e6)
        return [float(np.median(times)) for times in found]


def main() -> None:
    """Print one line for each layer."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    use_threads(tvm_ffi, threads)
    spec = dataclasses.replace(target.parse("native"), cores=threads)
    layers = [Layer(*sizes, spec) for sizes in LAYERS]
    print("| layer | pointwise µs | strassen µs | ratio | errors | the rule |")
    print("|---|---:|---:|---:|---|---|")
    for layer in layers:
        one, other = layer.times()
        errors = " / ".join(f"{error:.1e}" for error in layer.errors)
        print(
            f"| {layer.title} | {one:.0f} | {other:.0f} | {other / one:.3f} | {errors} "
            f"| {'yes' if layer.gain.used else 'no'}: {layer.gain.why} |"
        )


if __name__ == "__main__":
    main()

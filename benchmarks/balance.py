"""How evenly the schedules cut each kernel of a network, as one Markdown table.

    python benchmarks/balance.py --alpha 1.0 --resolution 224 --target znver5

Nothing is run: the longest thread's share over the mean follows from the extent of the
parallel loop. ``tvm-mobilenet profile --threads 2`` measures the same on this machine.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
from tvm import tirx
from tvm_mobilenet.schedules.plans.threads import imbalance

from tvm_mobilenet.emit.relax.pipeline import lower
from tvm_mobilenet.emit.relax.workspace import parallel_units
from tvm_mobilenet.machine import PRESETS
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.network.planning import plan_network

CORES = (2, 4, 8)


def main() -> None:
    """Schedule for each number of threads, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--target", default="znver5", choices=list(PRESETS))
    options = parser.parse_args()
    model = mobilenet_v1(alpha=options.alpha, resolution=options.resolution)
    shapes = {name: shape for layer in model.layers for name, shape in layer.parameters.items()}
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    found: dict[str, dict[int, str]] = {}
    for cores in CORES:
        target = dataclasses.replace(PRESETS[options.target], cores=cores)
        lowered = lower(plan_network(model, target, fusion="none"), weights)
        functions = {gv.name_hint: func for gv, func in lowered.mod.functions.items()}
        for call in lowered.calls:
            func = functions[call.kernel]
            assert isinstance(func, tirx.PrimFunc)
            regions = parallel_units(func)
            text = ", ".join(f"{n}: {imbalance(n, cores):.3f}" for n in regions)
            found.setdefault(call.value.replace("_", "."), {})[cores] = text or "one thread"
    print(f"{model.title}, {options.target}: units, longest share over mean\n")
    print("| layer | " + " | ".join(f"{cores} threads" for cores in CORES) + " |")
    print("|---" * (1 + len(CORES)) + "|")
    for layer, row in found.items():
        print(f"| {layer} | " + " | ".join(row[cores] for cores in CORES) + " |")


if __name__ == "__main__":
    main()

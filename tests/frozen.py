"""What compiling decides, written down: what a change of the house must not change by accident.

``tests/golden/frozen.txt`` holds one line for each case: a network, a target, and a digest of
each thing that is decided before code is generated (calls in their order, knobs, packed weights,
memory plan, prefetches). When a digest differs, the two texts behind it tell what did::

    python tests/frozen.py --dump before     # in a checkout of the old code
    python tests/frozen.py --dump after      # in the new one
    diff -ru before after

Only :func:`observed` knows how the code spells its decisions: when that moves, it moves here, and
the file stays as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILE = HERE / "golden" / "frozen.txt"

TARGETS = ("znver5", "x86-64-v3", "x86-64", "rpi4", "rpi2", "sm_90", "opencl")
FUSIONS = ("auto", "none", "all")
WIDTHS: dict[str, tuple[float, ...]] = {
    "v1": (0.25, 0.5, 0.75, 1.0),
    "v2": (0.35, 0.5, 0.75, 1.0, 1.4),
    "v3-large": (0.75, 1.0),
    "v3-small": (0.75, 1.0),
}
RESOLUTIONS = (224, 128, 97, 192, 160)
BATCHES, THREADS = (1, 8, 1), (1, 2)
ASPECTS = ("calls", "knobs", "weights", "memory", "prefetches")


@dataclass(frozen=True)
class Case:
    """A network, and what it is compiled for.

    `make` returns the model and its weights; `threads` is how many cores the target has.
    """

    name: str
    make: Callable[[], tuple[Any, Any]]
    target: str
    fusion: str
    threads: int


def cases() -> list[Case]:
    """Every family on every target in every kind of fusion; the other options take turns."""
    return [*_built_in(), *_imported()]


def _built_in() -> Iterator[Case]:
    grid = itertools.product(FUSIONS, TARGETS, WIDTHS)
    for number, (fusion, target, family) in enumerate(grid):
        # Numbers without a common divisor: every pair of options meets somewhere.
        alpha = WIDTHS[family][number // 4 % len(WIDTHS[family])]
        resolution = RESOLUTIONS[number % len(RESOLUTIONS)]
        batch = BATCHES[number // 5 % len(BATCHES)]
        threads = THREADS[number // 3 % len(THREADS)]

        def make(
            family: str = family, alpha: float = alpha, side: int = resolution, batch: int = batch
        ) -> tuple[Any, Any]:
            from tvm_mobilenet.models import build
            from tvm_mobilenet.models.weights import initialize

            model = build(family, alpha=alpha, resolution=side, batch=batch)
            return model, initialize(model, 0)

        title = f"{family} {alpha}/{resolution} x{batch}"
        yield Case(title, make, target, fusion, threads)


def _imported() -> Iterator[Case]:
    for name, target in itertools.product(NETWORKS, ("znver5", "rpi4", "opencl")):

        def make(name: str = name) -> tuple[Any, Any]:
            from tvm_mobilenet.models.importer import import_onnx

            with tempfile.TemporaryDirectory() as folder:
                imported = import_onnx(NETWORKS[name](Path(folder) / "net.onnx"))
            return imported.model, imported.weights

        yield Case(f"onnx {name}", make, target, "auto", 2)


def _branches(path: Path) -> Path:
    """Grouped and dilated convolutions, foreign operators, two outputs, one read inside."""
    from onnx_nets import Net

    net = Net((1, 3, 24, 24))
    x = net.act(net.norm(net.conv("image", 12, 3, strides=[2, 2])), "hardswish", "late")
    y = net.add(net.conv(net.act(net.depthwise(x), "relu6", "clip"), 12), x)
    leaky = net.op("LeakyRelu", y, alpha=0.1)
    grouped = net.conv(y, 12, 3, groups=3)
    dilated = net.conv(leaky, 6, 3, dilations=[2, 2], pads=[2] * 4)
    joined = net.op("Concat", dilated, grouped, axis=1)
    net.channels[joined] = 18
    return net.save(path, net.conv(joined, 5, bias=True), leaky)


def _one_channel(path: Path) -> Path:
    """A grey image, one channel between layers, squeeze-and-excite over it."""
    from onnx_nets import Net

    net = Net((2, 1, 17, 13))
    net.channels["image"] = 1
    x = net.act(net.conv("image", 20, 3, strides=[2, 2], bias=True), "relu")
    y = net.act(net.excite(net.act(net.depthwise(x, 5), "hardswish"), 5), "relu6", "minmax")
    thin = net.conv(net.depthwise(y), 1)
    flat = net.op("Flatten", net.op("GlobalAveragePool", net.conv(thin, 7)))
    return net.save(path, net.op("Softmax", flat, axis=1))


NETWORKS: dict[str, Callable[[Path], Path]] = {
    "branches": _branches,
    "one channel": _one_channel,
}


def observed(case: Case) -> dict[str, str]:
    """Return the text of every aspect of a case; no code is generated."""
    from tvm_mobilenet.emit.relax.pipeline import lower
    from tvm_mobilenet.emit.relax.plan_memory import plan_memory
    from tvm_mobilenet.machine import parse
    from tvm_mobilenet.network.planning import plan_network

    model, weights = case.make()
    target = dataclasses.replace(parse(case.target), cores=case.threads)
    fusion: Any = case.fusion
    lowered = lower(plan_network(model, target, fusion=fusion), weights)
    plan = plan_memory(lowered.mod)[1]
    kernels = [lowered.kernels[call.kernel] for call in lowered.calls]
    names = [kernel.name.partition("_ahead_") for kernel in kernels]
    lines: dict[str, list[str]] = {
        "calls": [
            f"{call.value} = {name}  # {call.shape}"
            for call, (name, _, _) in zip(lowered.calls, names, strict=True)
        ],
        "knobs": [
            f"{k.name}: {k.schedule}, {k.source}, {dict(sorted(k.knobs.items()))}" for k in kernels
        ],
        "weights": _constants(lowered.mod),
        "memory": [
            *(
                f"{t.name}: {t.bytes} bytes, {t.born} to {t.dies}, in {place}"
                for t, place in zip(plan.tensors, plan.places, strict=True)
            ),
            f"output: {plan.output_bytes} bytes",
        ],
        "prefetches": [
            f"{call.value}: {ahead}"
            for call, (_, _, ahead) in zip(lowered.calls, names, strict=True)
            if ahead
        ],
    }
    return {aspect: "\n".join(lines[aspect]) + "\n" for aspect in ASPECTS}


def _constants(mod: Any) -> list[str]:
    """Return for every call the digests of the constants that its kernel reads."""
    import numpy as np
    from tvm import relax

    found = []
    for binding in (b for block in mod["main"].body.blocks for b in block.bindings):
        call = binding.value
        if not (isinstance(call, relax.Call) and len(call.args) > 1):
            continue
        read = getattr(call.args[1], "fields", ())
        arrays = [np.asarray(c.value.numpy()) for c in read if hasattr(c, "value")]
        told = [f"{a.dtype}{list(a.shape)} {digest(a.tobytes())}" for a in arrays]
        found.append(f"{binding.var.name}: {'; '.join(told)}")
    return found


def digest(data: bytes) -> str:
    """Return ten hexadecimal digits that stand for some bytes."""
    return hashlib.sha256(data).hexdigest()[:10]


def label(case: Case) -> str:
    """Return what the file calls a case."""
    return f"{case.name}, {case.target}, {case.fusion}, {case.threads} threads"


def line(case: Case) -> str:
    """Return the file's line of a case."""
    told = " ".join(f"{name}:{digest(text.encode())}" for name, text in observed(case).items())
    return f"{label(case)} | {told}"


def recorded() -> dict[str, str]:
    """Return the lines of the file by what they call their case."""
    return {text.partition(" | ")[0]: text for text in FILE.read_text().splitlines()}


def main() -> int:
    """Write the file, or compare with it, or dump the texts behind it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--update", action="store_true", help="write the file anew")
    parser.add_argument("--dump", type=Path, help="folder for the texts behind the digests")
    parser.add_argument("--only", default="", help="cases whose label has this in it")
    asked = parser.parse_args()
    chosen = [case for case in cases() if asked.only in label(case)]
    if asked.dump is not None:
        for case in chosen:
            for aspect, text in observed(case).items():
                path = asked.dump / label(case).replace("/", "-") / f"{aspect}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return 0
    before = recorded() if FILE.exists() else {}
    now = {label(case): line(case) for case in chosen}
    differ = [name for name, text in now.items() if before.get(name) != text]
    for name in differ:
        print(f"- {before.get(name, '(not there)')}\n+ {now[name]}")
    if asked.update:
        lines = before | now if asked.only else now
        FILE.write_text("".join(f"{text}\n" for text in lines.values()))
        return 0
    print(f"{len(now) - len(differ)} of {len(now)} cases are as they were")
    return int(bool(differ))


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main())

"""``compile`` and ``inspect``: make an artifact, and show what one holds."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.cli.output import mega, print_json, print_table, shape, size, waiting
from tvm_mobilenet.errors import ArtifactError, OutputError

if TYPE_CHECKING:
    from tvm_mobilenet.target import TargetSpec


PROFILE_REPEATS = 20


def target_of(text: str, mcpu: str | None, mattr: str | None, cores: int | None) -> TargetSpec:
    """Return the target that the options of ``compile`` describe."""
    from tvm_mobilenet.target import parse

    return parse(text, mcpu=mcpu, mattr=mattr, cores=cores)


def compile_model(
    name: str,
    options: dict[str, Any],
    output: Path,
    *,
    weights: Path | None,
    seed: int,
    target: TargetSpec,
    verify: bool,
    dump_ir: Path | None,
) -> None:
    """Compile, write, and report layer by layer."""
    from tvm_mobilenet import api
    from tvm_mobilenet.models import build

    model = build(name, **options)
    _check_writable(output)
    start = time.perf_counter()
    with waiting(f"compiling {model.title} for {target.name}"):
        compiled = api.compile(
            model, target=target, weights=weights, seed=seed, verify=verify, dump_ir=dump_ir
        )
        path = compiled.export(output)
    seconds = time.perf_counter() - start

    from tvm_mobilenet.runtime.artifact import read_manifest

    manifest = read_manifest(path)
    spans, total = _profiled(path) if _runs_here(manifest) else (None, None)
    print_table(*_layers_table(manifest, spans, total))
    print(f"{_verified(manifest)}\n{path}: {size(path.stat().st_size)}, {seconds:.1f} s to compile")


def _check_writable(output: Path) -> None:
    """Refuse, before anything is compiled, a path that cannot be written in the end."""
    folder = output.absolute().parent
    if output.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(
            f"cannot write {str(output)!r}",
            "choose a file in a folder that exists and that you may write to",
        )


def _runs_here(manifest: dict[str, Any]) -> bool:
    from tvm_mobilenet.runtime.artifact import check_here

    try:
        check_here(manifest)
    except ArtifactError:
        return False
    return True


def _profiled(path: Path) -> tuple[list[float], float]:
    """Return microseconds of every kernel, and of a whole call, on this machine."""
    import numpy as np

    from tvm_mobilenet.runtime import load

    with waiting("timing every layer"):
        module = load(path)
        x = np.random.default_rng(0).standard_normal(module.inputs[0]["shape"], np.float32)
        profile = module.profile(x, PROFILE_REPEATS)
    return [span for _, span in profile.calls], profile.total


def _layers_table(
    manifest: dict[str, Any], spans: Sequence[float] | None, total: float | None
) -> tuple[str, list[str], list[list[str]], str]:
    """Return title, columns, rows and footer of the per-layer report."""
    columns = ["layers", "operator", "schedule", "knobs from", "knobs", "output", ">MMACs"]
    if spans is not None:
        columns += [">us", ">GFLOP/s", ">share"]
    rows = []
    for number, call in enumerate(manifest["calls"]):
        knobs = " ".join(f"{key}={value}" for key, value in call["knobs"].items())
        row = [
            " + ".join(call["layers"]),
            call["operator"],
            call["schedule"] or "-",
            call["source"],
            knobs,
            shape(call["output"]["shape"]),
            f"{call['macs'] / 1e6:.2f}",
        ]
        if spans is not None:
            span = spans[number]
            speed = 2 * call["macs"] / span / 1e3
            row += [f"{span:.1f}", f"{speed:.1f}" if call["macs"] else "-"]
            row.append(f"{span / sum(spans):.1%}")
        rows.append(row)
    fallbacks = [call["layers"] for call in manifest["calls"] if call["source"] == "fallback"]
    footer = f"{len(rows)} kernels, {len(fallbacks)} without a schedule of ours"
    if spans is not None and total is not None:
        speed = 2 * manifest["macs"] / total / 1e3
        footer += (
            f"; kernels {sum(spans) / 1e3:.3f} ms, one call {total / 1e3:.3f} ms, "
            f"{speed:.1f} GFLOP/s"
        )
    return f"{manifest['title']} for {_target_text(manifest)}", columns, rows, footer


def _target_text(manifest: dict[str, Any]) -> str:
    target = manifest["target"]
    return f"{target['name']} ({target['triple']}, {target['cpu'] or 'baseline'})"


def _verified(manifest: dict[str, Any]) -> str:
    found = manifest["verification"]
    if not found:
        return "not verified: run `tvm-mobilenet verify` on the machine it is for"
    return (
        f"verified: relative error {found['relative']:.1e} (allowed {found['tolerance']:.0e}), "
        f"max abs {found['max_abs']:.1e}"
    )


def inspect_artifact(artifact: Path, as_json: bool) -> None:
    """Print the manifest."""
    from tvm_mobilenet.runtime.artifact import read_manifest

    manifest = read_manifest(artifact)
    if as_json:
        print_json(manifest)
        return
    facts = {
        "model": manifest["title"],
        "MACs, parameters": f"{mega(manifest['macs'])} M, {manifest['params'] / 1e6:.1f} M",
        "made by": f"{manifest['producer']}, stack {manifest['stack']}",
        "needs TVM": f"{manifest['tvm']}, ffi {manifest['tvm_ffi']}",
        "target": _target_text(manifest),
        "machine": f"{manifest['machine']}, {manifest['os']}",
        "needs CPU features": " ".join(manifest["needs"]) or "none beyond the architecture",
        "weights": f"{manifest['weights']['source']}, sha256 {manifest['weights']['sha256'][:16]}",
        "activations": size(manifest["activation_bytes"]),
        "preprocessing": ", ".join(f"{k} {v}" for k, v in manifest["preprocess"].items()),
        "verification": _verified(manifest),
    }
    for role in ("inputs", "outputs"):
        for tensor in manifest[role]:
            facts[f"{role[:-1]} {tensor['name']}"] = (
                f"{shape(tensor['shape'])} {tensor['dtype']} {tensor['layout']}"
            )
    print_table(str(artifact), ["", ""], list(facts.items()))
    print_table(*_layers_table(manifest, None, None))

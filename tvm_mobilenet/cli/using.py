"""``run`` and ``verify``: classify images, compare with the reference."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_mobilenet.cli.output import print_json, print_table, waiting

if TYPE_CHECKING:
    from tvm_mobilenet.device import RemoteModule
    from tvm_mobilenet.runtime import Module


def run_images(
    artifact: Path,
    images: Sequence[Path],
    count: int,
    *,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Classify images one by one, here or on a device."""
    if device is None:
        from tvm_mobilenet.runtime import load

        _run_images(load(artifact, threads=threads), images, count, as_json)
        return
    from tvm_mobilenet.device import open_device

    with open_device(device) as opened, opened.session() as session:
        _run_images(session.artifact(artifact, threads), images, count, as_json)


def _run_images(
    module: Module | RemoteModule, images: Sequence[Path], count: int, as_json: bool
) -> None:
    import numpy as np

    from tvm_mobilenet.runtime.preprocess import class_names, load_image, top

    preprocess = module.manifest["preprocess"]
    batch, classes = module.inputs[0]["shape"][0], module.outputs[0]["shape"][1]
    known = class_names(classes)
    results = []
    for image in images:
        one = load_image(image, preprocess)
        # A batch is filled with copies: one image is what the user asked about.
        x = np.ascontiguousarray(np.broadcast_to(one, (batch, *one.shape[1:])))
        module(x)
        start = time.perf_counter()
        probabilities = module(x)[0]
        milliseconds = (time.perf_counter() - start) * 1e3
        results.append((image, milliseconds, top(probabilities, count, known)))
    if as_json:
        print_json(
            [
                {
                    "image": str(image),
                    "ms": milliseconds,
                    "top": [{"class": name, "probability": p} for name, p in best],
                }
                for image, milliseconds, best in results
            ]
        )
        return
    for image, milliseconds, best in results:
        rows = [[name, f"{100 * p:.2f} %"] for name, p in best]
        print_table(f"{image}  ({milliseconds:.2f} ms)", ["~class", ">probability"], rows)
    if str(module.manifest["weights"]["source"]).startswith("seed:"):
        print("The weights are random: these classes mean nothing. Compile with --weights.")
    elif known is None:
        print("Class names: pip install 'tvm-mobilenet[demo]'")


def verify_artifact(artifact: Path, weights: str | None, device: str | None, as_json: bool) -> None:
    """Compare with the reference; a wrong artifact is an error, after its table."""
    from tvm_mobilenet import api

    with waiting("comparing with the reference"):
        report = api.verify(artifact, weights=weights, device=device)
    if as_json:
        print_json({**dataclasses.asdict(report), "passed": report.passed})
    else:
        columns = [
            "layers",
            ">max abs",
            ">relative",
            ">alone, relative",
            ">allowed",
            "",
        ]
        rows = [
            [
                " + ".join(row.layers),
                f"{row.max_abs:.1e}",
                f"{row.relative:.1e}",
                f"{row.alone:.1e}",
                f"{row.tolerance:.1e}",
                "ok" if row.passed else "WRONG",
            ]
            for row in report.rows
        ]
        footer = (
            f"end to end: max abs {report.max_abs:.1e}, relative {report.relative:.1e} "
            f"(allowed {report.tolerance:.0e})"
        )
        print_table(str(artifact), columns, rows, footer)
    report.check()

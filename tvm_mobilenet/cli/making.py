"""``compile``: make an artifact, and show what was done."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_mobilenet.cli import logs
from tvm_mobilenet.cli.inspecting import target_text, verified
from tvm_mobilenet.cli.launching import cuda_facts
from tvm_mobilenet.cli.output import Form, say, show, size, waiting
from tvm_mobilenet.errors import OutputError, RecordsWarning

if TYPE_CHECKING:
    from tvm_mobilenet.compilation.options import CompileOptions, ModelLike


def compile_model(
    model: ModelLike,
    output: Path,
    options: CompileOptions,
    form: Form,
    header: Path | None = None,
) -> None:
    """Compile, write, and report layer by layer."""
    from tvm_mobilenet.compilation.compile import compile_network
    from tvm_mobilenet.models.network import model_from

    with waiting(f"asking {options.device}") if options.asks_device else contextlib.nullcontext():
        target = options.spec
    for written in filter(None, (output, header)):
        _check_writable(written)
    start = time.perf_counter()
    with warnings_told(), waiting(f"compiling {model_from(model).title} for {target.name}"):
        compiled = compile_network(model, options)
        # First, as it is refused where there is no C interface.
        if header is not None:
            header.write_text(compiled.header)
        path = compiled.export(output)
    seconds = time.perf_counter() - start
    if logs.is_quiet():
        say(str(path))
        return
    with waiting("timing every layer"):
        report = compiled.report
    table, manifest, count = report.table(), compiled.manifest, path.stat().st_size
    lines = [": ".join(fact) for fact in cuda_facts(manifest).items()] if "gpu" in manifest else []
    lines += [verified(manifest), f"{path}: {size(count)}, {seconds:.1f} s to compile"]
    title = f"{report.title} for {target_text(manifest)}"
    show(
        form,
        dataclasses.replace(table, title=title, notes=(*table.notes, *lines)),
        data={
            **report.to_dict(),
            "verification": manifest["verification"],
            "host_check": manifest.get("host_check"),
            "path": str(path),
            "bytes": count,
            "seconds": seconds,
        },
    )


@contextlib.contextmanager
def warnings_told() -> Iterator[None]:
    """Tell each warning as one line, without the place in our source."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecordsWarning)
        try:
            yield
        finally:
            for warning in caught:
                logs.tell_warning(warning)


def _check_writable(output: Path) -> None:
    """Refuse, before anything is compiled, a path that cannot be written in the end."""
    folder = output.absolute().parent
    if output.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(
            f"cannot write {str(output)!r}",
            "choose a file in a folder that exists and that you may write to",
        )

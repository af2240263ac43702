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

from typer import BadParameter

from tvm_mobilenet.artifact.emission import HEADER, check_name
from tvm_mobilenet.artifact.package import check_library
from tvm_mobilenet.cli import logs
from tvm_mobilenet.cli.inspecting import target_text, verified
from tvm_mobilenet.cli.launching import cuda_facts
from tvm_mobilenet.cli.output import Form, say, show, size, waiting
from tvm_mobilenet.errors import OutputError, RecordsWarning

if TYPE_CHECKING:
    from tvm_mobilenet.cli.options import Written
    from tvm_mobilenet.compilation.options import CompileOptions, ModelLike


def compile_model(model: ModelLike, written: Written, options: CompileOptions, form: Form) -> None:
    """Compile, write, and report layer by layer."""
    from tvm_mobilenet.compilation.compile import compile_network
    from tvm_mobilenet.models.network import model_from

    _check_written(written)
    with waiting(f"asking {options.device}") if options.asks_device else contextlib.nullcontext():
        target = options.spec
    _check_c_interface(written, options)
    start = time.perf_counter()
    with warnings_told(), waiting(f"compiling {model_from(model).title} for {target.name}"):
        compiled = compile_network(model, options)
        # First, as it is refused where there is no C interface.
        if written.header is not None:
            written.header.write_text(compiled.header)
        if written.package is not None:
            path = compiled.package(written.package)
        elif written.output is not None:
            path = compiled.export(written.output)
    seconds = time.perf_counter() - start
    if logs.is_quiet():
        say(str(path))
        return
    with waiting("timing every layer"):
        report = compiled.report
    table, manifest, count = report.table(), compiled.manifest, _bytes(path)
    lines = [": ".join(fact) for fact in cuda_facts(manifest).items()] if "gpu" in manifest else []
    if compiled.emit != HEADER:
        lines.append(verified(manifest))
    lines += [f"{path}: {size(count)}, {seconds:.1f} s to compile"]
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


def _check_written(written: Written) -> None:
    """Refuse, before anything is compiled, names that contradict each other or what is emitted."""
    if (written.output is None) == (written.package is None):
        raise BadParameter("give a file by --output, or else a folder by --package")
    if written.package is not None:
        check_library(written.prefix, written.emit)
        _check_folder(written.package)
    if written.output is not None:
        check_name(written.output, written.emit)
    for path in filter(None, (written.output, written.header)):
        check_writable(path)


def _check_c_interface(written: Written, options: CompileOptions) -> None:
    from tvm_mobilenet.compilation.options import check_c_interface
    from tvm_mobilenet.compilation.stack import this_stack

    asked = {"header": written.header, "package": written.package}
    names = [*options.of_c_interface, *(name for name, path in asked.items() if path is not None)]
    check_c_interface(options.spec, this_stack().name, names)


def _bytes(path: Path) -> int:
    """Return the size of a file, or of all files of a folder."""
    files = [path] if path.is_file() else filter(Path.is_file, path.rglob("*"))
    return sum(file.stat().st_size for file in files)


def check_writable(output: Path) -> None:
    """Refuse, before anything is compiled, a path that cannot be written in the end."""
    folder = output.absolute().parent
    if output.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(
            f"cannot write {str(output)!r}",
            "choose a file in a folder that exists and that you may write to",
        )


def _check_folder(folder: Path) -> None:
    """Refuse, before anything is compiled, a folder that cannot be made in the end."""
    wanted = folder.absolute()
    nearest = next(path for path in (wanted, *wanted.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise OutputError(
            f"cannot make the folder {str(folder)!r}", "choose one that you may write to"
        )

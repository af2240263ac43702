"""``compile`` and ``inspect``: make an artifact, and show what one holds."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer import BadParameter

from tvm_mobilenet.artifact.emission import HEADER, check_name
from tvm_mobilenet.artifact.package import check_library
from tvm_mobilenet.cli import logs
from tvm_mobilenet.cli.launching import cuda_facts, launch_facts
from tvm_mobilenet.cli.output import Form, mega, say, show, size, waiting
from tvm_mobilenet.common.tables import by_size, facts_table
from tvm_mobilenet.errors import OutputError, RecordsWarning
from tvm_mobilenet.machine.triples import libc_of

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
        lines.append(_verified(manifest))
    lines += [f"{path}: {size(count)}, {seconds:.1f} s to compile"]
    title = f"{report.title} for {_target_text(manifest)}"
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
        _check_writable(path)


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


def _check_writable(output: Path) -> None:
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


def _target_text(manifest: dict[str, Any]) -> str:
    target = manifest["target"]
    return f"{target['name']} ({target['triple']}, {target['cpu'] or 'baseline'})"


def _verified(manifest: dict[str, Any]) -> str:
    from tvm_mobilenet.verify.report import figure, not_judged

    found = manifest["verification"]
    if not found:
        read = manifest.get("host_check")
        read_right = (
            ""
            if read is None
            else (
                f"; checked here against the ONNX file: {read['layers']} layers, "
                f"{read['operators']} of them TVM's{not_judged(read)}"
            )
        )
        return f"not verified: run `tvm-mobilenet verify` on the machine it is for{read_right}"
    return (
        f"verified: relative error {figure(found['relative'])} (allowed {found['tolerance']:.0e}), "
        f"max abs {figure(found['max_abs'])}{not_judged(found)}"
    )


def _host(manifest: dict[str, Any]) -> dict[str, str]:
    """Say what the machine needs that the file's code runs on."""
    libc = libc_of(manifest["target"]["triple"])
    return {
        "needs TVM": _tvm(manifest),
        "machine": f"{manifest['machine']}, {manifest['os']}, {libc}",
        "needs CPU features": " ".join(manifest["needs"]) or "none beyond the architecture",
        **(cuda_facts(manifest) if "gpu" in manifest else {}),
        **_c_interface(manifest),
    }


def _c_interface(manifest: dict[str, Any]) -> dict[str, str]:
    """Say how a program in C calls the network, where it can."""
    found = manifest.get("c_interface")
    if found is None:
        return {}
    return {"C functions": f"{found['prefix']}_run and so on, version {found['version']}"}


def _memory(manifest: dict[str, Any]) -> dict[str, str]:
    """Say what a call needs beside the weights, and what of it L2 holds."""
    from tvm_mobilenet.common.tables import LAYOUT

    memory, target = manifest.get("memory"), manifest["target"]
    if memory is None:
        return {}  # from before this was planned
    gpu = target.get("gpu")
    calls, l2 = manifest["calls"], (gpu or target)["l2_bytes"]
    most = max(calls, key=lambda call: int(call["workspace"]))
    inside = sum(call["bytes"]["input"] + call["bytes"]["output"] <= l2 for call in calls)
    largest = " + ".join(f"{name} {_kib(count)}" for name, count in memory["largest"].items())
    facts = {
        "activations": f"{_kib(sum(memory['storages']))} at the peak, and "
        f"{_kib(memory['output'])} of output",
        "needed": f"{_kib(memory['bound'])}, live at once: {largest}",
    }
    if most["workspace"]:
        where = " + ".join(most["layers"]) or LAYOUT
        threads = "" if gpu else f" on {target['cores']} threads"
        facts["workspace"] = f"{_kib(most['workspace'])}{threads}: {where}"
    if l2:
        whose = "the GPU's" if gpu else "one core's"
        verdict = "fits" if memory["bound"] <= l2 else "does not fit"
        facts["in L2"] = (
            f"{_kib(memory['bound'])} {verdict} {whose} {_kib(l2)}; "
            f"input and output of {inside} of {len(calls)} kernels do"
        )
    return facts


def _tvm(manifest: dict[str, Any]) -> str:
    ffi = manifest["tvm_ffi"]
    return f"{manifest['tvm']}, ffi {ffi}" if ffi else str(manifest["tvm"])


def _kib(count: int) -> str:
    return f"{count / 1024:,.0f} KiB" if count >= 10240 else f"{count} bytes"


def inspect_artifact(artifact: Path, form: Form) -> None:
    """Print the manifest."""
    from tvm_mobilenet.compilation.report import report_of
    from tvm_mobilenet.runtime.artifact import read_manifest

    manifest = read_manifest(artifact)
    facts = {
        "model": manifest["title"],
        "MACs, parameters": f"{mega(manifest['macs'])} M, {manifest['params'] / 1e6:.1f} M",
        "made by": f"{manifest['producer']}, stack {manifest['stack']}",
        "target": _target_text(manifest),
        **(launch_facts(manifest) if "plan" in manifest else _host(manifest)),
        "weights": f"{manifest['weights']['source']}, sha256 {manifest['weights']['sha256'][:16]}",
        **_memory(manifest),
        "preprocessing": ", ".join(f"{k} {v}" for k, v in manifest["preprocess"].items()),
        "verification": _verified(manifest),
    }
    for role in ("inputs", "outputs"):
        for tensor in manifest[role]:
            facts[f"{role[:-1]} {tensor['name']}"] = (
                f"{by_size(tensor['shape'])} {tensor['dtype']} {tensor['layout']}"
            )
    kernels = dataclasses.replace(
        report_of(manifest).table(), title=f"{manifest['title']} for {_target_text(manifest)}"
    )
    show(form, facts_table(str(artifact), facts), kernels, data=manifest)

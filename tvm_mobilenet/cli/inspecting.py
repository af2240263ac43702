"""``inspect``: what an artifact says of itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tvm_mobilenet.cli.launching import cuda_facts, launch_facts
from tvm_mobilenet.cli.output import Form, mega, show
from tvm_mobilenet.common.judged import figure, not_judged
from tvm_mobilenet.common.tables import by_size, facts_table, layers_of
from tvm_mobilenet.machine.triples import libc_of


def target_text(manifest: dict[str, Any]) -> str:
    """Say what an artifact was compiled for."""
    target = manifest["target"]
    return f"{target['name']} ({target['triple']}, {target['cpu'] or 'baseline'})"


def verified(manifest: dict[str, Any]) -> str:
    """Say how the verification ended that a manifest tells of."""
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
        where = " + ".join(layers_of(most))
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
        "target": target_text(manifest),
        **(launch_facts(manifest) if "plan" in manifest else _host(manifest)),
        "weights": f"{manifest['weights']['source']}, sha256 {manifest['weights']['sha256'][:16]}",
        **_memory(manifest),
        "preprocessing": ", ".join(f"{k} {v}" for k, v in manifest["preprocess"].items()),
        "verification": verified(manifest),
    }
    for role in ("inputs", "outputs"):
        for tensor in manifest[role]:
            facts[f"{role[:-1]} {tensor['name']}"] = (
                f"{by_size(tensor['shape'])} {tensor['dtype']} {tensor['layout']}"
            )
    kernels = dataclasses.replace(
        report_of(manifest).table(), title=f"{manifest['title']} for {target_text(manifest)}"
    )
    show(form, facts_table(str(artifact), facts), kernels, data=manifest)

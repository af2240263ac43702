"""A launch plan as one file: manifest, device source and weights, and no host code."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tvm_mobilenet.graph.launch_plan import LaunchPlan
from tvm_mobilenet.sources import manifest_source, section_source
from tvm_mobilenet.toolchain import Linker


def write_container(plan: LaunchPlan, linker: Linker, reserved_bytes: int, output: Path) -> None:
    """Link a container; its manifest is still empty.

    Parameters
    ----------
    plan : LaunchPlan
    linker : Linker
        For the host's machine, although nothing in the file is executed: what finds the
        manifest of every other artifact finds this one's.
    reserved_bytes : int
        Size of the manifest's section.
    output : Path
        Shared object to write.

    Raises
    ------
    ToolchainError, OutputError
        The linker failed.
    """
    with tempfile.TemporaryDirectory(prefix="tvm_mobilenet-") as name:
        folder = Path(name)
        parts = {"source": plan.source.encode(), "weights": plan.weights}
        text = manifest_source(reserved_bytes)
        for part, content in parts.items():
            (folder / part).write_bytes(content)
            text += section_source(part, folder / part)
        (folder / "container.c").write_text(text)
        linker.link([folder / "container.c"], output)

"""Kinds of container: what compiling ends in, and what tells one from another.

Every kind is written by :func:`tvm_mobilenet.artifact.linking.write` and loaded by the class that
:data:`tvm_mobilenet.runtime.loading.LOADERS` has for it. A new one is an entry here, code that
ends in a :class:`~tvm_mobilenet.artifact.linking.Code` of it, and a loader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["vm", "cuda", "graph", "launches"]


@dataclass(frozen=True, slots=True)
class Container:
    """One kind.

    Attributes
    ----------
    kind : Kind
        What a manifest calls it.
    stack : str
        What the manifest calls the software that runs it: a stack's TVM, or no TVM at all.
    gpus : frozenset of str
        For which kinds of ``target.gpu`` it is; empty where the processor runs the kernels.
    part : str
        The field of the manifest that this kind alone has; ``""`` where it has none.
    sealed : bool
        Whether the code holds a hash of that part, because the part drives it.
    """

    kind: Kind
    stack: str
    gpus: frozenset[str] = frozenset()
    part: str = ""
    sealed: bool = False


CONTAINERS: dict[str, Container] = {
    container.kind: container
    for container in (
        Container("vm", "relax"),
        Container("cuda", "relax", frozenset({"cuda"}), "gpu"),
        Container("graph", "relay", part="graph", sealed=True),
        Container("launches", "launches", frozenset({"opencl", "metal"}), "plan", sealed=True),
    )
}

# Before manifests named their kind, their stack did.
_OF_STACK = {"relax": "vm", "relay": "graph", "launches": "launches"}


def gpu_of(manifest: Mapping[str, Any]) -> str | None:
    """Return which kind of GPU runs an artifact's kernels; None where a processor does."""
    gpu = manifest["target"].get("gpu")
    return None if gpu is None else str(gpu["kind"])


def container_of(manifest: Mapping[str, Any]) -> Container | None:
    """Return the kind of an artifact; None where this version does not know it."""
    stack = manifest["stack"]
    derived = "cuda" if (stack, gpu_of(manifest)) == ("relax", "cuda") else _OF_STACK.get(stack)
    return CONTAINERS.get(manifest.get("container", derived))

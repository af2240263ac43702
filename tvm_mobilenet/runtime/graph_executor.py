"""What TVM 0.19's graph executor runs: its description, its weights, and its kernels' buffers."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Callable, Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.artifact.sources import NO_OPERATION, PARAMETERS, section_name
from tvm_mobilenet.errors import ManifestError
from tvm_mobilenet.runtime.elf import AGAIN, find_section

_ALIGNMENT = 64
"""Bytes: what TVM takes every weight to be aligned to."""

CPU = (1, 0)
"""DLPack's kDLCPU, device 0."""

Memory = Callable[[tuple[int, ...], str], Any]
"""From a shape and a type to a tensor at its begin."""


def executor_text(graph: Mapping[str, Any]) -> str:
    """Return the description of a network as TVM's graph executor reads it."""
    return json.dumps({k: v for k, v in graph.items() if k != PARAMETERS})


def bound_calls(
    graph: Mapping[str, Any], weights: Mapping[str, Any], memory: Callable[[int], Memory]
) -> tuple[list[tuple[str, tuple[Any, ...]]], dict[str, Any]]:
    """Give every kernel of a graph its buffers.

    They share memory as the executor's do: by the storage that Relay planned.

    Parameters
    ----------
    graph : mapping
        The executor's description.
    weights : mapping
        Tensors by name.
    memory : callable
        From a number of bytes to memory, which makes tensors of shapes and types.

    Returns
    -------
    list of (str, tuple), dict
        Every kernel's name and buffers, inputs then output; the network's inputs by name.
    """
    nodes, firsts = graph["nodes"], graph["node_row_ptr"]
    entries = _entries(graph)
    storages = graph["attrs"]["storage_id"][1]
    sizes: dict[int, int] = {}
    for storage, (shape, dtype) in zip(storages, entries, strict=True):
        sizes[storage] = max(sizes.get(storage, 0), byte_size(shape, dtype))
    bound = {}
    for number, node in enumerate(nodes):
        if node["op"] == "null" and node["name"] in weights:
            bound[firsts[number]] = weights[node["name"]]
            sizes.pop(storages[firsts[number]])  # an input's storage is its own
    memories = {storage: memory(size) for storage, size in sizes.items()}
    for entry, (shape, dtype) in enumerate(entries):
        if entry not in bound:
            bound[entry] = memories[storages[entry]](shape, dtype)
    calls, inputs = [], {}
    for number, node in enumerate(nodes):
        if node["op"] == "null":
            inputs[node["name"]] = bound[firsts[number]]
        elif (name := str(node["attrs"]["func_name"])) != NO_OPERATION:
            reads = [bound[firsts[source] + output] for source, output, *_ in node["inputs"]]
            writes = [bound[entry] for entry in range(firsts[number], firsts[number + 1])]
            calls.append((name, (*reads, *writes)))
    return calls, inputs


def stored_weights(
    file: BufferedIOBase, path: Path, graph: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """Return the weights over the mapped file: read on demand, shared, never copied.

    Parameters
    ----------
    file : binary file
        The artifact. It may be closed afterwards.
    path : Path
        What messages call it.
    graph : mapping
        From the manifest.
    """
    if not graph[PARAMETERS]:  # then there is no section
        return {}
    section = find_section(file, path, section_name(PARAMETERS))
    # Copy on write: NumPy lends no read-only memory to TVM 0.19, and nobody writes.
    private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    mapped = np.frombuffer(private, np.uint8)
    entries, firsts = _entries(graph), graph["node_row_ptr"]
    kinds = {node["name"]: entries[firsts[at]] for at, node in enumerate(graph["nodes"])}
    arrays = {}
    for name, place in graph[PARAMETERS].items():
        shape, dtype = kinds[name]
        size = byte_size(shape, dtype)
        if place % _ALIGNMENT or place + size > section.size:
            raise ManifestError(
                f"the manifest of {path} contradicts itself: graph.{PARAMETERS}.{name} does not "
                "lie in its section",
                AGAIN,
            )
        start = section.offset + place
        raw = mapped[start : start + size]
        arrays[name] = raw.view(dtype).reshape(shape)
    return arrays


def _entries(graph: Mapping[str, Any]) -> list[tuple[tuple[int, ...], str]]:
    """Return shape and type of every tensor of a graph."""
    shapes, dtypes = graph["attrs"]["shape"][1], graph["attrs"]["dltype"][1]
    return [(tuple(shape), str(dtype)) for shape, dtype in zip(shapes, dtypes, strict=True)]


def byte_size(shape: tuple[int, ...], dtype: str) -> int:
    """Return the bytes of a tensor."""
    return math.prod(shape) * np.dtype(dtype).itemsize

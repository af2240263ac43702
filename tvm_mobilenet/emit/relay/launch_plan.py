"""A network for a GPU: Relay's graph and memory plan as a list of launches (ADR 0015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.artifact.launches import DeviceCode, LaunchBook, tensor_bytes
from tvm_mobilenet.artifact.linking import Code
from tvm_mobilenet.artifact.sources import NO_OPERATION
from tvm_mobilenet.emit.relay.codegen import Generated, built, nodes_of
from tvm_mobilenet.emit.relay.device_code import parting
from tvm_mobilenet.emit.relay.lowered import Lowered
from tvm_mobilenet.emit.relay.naming import Fusing
from tvm_mobilenet.emit.relay.operators import Choices, building


def generate_launches(lowered: Lowered) -> Generated:
    """Generate a GPU network's device source, and plan what is launched on which buffers.

    Raises
    ------
    CodegenError
        A kernel is not device code.
    """
    choices = Choices(lowered.plan.target, lowered.plan.recorded)
    fusing = Fusing()
    with building(choices), parting(fusing) as parted:
        _, graph, arrays = built(lowered)
    called = dict.fromkeys(
        str(node["attrs"]["func_name"]) for node in graph["nodes"] if node["op"] != "null"
    )
    called.pop(NO_OPERATION, None)
    code = _launches(graph, arrays, parted.code(list(called)))
    return Generated(nodes_of(graph, lowered, fusing), choices, code)


def _launches(
    graph: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], code: DeviceCode
) -> Code:
    """Write down the graph's calls; its buffers are the storages of Relay's memory plan."""
    book = LaunchBook(code)
    attrs, firsts = graph["attrs"], graph["node_row_ptr"]
    shapes, dtypes = attrs["shape"][1], attrs["dltype"][1]
    sizes = list(map(tensor_bytes, shapes, dtypes))
    storages: dict[int, int] = {}
    for storage, size in zip(attrs["storage_id"][1], sizes, strict=True):
        storages[storage] = max(storages.get(storage, 0), size)
    numbers: dict[int, int] = {}
    of_storage: dict[int, int] = {}

    def number(entry: int) -> int:
        """Return the buffer of a kernel's value, a new one for a new storage."""
        storage = attrs["storage_id"][1][entry]
        if storage not in of_storage:
            of_storage[storage] = book.add("storage", storages[storage])
        return of_storage[storage]

    for place, node in enumerate(graph["nodes"]):
        first, name = firsts[place], str(node["name"])
        reads = [numbers[firsts[source] + output] for source, output, *_ in node["inputs"]]
        if node["op"] == "null":
            numbers[first] = (
                book.weights(np.ascontiguousarray(arrays[name]).tobytes())
                if name in arrays
                else book.add("input", sizes[first])
            )
        elif node["attrs"]["func_name"] == NO_OPERATION:
            numbers[first] = reads[0]
        else:
            entries = range(first, firsts[place + 1])
            numbers.update({entry: number(entry) for entry in entries})
            buffers = [*reads, *(numbers[entry] for entry in entries)]
            book.call(str(node["attrs"]["func_name"]), buffers, shapes[first], dtypes[first])
    book.outputs = [numbers[firsts[source] + output] for source, output, *_ in graph["heads"]]
    return book.code()

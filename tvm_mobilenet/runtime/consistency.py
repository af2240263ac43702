"""What one field of a manifest says of another: numbers that point somewhere, sizes that agree.

Takes manifests that are of :mod:`tvm_mobilenet.runtime.schema`. What is refused here would
otherwise surface as a driver's error, or as memory that belongs to something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tvm_mobilenet.artifact.containers import container_of, gpu_of
from tvm_mobilenet.artifact.sources import NO_OPERATION, PARAMETERS
from tvm_mobilenet.common.limits import LARGEST_RESIZE, LARGEST_TENSOR
from tvm_mobilenet.runtime.recipe import both_sides

_ITEM_BYTES = {
    **{"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2},
    **{"int32": 4, "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8},
}
_BLOCKED = "NCHWc"

Record = Mapping[str, Any]


def problems(manifest: Record) -> Iterator[str]:
    """Find contradictions.

    Parameters
    ----------
    manifest : mapping
        One that fits the schema.

    Yields
    ------
    str
        Which field, as ``plan.calls[3].output``, and what is wrong with it.
    """
    for role in ("inputs", "outputs"):
        for at, tensor in enumerate(manifest[role]):
            yield from _too_large(f"{role}[{at}].shape", tensor["shape"])
    resize, crop = manifest["preprocess"]["resize"], manifest["preprocess"]["crop"]
    sides = zip(both_sides(resize or crop), both_sides(crop), strict=True)
    if not all(side <= large <= LARGEST_RESIZE * side for large, side in sides):
        yield f"preprocess.resize is not between crop and {LARGEST_RESIZE} times that"
    for at, call in enumerate(manifest["calls"]):
        output = call["output"]
        yield from _too_large(f"calls[{at}].output.shape", output["shape"])
        if output["layout"] == _BLOCKED and ("block" not in output or len(output["shape"]) < 2):
            yield f"calls[{at}].output is blocked, and does not say channels and block"
        if "memory" in manifest and not {"bytes", "workspace"} <= call.keys():
            yield f"calls[{at}] says no bytes or workspace, and memory is told"
    yield from _of_kind(manifest)


def _of_kind(manifest: Record) -> Iterator[str]:
    """Compare the kind of container with its stack, its GPU, and the part that only it has."""
    container, gpu = container_of(manifest), gpu_of(manifest)
    if container is None:
        return  # of a later version: refused where it would be loaded
    if manifest["stack"] != container.stack:
        yield f"stack is {manifest['stack']!r}, and the container is {container.kind!r}"
    if (gpu not in container.gpus) if container.gpus else gpu is not None:
        yield f"target.gpu is for {gpu or 'no GPU'}, and the container is {container.kind!r}"
    if "c_interface" in manifest and container.kind != "vm":
        yield f"c_interface is there, and the container is {container.kind!r}"
    if container.part and container.part not in manifest:
        yield f"{container.part} is missing, and the container is {container.kind!r}"
    elif container.part in _OF_PART:
        yield from _OF_PART[container.part](manifest)


def _too_large(where: str, shape: Sequence[int]) -> Iterator[str]:
    if math.prod(shape) > LARGEST_TENSOR:
        yield f"{where} has more than {LARGEST_TENSOR} numbers"


def _bytes(tensor: Record) -> int:
    return math.prod(tensor["shape"]) * _ITEM_BYTES[tensor["dtype"]]


def _of_plan(manifest: Record) -> Iterator[str]:
    plan, inputs, outputs = manifest["plan"], manifest["inputs"], manifest["outputs"]
    buffers = plan["buffers"]
    kinds = [buffer["kind"] for buffer in buffers]
    if kinds.count("input") != 1 or kinds[0] != "input" or len(inputs) != 1:
        yield "plan.buffers must begin with the one input"
    elif buffers[0]["bytes"] != _bytes(inputs[0]):
        yield f"plan.buffers[0].bytes is not the input's {_bytes(inputs[0])}"
    for at, buffer in enumerate(buffers):
        if buffer["bytes"] == 0 or (buffer["kind"] == "weights" and "offset" not in buffer):
            yield f"plan.buffers[{at}] does not say how large it is, or where its weights are"
    if len(plan["outputs"]) != len(outputs):
        yield f"plan.outputs has {len(plan['outputs'])} numbers for {len(outputs)} outputs"
    for at, (number, record) in enumerate(zip(plan["outputs"], outputs, strict=False)):
        yield from _room(f"plan.outputs[{at}]", number, buffers, _bytes(record))
    if [c["kernel"] for c in plan["calls"]] != [c["kernel"] for c in manifest["calls"]]:
        yield "plan.calls are not those of calls"
    for at, call in enumerate(plan["calls"]):
        yield from _of_launches(f"plan.calls[{at}]", call, buffers)


def _of_launches(where: str, call: Record, buffers: Sequence[Record]) -> Iterator[str]:
    yield from _too_large(f"{where}.shape", call["shape"])
    yield from _room(f"{where}.output", call["output"], buffers, _bytes(call))
    for place, launch in enumerate(call["launches"]):
        for number in launch["buffers"]:
            yield from _room(f"{where}.launches[{place}].buffers", number, buffers, 0)
        yield from _too_large(f"{where}.launches[{place}].grid", launch["grid"])


def _room(where: str, number: int, buffers: Sequence[Record], size: int) -> Iterator[str]:
    if number >= len(buffers):
        yield f"{where} is {number}, and there are {len(buffers)} buffers"
    elif buffers[number]["bytes"] < size:
        yield f"{where} is buffer {number}, which has no room for {size} bytes"


def _of_graph(manifest: Record) -> Iterator[str]:
    graph = manifest["graph"]
    nodes, firsts, attributes = graph["nodes"], graph["node_row_ptr"], graph["attrs"]
    counts = {len(attributes[key][1]) for key in ("dltype", "shape", "storage_id")}
    ascending = firsts[0] == 0 and all(low < high for low, high in pairwise(firsts))
    if len(firsts) != len(nodes) + 1 or not ascending or counts != {firsts[-1]}:
        yield "graph.node_row_ptr and graph.attrs do not count the same tensors"
        return
    for at, shape in enumerate(attributes["shape"][1]):
        yield from _too_large(f"graph.attrs.shape[1][{at}]", shape)
    yield from _of_nodes(graph, [call["kernel"] for call in manifest["calls"]])
    named = {node["name"]: at for at, node in enumerate(nodes) if node["op"] == "null"}
    places = {
        "inputs": [(named.get(tensor["name"], len(nodes)), 0) for tensor in manifest["inputs"]],
        "outputs": [(node, output) for node, output, *_ in graph["heads"]],
    }
    tensors = list(zip(attributes["shape"][1], attributes["dltype"][1], strict=True))
    for role, found in places.items():
        if len(found) != len(manifest[role]):
            yield f"graph.heads has {len(found)} tensors for {len(manifest[role])} {role}"
        for at, ((node, output), record) in enumerate(zip(found, manifest[role], strict=False)):
            if not _is_there(node, output, firsts):
                yield f"{role}[{at}] is not in the graph"
            elif tensors[firsts[node] + output] != (record["shape"], record["dtype"]):
                yield f"{role}[{at}] has another shape or type in the graph"


def _of_nodes(graph: Record, kernels: Sequence[str]) -> Iterator[str]:
    nodes, firsts = graph["nodes"], graph["node_row_ptr"]
    inputs = [at for at, node in enumerate(nodes) if node["op"] == "null"]
    names = {nodes[at]["name"] for at in inputs}
    if len(names) != len(inputs):
        yield "graph.nodes has two inputs of one name"
    if not set(graph["arg_nodes"]) <= set(inputs) or not set(graph[PARAMETERS]) <= names:
        yield f"graph.arg_nodes or graph.{PARAMETERS} has what is no input"
    called = []
    for at, node in enumerate(nodes):
        if node["op"] != "null":
            called.append(node.get("attrs", {}).get("func_name"))
        for source, output, *_ in node["inputs"]:
            if source >= at or not _is_there(source, output, firsts):
                yield f"graph.nodes[{at}].inputs has what is not computed before it"
    if [name for name in called if name != NO_OPERATION] != kernels:
        yield "graph.nodes do not call what calls lists"


def _is_there(node: int, output: int, firsts: Sequence[int]) -> bool:
    """Whether a node of the graph has such an output."""
    return node + 1 < len(firsts) and firsts[node] + output < firsts[node + 1]


_OF_PART = {"plan": _of_plan, "graph": _of_graph}

"""From a lowered network to its code: kernels, weights, and which kernel computes what."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import tvm
from numpy.typing import NDArray
from tvm import relay

from tvm_mobilenet.artifact.launches import tensor_bytes
from tvm_mobilenet.artifact.linking import Code
from tvm_mobilenet.artifact.sources import NO_OPERATION, PARAMETERS, section_source
from tvm_mobilenet.emit.relay.lowered import Call, Lowered
from tvm_mobilenet.emit.relay.naming import FORGETTING, Fusing, Named, named
from tvm_mobilenet.emit.relay.operators import PREFIX, Choices, building
from tvm_mobilenet.emit.relay.tir_passes import lowering
from tvm_mobilenet.errors import TvmMobilenetError
from tvm_mobilenet.machine.llvm import generating

_ALIGNMENT = 64
"""Bytes: what TVM takes every buffer to be aligned to."""


@dataclass(frozen=True, slots=True)
class Node:
    """One kernel of the compiled graph.

    Attributes
    ----------
    kernel : str
        Its symbol.
    call : Call or None
        What of ours it is; None where it is Relay's own.
    layers : tuple of str
        That it computes, as far as they have names.
    whole : bool
        Whether what it writes is the value of the last of them.
    shape : tuple of int
        Shape of what it writes, as it lies in memory.
    input_bytes, weight_bytes, output_bytes : int
        Sizes of the tensors that it reads and writes, each once.
    """

    kernel: str
    call: Call | None
    layers: tuple[str, ...]
    whole: bool
    shape: tuple[int, ...]
    input_bytes: int
    weight_bytes: int
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Generated:
    """A network compiled, not yet linked.

    Attributes
    ----------
    nodes : list of Node
        In the order of execution.
    choices : Choices
        Which knobs the schedules took.
    code : Code
        What its file will hold.
    """

    nodes: list[Node]
    choices: Choices = field(repr=False)
    code: Code = field(repr=False)


def generate(lowered: Lowered) -> Generated:
    """Compile a lowered network.

    Raises
    ------
    TargetError
        LLVM refuses the target.
    """
    target = lowered.plan.target
    choices = Choices(target, lowered.plan.recorded)
    fusing = Fusing()
    context = lowering(target, instruments=[fusing], disabled_pass=FORGETTING)
    with generating(target), building(choices), context:
        library, graph, arrays = built(lowered)
    blob, places = bytearray(), {}
    for name, array in arrays.items():
        blob += bytes(-len(blob) % _ALIGNMENT)
        places[name] = len(blob)
        blob += array.tobytes()
    nodes = nodes_of(graph, lowered, fusing)
    weights = (partial(section_source, PARAMETERS), bytes(blob))
    described = {**graph, PARAMETERS: places}
    return Generated(nodes, choices, Code("graph", (weights,), described, library.export_library))


def built(lowered: Lowered) -> tuple[Any, dict[str, Any], dict[str, NDArray[Any]]]:
    """Let Relay build a network, in the context that says how.

    Returns
    -------
    runtime.Module, dict, dict of str to ndarray
        The kernels; the graph executor's description, as JSON holds it; the weights.
    """
    # Relay would download other people's schedules for its own operators.
    os.environ.setdefault("TOPHUB_LOCATION", "NONE")
    factory = relay.build(
        lowered.mod,
        target=tvm.target.Target(lowered.plan.target.tvm_dict()),
        executor=relay.backend.Executor("graph"),
    )
    arrays = lowered.parameters | {k: v.numpy() for k, v in factory.get_params().items()}
    return factory.get_lib(), json.loads(factory.get_graph_json()), arrays


def nodes_of(graph: Mapping[str, Any], lowered: Lowered, fusing: Any) -> list[Node]:
    """Tell which kernel of the graph computes which call: by what it reads.

    Relay orders and fuses as it likes, but keeps the names of parameters; a kernel of ours
    is the one that reads what our call reads. What the others compute, spans say.
    """
    waiting = _Waiting(lowered.calls)
    computed = {name for call in lowered.calls for name in call.layers}
    heads = {
        source: (name,)
        for (source, *_), name in zip(graph["heads"], lowered.plan.model.outputs, strict=True)
        if name not in computed
    }
    computed |= {name for names in heads.values() for name in names}
    entry = str(lowered.mod["main"].params[0].name_hint)
    fused = named(fusing, graph, entry)
    known: dict[int, Any] = {}
    shapes, dtypes = graph["attrs"]["shape"][1], graph["attrs"]["dltype"][1]
    firsts = graph["node_row_ptr"]
    sizes = list(map(tensor_bytes, shapes, dtypes))
    nodes = []
    for place, node in enumerate(graph["nodes"]):
        if node["op"] == "null":
            known[place] = str(node["name"])
            continue
        symbol = str(node["attrs"]["func_name"])
        found = waiting.take(symbol, tuple(known.get(source) for source, *_ in node["inputs"]))
        known[place] = None if found is None else found.expr
        if symbol == NO_OPERATION:
            continue
        maps = weights = 0
        for source, output, *_ in node["inputs"]:
            if graph["nodes"][source]["op"] == "null" and known[source] != entry:
                weights += sizes[firsts[source] + output]
            else:
                maps += sizes[firsts[source] + output]
        if found:
            names = Named(found.layers, True)
        elif place in heads:
            names = Named(heads[place], True)
        else:
            names = fused.get(place, Named()).without(computed)
        computed.update(names.layers)
        first = firsts[place]
        nodes.append(
            Node(
                symbol,
                found,
                names.layers,
                names.whole,
                tuple(shapes[first]),
                *(maps, weights, sizes[first]),
            )
        )
    waiting.check()
    return nodes


class _Waiting:
    """Calls that no kernel of the graph was found for yet."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls: dict[tuple[Any, ...], list[Call]] = {}
        ours = {call.expr for call in calls}
        for call in calls:
            # Both sides know a parameter by its name, and one of our calls by its expression;
            # Relay hands over once what a kernel reads twice.
            reads = tuple(
                str(argument.name_hint)
                if isinstance(argument, relay.Var)
                else argument
                if argument in ours
                else None
                for argument in dict.fromkeys(call.expr.args)
            )
            self._calls.setdefault(reads, []).append(call)

    def take(self, symbol: str, reads: tuple[Any, ...]) -> Call | None:
        """Return the call that a kernel of this name and these inputs is."""
        for call in self._calls.get(reads, ()):
            if f"{PREFIX}{call.work.operator}".replace(".", "_") in symbol:
                self._calls[reads].remove(call)
                return call
        return None

    def check(self) -> None:
        """Raise if a call is left."""
        if left := [call.work.key for calls in self._calls.values() for call in calls]:
            raise TvmMobilenetError(
                f"Relay's graph has no kernel for {', '.join(left)}", "please report the model"
            )

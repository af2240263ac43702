"""Which layers the kernels of Relay's own compute: by spans, which Relay keeps as it fuses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tvm import relay
from tvm.ir.instrument import pass_instrument

FORGETTING = ["ToBasicBlockNormalForm"]
"""Passes that drop spans; it is for control flow, which `lower` refuses."""


@dataclass(frozen=True, slots=True)
class Named:
    """What one kernel computes.

    Attributes
    ----------
    layers : tuple of str
        Whose values it comes by, in order.
    whole : bool
        Whether what it writes is the last one's value.
    """

    layers: tuple[str, ...] = field(default=())
    whole: bool = False

    def without(self, others: Collection[str]) -> Named:
        """Return this without layers that other kernels come by."""
        layers = tuple(name for name in self.layers if name not in others)
        return Named(layers, self.whole and layers[-1:] == self.layers[-1:])


@pass_instrument
class Fusing:
    """Keeps what Relay's build has fused, when it is among a PassContext's instruments."""

    def __init__(self) -> None:
        self.modules: list[Any] = []

    def run_after_pass(self, mod: Any, info: Any) -> None:
        """Keep a module; constants are folded by builds of their own, which come by too."""
        if str(info.name) == "FuseOps":
            self.modules.append(mod)


def marked(call: Any, layer: str) -> Any:
    """Return a call whose value is that of a layer, with the mark that :func:`named` reads."""
    span = relay.Span(relay.SourceName(layer), 0, 0, 0, 0)
    return relay.Call(call.op, call.args, call.attrs, call.type_args, span)


def named(fusing: Any, graph: Mapping[str, Any], entry: str) -> dict[int, Named]:
    """Tell what each kernel of a graph computes.

    Parameters
    ----------
    fusing : Fusing
        That watched the build.
    graph : mapping
        What came of it, as the executor reads it.
    entry : str
        Name of the network's input.

    Returns
    -------
    dict of int to Named
        By the kernel's place among the graph's nodes. Empty where the graph is not that of
        the fused function: nothing is guessed.
    """
    places = [at for at, node in enumerate(graph["nodes"]) if node["op"] != "null"]
    shapes, firsts = graph["attrs"]["shape"][1], graph["node_row_ptr"]
    sizes = [tuple(shapes[firsts[at]]) for at in places]
    for mod in fusing.modules:
        main = mod["main"]
        if not main.params or str(main.params[0].name_hint) != entry:
            continue
        # The graph's maker visits calls in this order too.
        calls = [e for e in _before(main.body) if isinstance(e, relay.Call)]
        if [_first_shape(call) for call in calls] == sizes:
            return dict(zip(places, map(_named, calls), strict=True))
    return {}


def _named(call: Any) -> Named:
    if not isinstance(call.op, relay.Function):
        return Named()
    body = call.op.body
    spans = [(e, e.span) for e in _before(body) if isinstance(e, relay.Call)]
    layers = tuple(dict.fromkeys(str(s.source_name.name) for _, s in spans if s is not None))
    return Named(layers, isinstance(body, relay.Call) and body.span is not None)


def _before(body: Any) -> Iterator[Any]:
    """Yield what a value is made of and then itself, each once; not what functions hold."""
    seen: set[Any] = set()
    stack: list[tuple[Any, bool]] = [(body, False)]
    while stack:
        expr, read = stack.pop()
        if read:
            yield expr
        elif expr not in seen:
            seen.add(expr)
            stack.append((expr, True))
            stack += [(source, False) for source in reversed(read_by(expr))]


def read_by(expr: Any) -> list[Any]:
    """Return the expressions that an expression reads, operators left out."""
    if isinstance(expr, relay.Call):
        return list(expr.args)
    if isinstance(expr, relay.Tuple):
        return list(expr.fields)
    return [expr.tuple_value] if isinstance(expr, relay.TupleGetItem) else []


def _first_shape(call: Any) -> tuple[int, ...]:
    kind = call.checked_type
    if isinstance(kind, relay.TupleType):
        kind = kind.fields[0]
    return tuple(int(size) for size in kind.shape)

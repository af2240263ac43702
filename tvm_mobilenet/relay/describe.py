"""What a compiled graph says in the manifest of each kernel, as the main stack does."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.relay.codegen import Generated, Node
from tvm_mobilenet.runtime.instrument import OTHER


def calls_of(model: Model, generated: Generated) -> list[dict[str, Any]]:
    """Describe each kernel of the graph and the layers that it computes.

    Parameters
    ----------
    model : Model
    generated : Generated
        Of `model`.
    """
    macs = {layer.name: layer.macs for layer in model.layers}
    return [_call(node, generated, macs) for node in generated.nodes]


def _call(node: Node, generated: Generated, macs: dict[str, int]) -> dict[str, Any]:
    known = {
        "kernel": node.kernel,
        "layers": list(node.layers),
        "macs": sum(macs[name] for name in node.layers),
        "bytes": {
            "input": node.input_bytes,
            "weights": node.weight_bytes,
            "output": node.output_bytes,
        },
        "workspace": 0,
    }
    if node.call is None:
        layout = {2: "NC", 4: "NCHW"}.get(len(node.shape), OTHER) if node.layers else OTHER
        return known | {
            "operator": node.kernel,
            "schedule": "tvm",
            "knobs": {},
            "source": "fallback",
            "output": {"layout": layout, "shape": list(node.shape)},
        }
    work, shape = node.call.work, list(node.call.shape)
    knobs = generated.choices.taken[work.key]
    blocked = {"layout": "NCHWc", "block": work.out_block}
    plain = {"layout": "NC" if len(shape) == 2 else "NCHW"}
    return known | {
        "operator": work.operator,
        "schedule": f"te.{work.operator}",
        "knobs": dict(knobs.chosen),
        "source": knobs.source,
        "output": {"shape": shape} | (blocked if len(node.shape) == 4 else plain),
    }

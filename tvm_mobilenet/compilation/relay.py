"""The classic stack: Relay and TE schedules, in TVM 0.19."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.compilation.adapter import Lowering, StackAdapter
from tvm_mobilenet.compilation.manifest import describe_network, plain_layout
from tvm_mobilenet.errors import StackError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tvm_mobilenet.compilation.adapter import Run, Tools
    from tvm_mobilenet.compilation.options import PlanOptions
    from tvm_mobilenet.emit.relay.codegen import Generated, Node
    from tvm_mobilenet.machine import TargetSpec
    from tvm_mobilenet.models.network import Network
    from tvm_mobilenet.models.operator import Operator
    from tvm_mobilenet.models.spec import Layer
    from tvm_mobilenet.network.plan import NetworkPlan


class Relay(StackAdapter):
    """See :class:`tvm_mobilenet.compilation.adapter.StackAdapter`."""

    name = "relay"

    def check(self, options: PlanOptions) -> None:
        """Refuse CUDA, float16, and fused blocks on a GPU."""
        spec = options.spec
        if spec.gpu is not None and spec.gpu.kind == "cuda":
            raise StackError(
                f"this build of TVM 0.19 makes no code for {spec.name}: it has no generator of "
                "CUDA, and that of PTX ends in 'CUDA is not enabled'",
                "compile it with the main stack, or with --target opencl, which NVIDIA's driver "
                "runs",
            )
        if spec.gpu is not None and options.fusion == "all":
            raise StackError(
                f"the classic stack has no schedule of fused blocks for {spec.name}",
                "leave --fusion out, or compile it with the main stack",
            )
        if spec.dtype != "float32":
            raise StackError(
                f"the classic stack stores maps and weights as float32, not {spec.dtype}",
                "leave --dtype out, or compile it with the main stack",
            )

    def lower(self, network: Network, plan: NetworkPlan, dump_ir: Path | None = None) -> Lowering:
        """Compile with Relay as far as kernels and a graph."""
        from tvm_mobilenet.artifact.linking import write as write_code
        from tvm_mobilenet.common.files import dump
        from tvm_mobilenet.emit.relay.codegen import generate
        from tvm_mobilenet.emit.relay.emit import emit
        from tvm_mobilenet.emit.relay.launch_plan import generate_launches

        dump(dump_ir, "00_plan.txt", lambda: plan.text)
        lowered = emit(plan, network.weights)
        dump(dump_ir, "01_emit.txt", lambda: lowered.mod.astext(show_meta_data=False))
        make = generate if plan.target.gpu is None else generate_launches
        generated = make(lowered)

        def write(
            recipe: Mapping[str, Any], tools: Tools, path: Path, *_c_interface: object
        ) -> dict[str, Any]:
            manifest = _describe(network, plan.target, generated, recipe)
            write_code(manifest, generated.code, tools[0], path)
            return manifest

        taken = generated.choices.taken.items()
        return Lowering(
            notes=[*plan.notes, *generated.choices.notes],
            ruled=[key for key, knobs in taken if knobs.chosen and knobs.source != "record"],
            write=write,
        )

    def on_host(
        self, operators: Sequence[Operator], weights: Mapping[str, NDArray[Any]]
    ) -> Mapping[str, Run]:
        """Compile operators by Relay's importer."""
        from tvm_mobilenet.emit.relay.on_host import on_host

        return on_host(operators, weights)


def _describe(
    network: Network, spec: TargetSpec, generated: Generated, recipe: Mapping[str, Any]
) -> dict[str, Any]:
    from tvm_mobilenet.models.weights import digest

    layers = {layer.name: layer for layer in network.model.layers}
    return describe_network(
        network.model,
        spec,
        [_call(node, generated, layers) for node in generated.nodes],
        source=network.source,
        digest=digest(network.weights),
        preprocess=recipe,
        stack="relay",
        alignment=1,  # what is called is given a copy
    )


def _call(node: Node, generated: Generated, layers: Mapping[str, Layer]) -> dict[str, Any]:
    known = {
        "kernel": node.kernel,
        "layers": list(node.layers),
        "macs": sum(layers[name].macs for name in node.layers),
        "bytes": {
            "input": node.input_bytes,
            "weights": node.weight_bytes,
            "output": node.output_bytes,
        },
        "workspace": 0,
    }
    if node.call is None:
        from tvm_mobilenet.runtime.instrument import OTHER

        # A convolution that Relay keeps writes blocks of its own, under its layer's name.
        whole = node.whole and layers[node.layers[-1]].out_shape == node.shape
        layout = plain_layout(node.shape) if whole else OTHER
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
    plain = {"layout": plain_layout(shape)}
    return known | {
        "operator": work.operator,
        "schedule": f"te.{work.operator}",
        "knobs": dict(knobs.chosen),
        "source": knobs.source,
        "output": {"shape": shape} | (blocked if len(node.shape) == 4 else plain),
    }

"""Compiling with the classic stack: the steps, and what the manifest says of each kernel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.errors import StackError
from tvm_mobilenet.linking import write
from tvm_mobilenet.manifest import describe_network, plain_layout
from tvm_mobilenet.models.files import dump
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.toolchain import Linker

if TYPE_CHECKING:
    from tvm_mobilenet.models.network import Network
    from tvm_mobilenet.models.spec import Layer, Model
    from tvm_mobilenet.prediction.fusion import Fusion, FusionFor
    from tvm_mobilenet.relay.codegen import Generated, Node
    from tvm_mobilenet.relay.operators import KnobsFor


def check_classic_target(spec: TargetSpec, fusion: Fusion) -> None:
    """Refuse what TVM 0.19's build, or the classic stack, cannot compile for.

    Parameters
    ----------
    spec : TargetSpec
    fusion : {"auto", "all", "none"}
        What was asked for.

    Raises
    ------
    StackError
    """
    if spec.gpu is not None and spec.gpu.kind == "cuda":
        raise StackError(
            f"this build of TVM 0.19 makes no code for {spec.name}: it has no generator of CUDA, "
            "and that of PTX ends in 'CUDA is not enabled'",
            "compile it with the main stack, or with --target opencl, which NVIDIA's driver runs",
        )
    if spec.gpu is not None and fusion == "all":
        raise StackError(
            f"the classic stack has no schedule of fused blocks for {spec.name}",
            "leave --fusion out, or compile it with the main stack",
        )
    if spec.dtype != "float32":
        raise StackError(
            f"the classic stack stores maps and weights as float32, not {spec.dtype}",
            "leave --dtype out, or compile it with the main stack",
        )


def generate_classic(
    network: Network,
    spec: TargetSpec,
    knobs_for: KnobsFor,
    dump_ir: Path | None = None,
    *,
    fusion: Fusion = "auto",
    fusion_for: FusionFor = lambda _: None,
) -> Generated:
    """Compile with Relay as far as kernels and a graph.

    Parameters
    ----------
    network : Network
    spec : TargetSpec
    knobs_for : callable
        Recorded knobs of a workload, or None.
    dump_ir : Path, optional
        Folder for the module as built and as lowered, Relay's text.
    fusion, fusion_for
        Which layers share a kernel: as the main stack takes them.

    Raises
    ------
    InvalidModelError, UnsupportedOperatorError, TargetError, OutputError
    """
    from tvm_mobilenet.relay.build import build
    from tvm_mobilenet.relay.codegen import generate
    from tvm_mobilenet.relay.launch_plan import generate_launches
    from tvm_mobilenet.relay.lower import lower

    built = build(network.model, network.weights)
    dump(dump_ir, "00_build.txt", lambda: built.func.astext(show_meta_data=False))
    lowered = lower(built.func, spec, built.names, fusion, fusion_for)
    dump(dump_ir, "01_lower.txt", lambda: lowered.mod.astext(show_meta_data=False))
    make = generate if spec.gpu is None else generate_launches
    return make(lowered, network.model.outputs, spec, knobs_for)


def write_classic(  # noqa: PLR0917  a network, what it became, and where to
    network: Network,
    spec: TargetSpec,
    generated: Generated,
    linker: Linker,
    preprocess: Mapping[str, Any],
    path: Path,
) -> dict[str, Any]:
    """Write the artifact, its manifest still empty, and return that.

    Parameters
    ----------
    network : Network
    spec : TargetSpec
    generated : Generated
        Of `network`.
    linker : Linker
    preprocess : mapping
        For the manifest.
    path : Path
        The shared object.

    Raises
    ------
    ToolchainError, OutputError
    """
    from tvm_mobilenet.models.weights import digest

    manifest = describe_network(
        network.model,
        spec,
        calls_of(network.model, generated),
        source=network.source,
        digest=digest(network.weights),
        preprocess=preprocess,
        stack="relay",
        alignment=1,  # what is called is given a copy
    )
    write(manifest, generated.code, linker, path)
    return manifest


def calls_of(model: Model, generated: Generated) -> list[dict[str, Any]]:
    """Describe each kernel of the graph and the layers that it computes.

    Parameters
    ----------
    model : Model
    generated : Generated
        Of `model`.
    """
    layers = {layer.name: layer for layer in model.layers}
    return [_call(node, generated, layers) for node in generated.nodes]


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

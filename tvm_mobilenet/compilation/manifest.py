"""What an artifact says about itself: written by the compiler, read before it is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from tvm_mobilenet import __version__
from tvm_mobilenet.common.stacks import PACKAGES, Stack
from tvm_mobilenet.machine import ITEM_BYTES, TargetSpec
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.quantized.remaking import decided
from tvm_mobilenet.models.spec import INPUT, Operator, symbol
from tvm_mobilenet.models.weights import digest as digest_of
from tvm_mobilenet.network.plan import Call, Foreign, NetworkPlan
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import workload_key
from tvm_mobilenet.schedules.knobs import TRACE

if TYPE_CHECKING:
    from tvm_mobilenet.emit.relax.pipeline import Lowered
    from tvm_mobilenet.emit.relax.schedule_kernels import Kernel, KernelCall
    from tvm_mobilenet.models.network import Network
    from tvm_mobilenet.models.spec import Layer, Model
    from tvm_mobilenet.network.memory import MemoryPlan

_ALIGNMENT = 64
"""Bytes: what TVM takes every buffer to be aligned to."""


def describe(
    network: Network,
    spec: TargetSpec,
    lowered: Lowered,
    *,
    preprocess: Mapping[str, Any],
) -> dict[str, Any]:
    """Describe a lowered network: what :mod:`tvm_mobilenet.runtime.artifact` reads.

    Parameters
    ----------
    preprocess : mapping
        What images go through, see :mod:`tvm_mobilenet.runtime.recipe`.
    """
    model = network.model
    manifest = describe_network(
        model,
        spec,
        _calls(model, lowered, spec),
        source=network.source,
        digest=digest_of(network.weights),
        preprocess=preprocess,
        stack="relax",
        alignment=_alignment(lowered),
    )
    from_file = network.imported is not None and network.imported.records
    known = model.input_dtype == "float32" or network.pixels
    if network.records and not from_file and known:
        quantized = QuantizedModel(model, network.records)
        said = decided(quantized, network.weights)
        pixels = {"pixels": dict(network.pixels)} if network.pixels else {}
        manifest["quantized"] = said | pixels
    return manifest


def describe_network(
    model: Model,
    spec: TargetSpec,
    calls: list[dict[str, Any]],
    *,
    source: str,
    digest: str,
    preprocess: Mapping[str, Any],
    stack: Stack,
    alignment: int,
) -> dict[str, Any]:
    """Describe a network of either stack.

    Parameters
    ----------
    calls : list of dict
        Its kernels.
    source, digest : str
        Where the weights are from; their SHA-256.
    preprocess : mapping
        As for :func:`describe`.
    alignment : int
        What the input's address must be a multiple of, bytes.
    """
    from tvm_mobilenet.runtime.schema import FORMAT

    versions = {key: metadata.version(name) for name, key in PACKAGES[stack].items()}
    layout = {"layout": model.input_layout, "alignment": alignment}
    return {
        "format": FORMAT,
        "producer": f"tvm_mobilenet {__version__}",
        "stack": stack,
        "tvm": versions["tvm"],
        "tvm_ffi": versions.get("tvm_ffi"),
        "model": model.describe(),
        "title": model.title,
        "macs": model.macs,
        "params": model.params,
        "inputs": [_tensor("x", model.input_shape, model.input_dtype) | layout],
        "outputs": [_output(model.layer(name)) for name in model.outputs],
        "preprocess": dict(preprocess),
        "target": spec.to_dict(),
        "machine": spec.machine,
        "os": spec.os,
        "needs": list(spec.needs),
        "weights": {"source": source, "sha256": digest},
        "calls": calls,
        "verification": None,
    }


def _tensor(name: str, shape: Sequence[int], dtype: str) -> dict[str, Any]:
    layout = "NCHW" if len(shape) == 4 else "NC"
    return {"name": name, "shape": list(shape), "dtype": dtype, "layout": layout}


def _output(layer: Layer) -> dict[str, Any]:
    dtype = layer.dtypes[-1] if isinstance(layer, Operator) else "float32"
    return _tensor(layer.name, layer.out_shape, dtype)


def _alignment(lowered: Lowered) -> int:
    """Return what the input's address must be a multiple of, bytes.

    Our first convolution reads its image an element at a time, for a block of channels each;
    other kernels load whole vectors, from addresses that TVM takes to be aligned, and so does
    that one where a block is one channel.
    """
    plan = lowered.plan
    readers = (step for step in plan.steps if INPUT in step.sources)
    by_element = plan.target.gpu is None and all(_reads_elements(plan, step) for step in readers)
    return ITEM_BYTES["float32"] if by_element else _ALIGNMENT


def _reads_elements(plan: NetworkPlan, step: Call | Foreign) -> bool:
    """Whether a step reads its input an element at a time."""
    if not isinstance(step, Call) or step.work.operator != "conv" or step.work.out_block == 1:
        return False
    return TRACE not in plan.kernels[step.work.key].knobs


def describe_memory(model: Model, plan: MemoryPlan) -> dict[str, Any]:
    """Describe what one call allocates, and the tensors that need it, bytes."""
    return plan.to_dict({symbol(layer.name): layer.name for layer in model.layers})


def _calls(model: Model, lowered: Lowered, spec: TargetSpec) -> list[dict[str, Any]]:
    """Describe each call and the layers that it computes."""
    from tvm_mobilenet.emit.relax.emit import ENTRY
    from tvm_mobilenet.emit.relax.foreign import whole_of
    from tvm_mobilenet.emit.relax.traffic import traffic
    from tvm_mobilenet.emit.relax.workspace import workspaces

    calls = []
    workspace = workspaces(lowered.mod, spec.cores)
    moves = traffic(lowered.mod, ENTRY)
    groups = _layers_of(model, [call.value for call in lowered.calls])
    predicted = _predicted(model, lowered, spec)
    choices = {symbol(call.output.name): call.choice for call in lowered.plan.calls}
    wholes = {symbol(layer.name): layer.name for layer in model.layers}
    for call, layers, moved, us in zip(lowered.calls, groups, moves, predicted, strict=True):
        kernel = lowered.kernels[call.kernel]
        planned = lowered.plan.kernels.get(workload_key(call.kernel))
        output = _layout(call, kernel, layers)
        if planned is not None and planned.work.out_dtype == "bfloat16":
            output["dtype"] = planned.work.out_dtype
        record = {
            "kernel": call.kernel,
            "layers": [layer.name for layer in layers],
            "operator": _operator(kernel, layers),
            "schedule": kernel.schedule,
            "knobs": kernel.knobs,
            "source": kernel.source,
            "macs": sum(layer.macs for layer in layers),
            "bytes": moved,
            "workspace": workspace[call.kernel],
            "output": output,
        }
        whole = wholes.get(whole_of(call.value) or "")
        if whole is not None and not layers:
            record["part_of"] = whole
        if us is not None:
            record["predicted_us"] = round(us, 2)
        stored = spec.dtype
        if planned is not None and planned.work.integer:
            stored = planned.work.dtype
        if stored != "float32":
            record["stored"] = stored
        if planned is not None and planned.work.half_products:
            record["half_products"] = planned.work.half_products
        choice = choices.get(call.value)
        if layers and choice is not None:
            record["fusion"] = {
                "fused": choice.fused,
                "why": choice.why,
                "source": choice.source,
            }
        calls.append(record)
    return calls


def _predicted(model: Model, lowered: Lowered, spec: TargetSpec) -> list[float | None]:
    """Return what each call should take on a GPU, by its roofline; None elsewhere."""
    from tvm_mobilenet.prediction.gpu_predict import predicted_us

    if spec.gpu is None:
        return [None] * len(lowered.calls)
    kernels = [lowered.plan.kernels.get(workload_key(call.kernel)) for call in lowered.calls]
    works = [None if kernel is None else kernel.work for kernel in kernels]
    return predicted_us(works, spec, ITEM_BYTES["float32"] * math.prod(model.input_shape))


def plain_layout(shape: Sequence[int]) -> str:
    """Return the name of a layout that is in no blocks."""
    return "NC" if len(shape) == 2 else "NCHW"


def _layout(call: KernelCall, kernel: Kernel, layers: Sequence[Layer]) -> dict[str, Any]:
    """Describe what a call leaves behind: the value of its last layer, in which order."""
    from tvm_mobilenet.emit.relax.legalize_rest import BLOCKED
    from tvm_mobilenet.runtime.instrument import OTHER

    ours = OPERATORS.get(kernel.operator)
    blocked = ours is not None and not ours.writes_plain
    if blocked and not layers:  # of ours, yet on the way to a layer's value
        return {"layout": OTHER, "shape": list(call.shape)}
    shape = list(layers[-1].out_shape if layers else call.shape)
    plain = {"layout": plain_layout(shape), "shape": shape}
    if blocked:
        return plain | {"layout": "NCHWc", "block": call.shape[-1]}
    if not call.value.endswith(BLOCKED):
        return plain
    # A kernel of TVM's that goes on to change the layout, in one step or in several.
    block, pixels = call.shape[-1], math.prod(shape[2:])
    if call.shape == (shape[0], -(-shape[1] // block), pixels, block):
        return plain | {"layout": "NCHWc", "block": block}
    return {"layout": OTHER, "shape": list(call.shape)}


def _operator(kernel: Kernel, layers: Sequence[Layer]) -> str:
    """Name what a kernel computes: of TVM's own, the operators of the ONNX file."""
    foreign = [layer.operator for layer in layers if isinstance(layer, Operator)]
    return kernel.operator if kernel.source != "fallback" else "+".join(foreign) or kernel.name


def _layers_of(model: Model, values: Sequence[str]) -> list[list[Layer]]:
    """Group the layers by the call that computes them: none for a change of layout.

    A layer whose value no call computes is in the kernel of the first that reads it; where
    nobody does, it is a view of what it reads, and in no kernel.
    """
    from tvm_mobilenet.emit.relax.legalize_rest import BLOCKED

    # A change of layout may have the name of what it changes: the first of them is the kernel.
    called = {value.removesuffix(BLOCKED): at for at, value in reversed([*enumerate(values)])}
    readers = {name: layer.name for layer in reversed(model.layers) for name in layer.inputs}
    where: dict[str, int] = {}
    for layer in reversed(model.layers):
        reader = where.get(readers.get(layer.name, ""))
        at = called.get(symbol(layer.name), reader)
        if at is not None:
            where[layer.name] = at
    groups: list[list[Layer]] = [[] for _ in values]
    for layer in model.layers:
        if layer.name in where:
            groups[where[layer.name]].append(layer)
    return groups

"""The plan of a network as plain data: calls in order, what each reads and leaves behind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tvm_mobilenet.common.stacks import Stack
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.spec import Layer, Model, Shape
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.network.cache_contexts import CacheContexts
from tvm_mobilenet.network.units import Unit
from tvm_mobilenet.operators.ahead import Ahead
from tvm_mobilenet.operators.footprint import weight_bytes
from tvm_mobilenet.operators.workload import Operator, Workload
from tvm_mobilenet.prediction.fusion import Choice


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor between kernels, in the layout in which it lies in memory.

    Attributes
    ----------
    name : str
        The layer that computes it, or ``"input"``.
    shape : tuple of int
        NCHW or NC, elements.
    block : int
        Channels in a block of ``[N, ceil(C / block), H * W, block]``; 0 where it lies as
        its shape says.
    type : TensorType
        What its numbers are.
    """

    name: str
    shape: Shape
    block: int
    type: TensorType

    @property
    def laid_out(self) -> Shape:
        """Its shape as it lies in memory."""
        if not self.block:
            return self.shape
        n, channels, *rest = self.shape
        return (n, -(-channels // self.block), math.prod(rest), self.block)

    @property
    def bytes(self) -> int:
        """What it takes in memory, bytes."""
        return self.type.item_bytes * math.prod(self.laid_out)

    def __str__(self) -> str:
        """Return name, shape and layout."""
        shape = "x".join(map(str, self.shape))
        layout = f" in blocks of {self.block}" if self.block else ""
        return f"{self.name}: {shape} {self.type.dtype}{layout}"


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """How the kernel of a workload is made: one for all calls of that workload.

    Attributes
    ----------
    knobs : dict of str to int or str
        Every choice of its schedule, by name.
    source : {"rule", "record"}
        Where the knobs come from.
    note : str
        What was wrong with those recorded for it, if something was.
    """

    work: Workload
    knobs: Mapping[str, int | str]
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a kernel of ours.

    Attributes
    ----------
    units : tuple of Unit
        What it computes: several where layers share a kernel.
    reads : tuple of Value
        Maps, in the order of the operator's definition, in the layout in which it takes them.
    ahead : tuple of (Ahead, int)
        Weights of later calls that it prefetches, and which calls of ours those are.
    choice : Choice or None
        What was decided about sharing a kernel, where there was a choice.
    """

    units: tuple[Unit, ...]
    work: Workload
    reads: tuple[Value, ...]
    output: Value
    ahead: tuple[tuple[Ahead, int], ...] = ()
    choice: Choice | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that it computes, one after the other."""
        return tuple(layer for unit in self.units for layer in unit.layers)

    @property
    def weighted(self) -> tuple[Layer, ...]:
        """The layers among them that have parameters, in the order in which it takes those."""
        return tuple(layer for layer in self.layers if layer.parameters)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the values that it reads."""
        return tuple(value.name for value in self.reads)

    @property
    def macs(self) -> int:
        """Multiply-adds of its layers."""
        return sum(unit.macs for unit in self.units)

    @property
    def moved_bytes(self) -> int:
        """Bytes of what it reads, of its weights and of what it writes, each once."""
        maps = sum(value.bytes for value in (*self.reads, self.output))
        return maps + weight_bytes(self.work)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A layer that no kernel of ours computes: TVM's operators do."""

    layer: Layer

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the values that it reads."""
        return self.layer.inputs


@dataclass(frozen=True, slots=True)
class Decision:
    """Units that one kernel could compute, and whether it does.

    Attributes
    ----------
    operator : str
        The shared kernel's.
    """

    operator: Operator
    units: tuple[Unit, ...]
    choice: Choice


@dataclass(frozen=True)
class NetworkPlan:
    """What will run.

    Attributes
    ----------
    stack : {"relax", "relay"}
        Whose schedules the kernels have.
    steps : tuple of Call or Foreign
        In the order of execution.
    kernels : dict of str to KernelPlan
        By the key of their workload.
    decisions : tuple of Decision
        Those that were taken about shared kernels, in the order in which they were.
    contexts : CacheContexts
        What the cost model was told of the network.
    integers : QuantizedModel or None
        What computes in integers, with maps stored as the kernels store them.
    """

    model: Model
    target: TargetSpec
    stack: Stack
    steps: tuple[Call | Foreign, ...]
    kernels: Mapping[str, KernelPlan]
    decisions: tuple[Decision, ...] = field(repr=False)
    contexts: CacheContexts = field(repr=False)
    integers: QuantizedModel | None = field(default=None, repr=False)

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """The calls of our kernels."""
        return tuple(step for step in self.steps if isinstance(step, Call))

    @cached_property
    def by_value(self) -> dict[str, Call]:
        """The call of ours that computes a layer's value, by the layer's name."""
        return {call.output.name: call for call in self.calls}

    def recorded(self, key: str) -> Mapping[str, int | str] | None:
        """Return the recorded knobs of a kernel, None where the rule has chosen."""
        kernel = self.kernels[key]
        return kernel.knobs if kernel.source == "record" else None

    @property
    def notes(self) -> list[str]:
        """What was wrong with recorded knobs, a sentence each."""
        return [f"the record of {key}: {k.note}" for key, k in self.kernels.items() if k.note]

    @property
    def text(self) -> str:
        """The plan as people read it: a line for each step, and what was decided about it."""
        return "".join(f"{line}\n" for step in self.steps for line in self._lines(step))

    def _lines(self, step: Call | Foreign) -> list[str]:
        if isinstance(step, Foreign):
            read = ", ".join(step.sources)
            return [f"{step.layer.name} = {type(step.layer).__name__}({read})  # TVM's own"]
        kernel = self.kernels[step.work.key]
        read = ", ".join(map(str, step.reads))
        lines = [f"{step.output} = {step.work.key}({read})", f"    {kernel.source}: {kernel.knobs}"]
        lines += [
            f"    prefetches {piece.lines} lines of each of {piece.parts} parts of the weights of "
            f"{self.calls[at].output.name}, from {piece.first}"
            for piece, at in step.ahead
        ]
        if step.choice is not None:
            shared = "one kernel" if step.choice.fused else "a kernel of its own"
            lines.append(f"    {shared} ({step.choice.source}): {step.choice.why}")
        return lines

"""What ``explain`` answers: kernels, what they are predicted to take, what was chosen and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from tvm_mobilenet.common.tables import Column, Table, Tabular, threads_text, together
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.network.memory import MemoryPlan
from tvm_mobilenet.prediction.cost import Cost, total
from tvm_mobilenet.prediction.fusion import Choice, Comparison
from tvm_mobilenet.schedules.knobs import described


class PlannedKernel(NamedTuple):
    """A kernel that would be compiled, as the manifest will tell it."""

    layers: tuple[str, ...]
    operator: str
    macs: int
    knobs: dict[str, int | str]
    source: str


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel, or layers that could be one.

    Attributes
    ----------
    layers : tuple of str
        Names of those that it computes.
    operator : str
        ``"separable"`` and ``"tail"`` where there is a choice.
    cost : Cost
        Prediction for what is chosen.
    compared : Comparison, optional
        Both ways, where there is a choice.
    choice : Choice, optional
        Whether they share a kernel, and who says so.
    kernels : tuple of PlannedKernel
        That would be compiled: several where layers are not fused.
    """

    layers: tuple[str, ...]
    operator: str
    cost: Cost
    kernels: tuple[PlannedKernel, ...]
    compared: Comparison | None = None
    choice: Choice | None = None

    @property
    def macs(self) -> int:
        """Multiply-adds of its layers."""
        return sum(kernel.macs for kernel in self.kernels)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        both = self.compared
        found: dict[str, Any] = {
            "layers": list(self.layers),
            "operator": self.operator,
            "kernels": [kernel._asdict() for kernel in self.kernels],
            "predicted": _cost(self.cost),
        }
        if both is not None and self.choice is not None:
            found |= {
                "unfused": _cost(both.unfused),
                "fused": _cost(both.fused),
                "fusion": asdict(self.choice),
            }
        return found


_CHOICES = (
    Column("layers", show=together, kind="name"),
    Column("kernels", kind="word"),
    Column("by", kind="word", priority=1),
    Column("why", kind="text"),
)


@dataclass(frozen=True, slots=True, repr=False)
class Explanation(Tabular):
    """Every kernel of a network, in the order of execution.

    Attributes
    ----------
    model : str
        Title.
    target : TargetSpec
        What it is predicted for.
    threads : int
        How many run it; 0 for a GPU.
    steps : tuple of Step
        One for each kernel; but one for layers that could share a kernel and do not.
    unpredicted : tuple of str
        Layers that the cost model knows nothing of: TVM's own kernels compute them.
    macs : int
        Multiply-adds of the whole network, those layers included.
    memory : MemoryPlan or None
        What one call of the main stack allocates for activations; None where TVM's own kernels
        are among those that run.
    """

    model: str
    target: TargetSpec
    threads: int
    steps: tuple[Step, ...]
    unpredicted: tuple[str, ...]
    macs: int
    memory: MemoryPlan | None = None

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        fused = sum(step.choice is not None and step.choice.fused for step in self.steps)
        return (
            f"<{type(self).__name__} {self.model} for {self.target.name}: {len(self.steps)} steps, "
            f"{fused} of them several layers in one kernel, {self.macs / 1e6:.1f} MMACs>"
        )

    def table(self) -> Table:
        """Return what is predicted, both ways where there is a choice, and in all."""
        gpu = self.target.gpu
        levels = list(self.total.moved)
        if gpu is None:
            where = f"predicted on {threads_text(self.threads)}"
            time, scale, more = "kcycles", 1e3, "docs/fusion.md"
        else:
            where = f"{self.target.dtype}, predicted for {gpu.chip}, not measured"
            time, scale, more = "µs", float(gpu.clock_mhz), "docs/gpu.md"
        columns = (
            Column("layers", show=together, kind="name", once=True),
            Column("chosen", " ", lambda chosen: "*" if chosen else "", "word"),
            Column("kernels", kind="word"),
            Column("macs", "MMACs", lambda macs: f"{macs / 1e6:.1f}", priority=3, once=True),
            *(
                Column(
                    f"{level}_bytes", f"{level} MB", _megabytes, priority=2 + (level != levels[-1])
                )
                for level in levels
            ),
            Column("cycles", time, lambda cycles: f"{cycles / scale:.1f}"),
            Column("share_of_bound", "of bound", ".1%", priority=1),
            Column("bound_by", "by", kind="word", priority=1),
            Column("source", "knobs from", kind="word", priority=4),
            Column("knobs", kind="text", priority=5),
        )
        rows = [row for step in self.steps for row in _rows(step)]
        whole = sum(step.macs for step in self.steps)
        rows += [
            (("all",), "", name, *_cells(c, whole), "", "") for name, c in self.totals().items()
        ]
        note = (
            f"* is chosen. {levels[0]} to memory: MB that come from there or go there; of bound: "
            f"multiply-adds at the peak over the time. Predictions and their mistakes: {more}"
        )
        title = f"{self.model} for {self.target.name}, {where}"
        notes = (note, self._memory_told) if self.memory is not None else (note,)
        return Table("kernels", title, columns, tuple(rows), notes)

    @property
    def _memory_told(self) -> str:
        assert self.memory is not None
        took = f"{_megabytes(self.memory.activation_bytes)} MB"
        return f"A call allocates {took} for activations, in {len(self.memory.storages)} storages"

    def choices(self) -> Table:
        """Return what is chosen and why, a row for each choice."""
        rows: list[tuple[Any, ...]] = [
            (
                step.layers,
                "fused" if step.choice.fused else "unfused",
                step.choice.source,
                step.choice.why,
            )
            for step in self.steps
            if step.choice is not None
        ]
        rest = self.macs - sum(step.macs for step in self.steps)
        unknown = ", ".join(self.unpredicted)
        if unknown:
            unknown = f"Not predicted, {rest / 1e6:.1f} of {self.macs / 1e6:.1f} MMACs: {unknown}"
        return Table("choices", "Choices", _CHOICES, tuple(rows), (unknown,) * bool(unknown))

    @property
    def total(self) -> Cost:
        """All kernels, as chosen."""
        return total(step.cost for step in self.steps)

    def totals(self) -> dict[str, Cost]:
        """Return the network as chosen, with nothing fused, and with everything."""
        unfused = [step.compared.unfused if step.compared else step.cost for step in self.steps]
        fused = [step.compared.fused if step.compared else step.cost for step in self.steps]
        return {"chosen": self.total, "unfused": total(unfused), "fused": total(fused)}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; bytes, multiply-adds and cycles of one thread."""
        return {
            "model": self.model,
            "target": self.target.to_dict(),
            "threads": self.threads,
            "steps": [step.to_dict() for step in self.steps],
            "unpredicted": list(self.unpredicted),
            "macs": self.macs,
            "memory": None if self.memory is None else self.memory.to_dict({}),
            "totals": {name: _cost(cost) for name, cost in self.totals().items()},
        }


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.2f}"


def _rows(step: Step) -> list[tuple[Any, ...]]:
    sources = "+".join(dict.fromkeys(kernel.source for kernel in step.kernels))
    told = (sources, " | ".join(described(kernel.knobs) for kernel in step.kernels))
    if step.compared is None or step.choice is None:
        return [(step.layers, "", "", *_cells(step.cost, step.macs), *told)]
    both, fused = step.compared, step.choice.fused
    return [
        (step.layers, chosen, name, *_cells(cost, step.macs), *(told if chosen else ("", "")))
        for chosen, name, cost in (
            (not fused, "unfused", both.unfused),
            (fused, "fused", both.fused),
        )
    ]


def _cells(cost: Cost, macs: int) -> tuple[Any, ...]:
    """Return a prediction's cells, in the order of the columns."""
    return (macs, *cost.moved.values(), cost.cycles, cost.share, cost.bound)


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "macs": cost.macs,
        "bytes": {level: round(count) for level, count in cost.moved.items()},
        "cycles": round(cost.cycles),
        "parts": {part: round(count) for part, count in cost.parts.items()},
        "share_of_bound": cost.share,
        "bound_by": cost.bound,
    }

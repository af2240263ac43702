"""What a compilation would choose, and what it expects, without compiling: no TVM in here."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from tvm_mobilenet.compute.workload import Workload
from tvm_mobilenet.graph.strassen import SEVEN_WIN, Gain, choose_strassen
from tvm_mobilenet.graph.units import Unit, candidates, units_of
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.prediction.around import Around, map_bytes, weight_bytes
from tvm_mobilenet.prediction.cost import Cost, total
from tvm_mobilenet.prediction.fusion import Choice, Comparison, Fusion, FusionFor, compare, settle
from tvm_mobilenet.prediction.predict import predict
from tvm_mobilenet.prediction.speeds import speeds_of
from tvm_mobilenet.tables import Column, Table, Tabular, threads_text, together
from tvm_mobilenet.target import TargetSpec


class Kernel(NamedTuple):
    """A kernel that would be compiled, as the manifest will name it."""

    layers: tuple[str, ...]
    operator: str
    macs: int


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel, or layers that could be one.

    Attributes
    ----------
    layers : tuple of str
    operator : str
        ``"separable"`` and ``"tail"`` where there is a choice.
    cost : Cost
        Of what is chosen.
    compared : Comparison, optional
        Both ways, where there is a choice.
    choice : Choice, optional
    kernels : tuple of Kernel
        That would be compiled: several where layers stay apart.
    gains : dict of str to Gain
        What is decided about Strassen's products, by pointwise layer; empty unless asked for.
    """

    layers: tuple[str, ...]
    operator: str
    cost: Cost
    kernels: tuple[Kernel, ...]
    compared: Comparison | None = None
    choice: Choice | None = None
    gains: dict[str, Gain] = field(default_factory=dict)

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
                "unfused": _cost(both.apart),
                "fused": _cost(both.joined),
                "fusion": asdict(self.choice),
            }
        if self.gains:
            told = {name: {"used": g.used, "why": g.why} for name, g in self.gains.items()}
            found["strassen"] = told
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
    threads : int
    steps : tuple of Step
    unpredicted : tuple of str
        Layers that the cost model knows nothing of: TVM's own kernels compute them.
    macs : int
        Of the whole network, those layers included.
    """

    model: str
    target: TargetSpec
    threads: int
    steps: tuple[Step, ...]
    unpredicted: tuple[str, ...]
    macs: int

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        joined = sum(step.choice is not None and step.choice.fused for step in self.steps)
        return (
            f"<{type(self).__name__} {self.model} for {self.target.name}: {len(self.steps)} steps, "
            f"{joined} of them several layers in one kernel, {self.macs / 1e6:.1f} MMACs>"
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
        )
        rows = [row for step in self.steps for row in _rows(step)]
        whole = sum(step.macs for step in self.steps)
        rows += [(("all",), "", name, *_cells(c, whole)) for name, c in self.totals().items()]
        note = (
            f"* is chosen. {levels[0]} to memory: MB that come from there or go there; of bound: "
            f"multiply-adds at the peak over the time. Predictions and their mistakes: {more}"
        )
        title = f"{self.model} for {self.target.name}, {where}"
        return Table("kernels", title, columns, tuple(rows), (note,))

    def choices(self) -> Table:
        """Return what is chosen and why, a row for each choice."""
        rows: list[tuple[Any, ...]] = [
            (
                step.layers,
                "one" if step.choice.fused else "apart",
                step.choice.source,
                step.choice.why,
            )
            for step in self.steps
            if step.choice is not None
        ]
        gains = [pair for step in self.steps for pair in step.gains.items()]
        rows += [((n,), "seven" if gain.used else "eight", "rule", gain.why) for n, gain in gains]
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
        apart = [step.compared.apart if step.compared else step.cost for step in self.steps]
        joined = [step.compared.joined if step.compared else step.cost for step in self.steps]
        return {"chosen": self.total, "unfused": total(apart), "fused": total(joined)}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; bytes, multiply-adds and cycles of one thread."""
        return {
            "model": self.model,
            "target": self.target.to_dict(),
            "threads": self.threads,
            "steps": [step.to_dict() for step in self.steps],
            "unpredicted": list(self.unpredicted),
            "macs": self.macs,
            "totals": {name: _cost(cost) for name, cost in self.totals().items()},
        }


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.2f}"


def _rows(step: Step) -> list[tuple[Any, ...]]:
    if step.compared is None or step.choice is None:
        return [(step.layers, "", "", *_cells(step.cost, step.macs))]
    fused = step.choice.fused
    return [
        (step.layers, not fused, "apart", *_cells(step.compared.apart, step.macs)),
        (step.layers, fused, "one", *_cells(step.compared.joined, step.macs)),
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


def explain(
    model: Model,
    target: TargetSpec,
    *,
    fusion: Fusion = "auto",
    fusion_for: FusionFor = lambda _: None,
    threads: int | None = None,
    strassen: bool = False,
) -> Explanation:
    """Predict every kernel of a network, and which layers share one.

    Parameters
    ----------
    model : Model
    target : TargetSpec
        What it would be compiled for; need not be this machine.
    fusion : {"auto", "all", "none"}
    fusion_for : callable
        Measured answer for the workload of a shared kernel, or None.
    threads : int, optional
        That run it; the target's cores by default, nothing to a GPU. The choice, which is
        made at compile time, does not depend on them.
    strassen : bool
        Whether pointwise layers may take seven products for eight, as in a compilation.

    Returns
    -------
    Explanation
    """
    threads = 0 if target.gpu is not None else threads or target.cores
    units = units_of(model, target)
    kernels = [unit.work for unit in units]
    # As fuse_blocks sees it: the image, then every map; and all weights.
    values = (4 * math.prod(model.input_shape), *map(map_bytes, kernels))
    weights = sum(map(weight_bytes, kernels))
    names = [unit.names for unit in units]
    # Where a unit's input stands among the values: what no kernel of ours makes, just before it.
    made = {unit.names[-1]: at for at, unit in enumerate(units, 1)}
    arounds = [Around(weights, values, made.get(unit.source, at)) for at, unit in enumerate(units)]
    taken: dict[int, Step] = {}
    declined: list[tuple[tuple[int, ...], Step]] = []
    for operator, group in candidates(model, units, target):
        if any(i in taken for i in group):
            continue
        parts, around = [kernels[i] for i in group], arounds[group[0]]
        halve = strassen and fusion == "auto" and operator == "separable"
        if halve and choose_strassen(parts[-1]).used:
            choice = Choice(False, SEVEN_WIN)
        else:
            choice = settle(operator, parts, target, around, fusion, fusion_for)
        both = compare(operator, parts, target, around, threads)
        cost = both.joined if choice.fused else both.apart
        members = [units[i] for i in group]
        shared = tuple(name for unit in members for name in unit.names)
        if choice.fused:
            made_of = (Kernel(shared, operator, sum(unit.macs for unit in members)),)
            taken |= dict.fromkeys(group, Step(shared, operator, cost, made_of, both, choice))
        else:
            apart = tuple(map(_alone, members))
            declined.append((group, Step(shared, operator, cost, apart, both, choice)))
    for places, step in declined:
        if not any(i in taken for i in places):
            taken |= dict.fromkeys(places, step)
    steps: list[Step] = []
    for at, work in enumerate(kernels):
        if at not in taken:
            cost = predict(work, target, arounds[at], threads)
            steps.append(Step(names[at], work.operator, cost, (_alone(units[at]),)))
        elif taken[at].layers[0] == names[at][0]:
            steps.append(taken[at])
    if strassen:
        works = {name: unit.work for unit in units for name in unit.names[:1]}
        steps = [_halved(step, works, target, threads) for step in steps]
    covered = {name for some in names for name in some}
    unknown = tuple(layer.name for layer in model.layers if layer.name not in covered)
    return Explanation(model.title, target, threads, tuple(steps), unknown, model.macs)


def _alone(unit: Unit) -> Kernel:
    return Kernel(unit.names, unit.work.operator, unit.macs)


def _halved(step: Step, works: dict[str, Workload], target: TargetSpec, threads: int) -> Step:
    """Return a step whose pointwise layers take seven products where that is chosen."""
    if step.choice is not None and step.choice.fused:
        return step
    pointwise = {name: works[name] for name in step.layers if name in works}
    pointwise = {n: work for n, work in pointwise.items() if work.operator == "pointwise"}
    gains = {name: choose_strassen(work) for name, work in pointwise.items()}
    peak = speeds_of(target).pipes * target.lanes * threads
    saved = sum(gains[name].share * work.macs / peak for name, work in pointwise.items())
    parts = step.cost.parts | {"compute": step.cost.parts["compute"] - saved}
    kernels = tuple(
        kernel._replace(operator="strassen")
        if any(name in gains and gains[name].used for name in kernel.layers)
        else kernel
        for kernel in step.kernels
    )
    cost = dataclasses.replace(step.cost, parts=parts)
    return dataclasses.replace(step, cost=cost, kernels=kernels, gains=gains)

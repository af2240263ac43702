"""``explain``: what is predicted and chosen, without compiling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvm_mobilenet.cli.output import print_json, print_table

if TYPE_CHECKING:
    from tvm_mobilenet.graph.explain import Explanation, Step
    from tvm_mobilenet.prediction.cost import Cost
    from tvm_mobilenet.prediction.fusion import Fusion
    from tvm_mobilenet.target import TargetSpec
    from tvm_mobilenet.tuning.store import RecordsLike


def explain_model(
    name: str,
    options: dict[str, Any],
    *,
    target: TargetSpec,
    fusion: Fusion,
    records: RecordsLike,
    threads: int | None,
    strassen: bool,
    as_json: bool,
) -> None:
    """Predict every kernel, and print it."""
    from tvm_mobilenet import api
    from tvm_mobilenet.cli.making import warnings_told
    from tvm_mobilenet.models.network import find_model

    model = find_model(name, options)
    with warnings_told():
        found = api.explain(
            model,
            target=target,
            fusion=fusion,
            records=records,
            threads=threads,
            strassen=strassen,
        )
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found)


def _print(found: Explanation) -> None:
    gpu = found.target.gpu
    *_, far = levels = [f">{level}" for level in found.total.moved]
    if gpu is None:
        threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
        where, time, scale = f"predicted on {threads}", ">kcycles", 1e3
        more = "docs/fusion.md"
    else:
        where = f"{found.target.dtype}, predicted for {gpu.chip}, not measured"
        time, scale = ">µs", float(gpu.clock_mhz)
        more = "docs/gpu.md"
    columns = ["layers", "kernels", ">MMACs", *levels[:-1], f"{far} MB", time, ">of bound", "by"]
    rows = [row for step in found.steps for row in _rows(step, scale)]
    totals = found.totals()
    rows += [["all", name, *_cells(cost, scale)] for name, cost in totals.items()]
    print_table(
        f"{found.model} for {found.target.name}, {where}",
        columns,
        rows,
        f"* is chosen. {levels[0][1:]} to memory: MB that come from there or go there; of bound: "
        f"multiply-adds\nat the peak over the time. Predictions and their mistakes: {more}",
    )
    gains = [pair for step in found.steps for pair in step.gains.items()]
    chosen = [(step, step.choice) for step in found.steps if step.choice is not None]
    print_table(
        "Choices",
        ["layers", "kernels", "by", "~why"],
        [
            [_name(step), "one" if choice.fused else "apart", choice.source, choice.why]
            for step, choice in chosen
        ]
        + [[name, "seven" if gain.used else "eight", "rule", gain.why] for name, gain in gains],
        f"Not predicted: {', '.join(found.unpredicted)}" if found.unpredicted else "",
    )


def _rows(step: Step, scale: float) -> list[list[str]]:
    if step.compared is None or step.choice is None:
        return [[_name(step), "", *_cells(step.cost, scale)]]
    apart, one = ("  ", "* ") if step.choice.fused else ("* ", "  ")
    return [
        [_name(step), f"{apart}apart", *_cells(step.compared.apart, scale)],
        ["", f"{one}one", *_cells(step.compared.joined, scale)],
    ]


def _name(step: Step) -> str:
    """Return the layers' names, what they share said once: ``block1.dw+pw``."""
    first, *rest = step.layers
    block = first.rpartition(".")[0] + "."
    return "+".join([first, *(name.removeprefix(block) for name in rest)])


def _cells(cost: Cost, scale: float) -> list[str]:
    """Return a prediction's cells; `scale` is cycles in what time is told in."""
    return [
        f"{cost.macs / 1e6:.1f}",
        *(f"{count / 1e6:.2f}" for count in cost.moved.values()),
        f"{cost.cycles / scale:.1f}",
        f"{cost.share:.1%}",
        cost.bound,
    ]

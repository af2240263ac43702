"""``models``, ``targets``, ``records``: what there is to compile, for what, and how."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.cli.logs import LOGGER
from tvm_mobilenet.cli.output import Form, mega, show
from tvm_mobilenet.common.tables import Column, Table
from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.schedules.knobs import described

if TYPE_CHECKING:
    from tvm_mobilenet.machine import TargetSpec
    from tvm_mobilenet.models import Model
    from tvm_mobilenet.tuning.records import Record


# arXiv 1704.04861, Tables 6 and 7.
_ALPHAS, _RESOLUTIONS = (1.0, 0.75, 0.5, 0.25), (224, 192, 160, 128)

# arXiv 1801.04381, section 6.1, 1905.02244, Tables 3 to 5, and what timm has of the others.
_WIDTHS = {
    "v2": (1.4, 1.0, 0.75, 0.5, 0.35),
    "v3-large": (1.0, 0.75),
    "v3-small": (1.0, 0.75),
    "v4-conv-small": (1.0, 0.5, 0.35),
    "mnasnet-a1": (1.4, 1.0, 0.75, 0.5),
    "mnasnet-b1": (1.4, 1.0, 0.75, 0.5),
}
"""Families that are listed at more widths than their own."""

_PAPERS = (
    "MobileNet V1 (arXiv 1704.04861), V2 (1801.04381), V3 (1905.02244), V4 (2404.10518), "
    "EfficientNet-Lite (1905.11946), MnasNet (1807.11626), MobileOne (2206.04040)"
)


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f}"


_MODELS = (
    Column("model", kind="word"),
    Column("alpha"),
    Column("resolution"),
    Column("macs", "million MACs", mega),
    Column("params", "million parameters", lambda count: f"{count / 1e6:.1f}"),
)
_BLOCKS = (
    Column("block", kind="name"),
    Column("separable_macs", "separable, million MACs", _millions),
    Column("full_macs", "full", _millions, priority=1),
    Column("ratio", show=".4f"),
    Column("saving", show=lambda times: f"{times:.1f}x"),
)


def show_models(name: str | None, options: dict[str, Any], form: Form) -> None:
    """Print the tables of the papers, or one network layer by layer."""
    from tvm_mobilenet.models.network import find_model, model_from

    if name is not None:
        _show_model(model_from(find_model(name, options)), form)
        return
    if odd := sorted({"alpha", "input_shape", "resolution"} & set(options)):
        raise InvalidModelError(
            f"--{odd[0].replace('_', '-')} needs a model",
            "name one, such as v1, or an .onnx or .tflite file",
        )
    grid = list(_grid(options))
    rows = [
        (short, model.options.get("alpha"), model.options["resolution"], model.macs, model.params)
        for short, model in grid
    ]
    table = Table(
        "models",
        _PAPERS,
        _MODELS,
        tuple(rows),
        ("Layer by layer: tvm-mobilenet models v1 --alpha 0.75 --resolution 192",),
    )
    show(form, table, data=[_model_facts(model) for _, model in grid])


def _grid(options: dict[str, Any]) -> Iterator[tuple[str, Model]]:
    """Yield the networks of the papers' tables: a short name and a model each."""
    from tvm_mobilenet.models import SHORT_NAMES, build

    for alpha, resolution in itertools.product(_ALPHAS, _RESOLUTIONS):
        yield "v1", build("v1", alpha=alpha, resolution=resolution, **options)
    for short in list(SHORT_NAMES)[1:]:
        widths: list[dict[str, Any]] = [{"alpha": alpha} for alpha in _WIDTHS.get(short, ())]
        for width in widths or [{}]:
            yield short, build(short, **width, **options)


def _model_facts(model: Model) -> dict[str, Any]:
    return {
        **model.describe(),
        "title": model.title,
        "macs": model.macs,
        "params": model.params,
        "input_shape": list(model.input_shape),
        "output_shape": list(model.output_shape),
    }


def _show_model(model: Model, form: Form) -> None:
    layers = [
        {
            "name": layer.name,
            "type": type(layer).__name__,
            "in_shape": list(layer.in_shape),
            "out_shape": list(layer.out_shape),
            "macs": layer.macs,
            "params": layer.params,
        }
        for layer in model.layers
    ]
    blocks: list[dict[str, Any]] = [
        {
            "name": saving.name,
            "separable_macs": saving.separable_macs,
            "full_macs": saving.full_macs,
            "ratio": saving.ratio,
        }
        for saving in model.separable_savings()
    ]
    savings = Table(
        "blocks",
        "Depthwise separable against full convolution: 1/N + 1/D_K^2",
        _BLOCKS,
        tuple((*block.values(), 1 / block["ratio"]) for block in blocks),
    )
    facts = {**_model_facts(model), "layers": layers, "separable": blocks}
    show(form, model.table(), *([savings] if blocks else []), data=facts)


_TARGETS = (
    Column("target", kind="word"),
    Column("triple", kind="word", priority=4),
    Column("cpu", kind="text", priority=1),
    Column("isa", kind="word", priority=1),
    Column("lanes", priority=3),
    Column("registers", priority=3),
    Column("fma", kind="word", priority=5),
    Column("L1d", priority=2),
    Column("L2", priority=2),
    Column("L3", priority=2),
    Column("cores"),
)
_GPUS = (
    Column("target", kind="word"),
    Column("kernels", kind="word"),
    Column("like", kind="text", priority=1),
    Column("units"),
    Column("warp", priority=3),
    Column("registers", priority=2),
    Column("shared", priority=2),
    Column("L2", priority=1),
    Column("GB/s", priority=1),
)


def show_targets(form: Form) -> None:
    """Print this machine, the presets and the GPUs."""
    from tvm_mobilenet.machine import GPUS, PRESETS, host, parse

    specs, gpus = [host(), *PRESETS.values()], [parse(name) for name in GPUS]
    show(
        form,
        _target_table(
            "processors",
            "Targets",
            _TARGETS,
            specs,
            "Others: an LLVM triple with --mcpu and --mattr, such as aarch64-linux-musl, or "
            "TVM's JSON, after --target.",
        ),
        _target_table(
            "gpus",
            "GPUs",
            _GPUS,
            gpus,
            "With --dtype float16 maps and weights take half. --host names the processor beside "
            "it.",
        ),
        data=[spec.to_dict() for spec in (*specs, *gpus)],
    )


def _target_table(
    name: str, title: str, columns: tuple[Column, ...], specs: list[TargetSpec], note: str
) -> Table:
    told = [spec.describe() for spec in specs]
    rows = tuple(tuple(facts[column.name] for column in columns) for facts in told)
    return Table(name, title, columns, rows, (note,))


def _verdict(error: float | str) -> str:
    return error if isinstance(error, str) else format(error, ".0e")


def _tenths(microseconds: float) -> str:
    return f"{microseconds:.1f}"


_RECORDS = (
    Column("target", kind="name", priority=3),
    Column("threads", priority=1),
    # What tells two of them apart stands in the middle.
    Column("workload", kind="name", room=80),
    Column("answer", kind="text", priority=4),
    Column("us", show=_tenths),
    Column("instead_us", "instead", _tenths, priority=2),
    Column("verified", show=_verdict, kind="word", priority=5),
    Column("measured", kind="text", priority=6),
)


def show_records(folder: Path | None, form: Form) -> None:
    """Print every record of a folder, and on standard error what could not be read."""
    from tvm_mobilenet.tuning.store import Store

    store = Store(folder)
    logs = [log for _, log in store.logs()]
    records = [record for log in logs for record in log.records]
    for damage in (damage for log in logs for damage in log.damaged):
        LOGGER.warning("%s", damage)
    rows = tuple(
        (
            record.target,
            record.threads,
            record.workload,
            _answer(record),
            record.seconds * 1e6,
            None if record.instead is None else record.instead * 1e6,
            record.error if record.verified and record.error is not None else "no",
            f"{record.date:.10} {record.machine}",
        )
        for record in records
    )
    note = f"{len(rows)} records; instead: by the rule's knobs, or the other way about fusion"
    table = Table("records", f"Tuning records in {store.root}", _RECORDS, rows, (note,))
    show(form, table, data=[json.loads(record.to_line()) for record in records])


def _answer(record: Record) -> str:
    if record.knobs is None:
        return "fused" if record.fused else "not fused"
    return str(described(record.knobs))

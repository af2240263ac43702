"""``models``, ``targets``, ``records``: what there is to compile, for what, and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.cli.logs import LOGGER
from tvm_mobilenet.cli.output import mega, print_json, print_table, shape
from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.schedules.knobs import described

if TYPE_CHECKING:
    from tvm_mobilenet.models import Model
    from tvm_mobilenet.tuning.records import Record


# arXiv 1704.04861, Tables 6 and 7.
_ALPHAS, _RESOLUTIONS = (1.0, 0.75, 0.5, 0.25), (224, 192, 160, 128)

# arXiv 1801.04381, section 6.1, and 1905.02244, Tables 3 to 5; all at 224 x 224.
_LATER = {
    "v2": (1.4, 1.0, 0.75, 0.5, 0.35),
    "v3-large": (1.0, 0.75),
    "v3-small": (1.0, 0.75),
}


def model_options(
    alpha: float | None,
    resolution: int | None,
    classes: int | None,
    batch: int | None,
    padding: str | None,
    *,
    input_shape: str | None = None,
) -> dict[str, Any]:
    """Return the options that were given; a model has defaults of its own for the others."""
    given = {
        "alpha": alpha,
        "resolution": resolution,
        "classes": classes,
        "batch": batch,
        "padding": padding,
        "input_shape": input_shape,
    }
    return {name: value for name, value in given.items() if value is not None}


def show_models(name: str | None, options: dict[str, Any], as_json: bool) -> None:
    """Print the tables of the papers, or one network layer by layer."""
    from tvm_mobilenet.models import build
    from tvm_mobilenet.models.network import find_model, model_from

    if name is not None:
        _show_model(model_from(find_model(name, options)), as_json)
        return
    if odd := sorted({"alpha", "input_shape", "resolution"} & set(options)):
        raise InvalidModelError(
            f"--{odd[0].replace('_', '-')} needs a model", "name one, such as v1 or an .onnx file"
        )
    grid = [
        ("v1", build("v1", alpha=alpha, resolution=resolution, **options))
        for alpha in _ALPHAS
        for resolution in _RESOLUTIONS
    ]
    grid += [
        (short, build(short, alpha=alpha, **options))
        for short, alphas in _LATER.items()
        for alpha in alphas
    ]
    if as_json:
        print_json([_model_facts(model) for _, model in grid])
        return
    rows = [
        [
            short,
            model.options["alpha"],
            model.options["resolution"],
            mega(model.macs),
            f"{model.params / 1e6:.1f}",
        ]
        for short, model in grid
    ]
    print_table(
        "MobileNet V1 (arXiv 1704.04861), V2 (1801.04381), V3 (1905.02244)",
        ["model", ">alpha", ">resolution", ">million MACs", ">million parameters"],
        rows,
        "Layer by layer: tvm-mobilenet models v1 --alpha 0.75 --resolution 192",
    )


def _model_facts(model: Model) -> dict[str, Any]:
    return {
        **model.describe(),
        "title": model.title,
        "macs": model.macs,
        "params": model.params,
        "input_shape": list(model.input_shape),
        "output_shape": list(model.output_shape),
    }


def _show_model(model: Model, as_json: bool) -> None:
    savings = model.separable_savings()
    if as_json:
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
        blocks = [
            {
                "name": saving.name,
                "separable_macs": saving.separable_macs,
                "full_macs": saving.full_macs,
                "ratio": saving.ratio,
            }
            for saving in savings
        ]
        print_json({**_model_facts(model), "layers": layers, "separable": blocks})
        return
    rows = [
        [
            layer.name,
            getattr(layer, "kind", type(layer).__name__),
            shape(layer.in_shape),
            shape(layer.out_shape),
            f"{layer.macs / 1e6:.2f}",
            f"{layer.macs / model.macs:.1%}",
            f"{layer.params:,}",
        ]
        for layer in model.layers
    ]
    print_table(
        model.title,
        ["layer", "kind", ">input", ">output", ">million MACs", ">share", ">parameters"],
        rows,
        f"{mega(model.macs)} million MACs, {model.params / 1e6:.1f} million parameters",
    )
    if not savings:
        return
    print_table(
        "Depthwise separable against full convolution: 1/N + 1/D_K^2",
        ["block", ">separable, million MACs", ">full", ">ratio", ">saving"],
        [
            [
                saving.name,
                f"{saving.separable_macs / 1e6:.2f}",
                f"{saving.full_macs / 1e6:.2f}",
                f"{saving.ratio:.4f}",
                f"{1 / saving.ratio:.1f}x",
            ]
            for saving in savings
        ],
    )


_GPU_COLUMNS = ("target", "kernels", "like", "units", "warp", "registers", "shared", "L2", "GB/s")


def show_targets(as_json: bool) -> None:
    """Print this machine, the presets and the GPUs."""
    from tvm_mobilenet.target import GPUS, PRESETS, host, parse

    specs, gpus = [host(), *PRESETS.values()], [parse(name) for name in GPUS]
    if as_json:
        print_json([spec.to_dict() for spec in (*specs, *gpus)])
        return
    rows = [list(spec.describe().values()) for spec in specs]
    numeric = {"lanes", "registers", "L1d", "L2", "L3", "cores"}
    columns = [f">{name}" if name in numeric else name for name in specs[0].describe()]
    print_table(
        "Targets",
        columns,
        rows,
        "Others: an LLVM triple with --mcpu and --mattr, or TVM's JSON, after --target.",
    )
    print_table(
        "GPUs",
        [name if name in {"target", "kernels", "like"} else f">{name}" for name in _GPU_COLUMNS],
        [[spec.describe()[name] for name in _GPU_COLUMNS] for spec in gpus],
        "With --dtype float16 maps and weights take half. --host names the processor beside it.",
    )


def show_records(folder: Path | None, as_json: bool) -> None:
    """Print every record of a folder, and on standard error what could not be read."""
    from tvm_mobilenet.tuning.store import Store

    store = Store(folder)
    logs = [log for _, log in store.logs()]
    records = [record for log in logs for record in log.records]
    for damage in (damage for log in logs for damage in log.damaged):
        LOGGER.warning("%s", damage)
    if as_json:
        print_json([json.loads(record.to_line()) for record in records])
        return
    rows = [
        [
            record.target,
            str(record.threads),
            record.workload,
            _answer(record),
            f"{record.seconds * 1e6:.1f}",
            "-" if record.instead is None else f"{record.instead * 1e6:.1f}",
            f"{record.error:.0e}" if record.verified else "no",
            f"{record.date:.10} {record.machine}",
        ]
        for record in records
    ]
    print_table(
        f"Tuning records in {store.root}",
        ["target", ">threads", "~workload", "~answer", ">us", ">instead", "verified", "~measured"],
        rows,
        f"{len(rows)} records; instead: by the rule's knobs, or the other way about fusion",
    )


def _answer(record: Record) -> str:
    if record.knobs is None:
        return "fused" if record.fused else "not fused"
    return described(record.knobs)

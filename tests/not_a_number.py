"""NaN and infinities through every operator, whatever stack and target computes it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from convolutions import workloads
from kernels import fused_pair, workload
from schedule_cases import AROUND

from tvm_mobilenet.common.functions import Activation
from tvm_mobilenet.machine import PRESETS, TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.layers import Dense, LpNormalization, Softmax
from tvm_mobilenet.models.products import Product
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.views import Copy, whole
from tvm_mobilenet.operators.facts import OPERATORS, OTHER
from tvm_mobilenet.operators.packing import blocked
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.kernel_case import kernel_case

ACTIVATIONS: tuple[Activation, ...] = (
    *("none", "relu", "relu6", "hardsigmoid", "hardswish", "silu", "gelu", "elu(0.5)"),
)
ROWS: dict[str, type[Layer]] = {"softmax": Softmax, "lp_normalization": LpNormalization}

FLOAT32 = ("activation", "average_pool", "elements", "max_pool", "moves")
"""Operators whose maps are of no other type."""

PLACE = (1, 2, 4, 6)
_SHAPE = (2, 6, 9, 13)

MAXIMA: dict[str, list[list[int]]] = {
    "max_pool2d": [[1, 2, 2, 3]],
    "clip": [list(PLACE)],
    "relu": [list(PLACE)],
    "maximum": [list(PLACE)],
    "max": [[1, 2]],
}
"""Operators that are not ours, and where each must say NaN of a map that holds it in one place."""

Run = Callable[[tuple[Any, ...], Any], Any]
"""From a kernel's inputs and an empty output to what it writes."""


def works(lanes: int, dtype: Any = "float32") -> dict[str, Workload]:
    """Every operator, every activation, a residual; channels that leave lanes empty, and not."""
    odd = {
        f"pointwise {end}": workload("pointwise", (24, 40), (5, 5), lanes, activation=end)
        for end in ACTIVATIONS
    }
    odd["residual"] = workload("pointwise", (16, 24), (4, 5), lanes, batch=2, residual=True)
    for kernel, stride, end in ((3, 2, "relu6"), (3, 1, "relu"), (5, 1, "hardswish")):
        odd[f"depthwise {end}"] = workload(
            "depthwise", (24, 24), (9, 9), lanes, batch=2, kernel=kernel, stride=stride,
            padding=AROUND if kernel == 3 else (2, 2, 2, 2), activation=end,
        )  # fmt: skip
    for end in ("relu", "hardswish"):
        odd[f"conv {end}"] = workload(
            "conv", (3, 24), (9, 9), lanes, kernel=3, stride=2, padding=AROUND, activation=end
        )
    odd["ragged"] = workload("pointwise", (12, 19), (5, 5), lanes, activation="relu6")
    odd["ragged conv"] = workload("conv", (3, 11), (9, 9), lanes, kernel=3, activation="relu")
    odd["pool"] = workload("pool", (24, 24), (5, 5), lanes, batch=2)
    odd["scale"] = workload("scale", (24, 24), (5, 5), lanes, batch=2)
    odd["scale relu"] = dataclasses.replace(odd["scale"], activation="relu")
    moved = {"others": [8], "channels": [[0, 1, 32]], "rows": [[0, 1, 5]], "columns": [[0, 1, 5]],
             "period": [1, 1], "fill": 0.0, "lanes": lanes}  # fmt: skip
    odd["moves"] = dataclasses.replace(
        workload("moves", (24, 32), (5, 5), lanes),
        detail=json.dumps(moved, separators=(",", ":")),
    )
    added = {"operator": "Add", "shapes": [[1, 24, 5, 5]] * 2, "swapped": False}
    odd["elements"] = dataclasses.replace(
        workload("elements", (24, 24), (5, 5), lanes),
        detail=json.dumps(added, separators=(",", ":")),
    )
    odd["conv_nhwc"] = workload(
        "conv_nhwc", (3, 24), (9, 9), lanes, kernel=3, stride=2, padding=AROUND, activation="relu"
    )
    for name in ("to_nhwc", "from_nhwc"):
        odd[name] = workload(name, (21, 21), (4, 5), lanes, batch=2)
    resized = {"scales": [2.0, 1.4], "mode": "linear", "coordinates": "half_pixel",
               "cubic": -0.75, "exclude_outside": False, "antialias": False}  # fmt: skip
    odd["resize"] = dataclasses.replace(
        workload("resize", (24, 24), (5, 5), lanes, kernel=2), out_size=(10, 7),
        detail=json.dumps(resized, separators=(",", ":")),
    )  # fmt: skip
    odd["global_max"] = workload("global_max", (24, 24), (5, 7), lanes, batch=2)
    odd["global_max"] = dataclasses.replace(odd["global_max"], out_size=(1, 1))
    odd["instance_norm"] = dataclasses.replace(
        workload("instance_norm", (24, 24), (4, 7), lanes, batch=2), detail='{"epsilon":1e-05}'
    )
    odd["activation"] = workload("activation", (24, 24), (5, 5), lanes, activation="silu")
    for name in ("max_pool", "average_pool"):
        odd[name] = workload(
            name, (24, 24), (9, 9), lanes, batch=2, kernel=3, stride=2, padding=AROUND
        )
    odd["dense"] = workload("dense", (40, 20), (1, 1), lanes, batch=2, activation="relu")
    for name in ROWS:
        odd[name] = workload(name, (21, 21), (1, 1), lanes, batch=2)
    both = workload("depthwise", (32, 32), (9, 9), lanes, kernel=3, padding=AROUND)
    odd["separable"] = fused_pair(both, 48, lanes)
    odd["tail"] = dataclasses.replace(
        workload("pointwise", (32, 48), (3, 3), lanes, batch=2, activation="relu6"),
        operator="tail", classes=20, class_block=2 * lanes,
    )  # fmt: skip
    if dtype == "float32":
        return odd | convolutions(lanes) | tokens(lanes)
    return {
        name: dataclasses.replace(work, dtype=dtype)
        for name, work in odd.items()
        if work.operator not in FLOAT32
    }


def convolutions(lanes: int) -> dict[str, Workload]:
    """Those of other kinds than MobileNet's: groups that end in blocks, phases."""
    target = dataclasses.replace(PRESETS["x86-64"], lanes=lanes)
    names = ("groups across blocks", "dilated", "3 x 3, odd", "depthwise transposed, 3 x 3")
    return {name: work for name, work in workloads(target).items() if name in names}


def tokens(lanes: int) -> dict[str, Workload]:
    """Those on rows of tokens, which have kernels for processors only, but normalisations."""
    target = dataclasses.replace(PRESETS["x86-64"], lanes=lanes)
    turned = dataclasses.replace(whole((2, 16, 3, 5)), axes=(((2, 240),), ((3, 5),), ((5, 1),),
                                                            ((16, 15),)))  # fmt: skip
    back = dataclasses.replace(whole((2, 3, 5, 16)), axes=(((2, 240),), ((16, 1),), ((3, 80),),
                                                          ((5, 16),)))  # fmt: skip
    layers: dict[str, Layer] = {
        "layer_norm": LayerNorm("a", (INPUT,), (2, 21)),
        "lp_normalization with a least norm": LpNormalization("a", (INPUT,), (2, 21), 1e-3),
        "softmax_rows": Softmax("a", (INPUT,), (14, 21)),
        "product": Product("a", (INPUT, OTHER), (2, 5, 9), whole((2, 5, 9)), whole((2, 9, 20))),
        "copies": Copy("a", (INPUT,), back.source, back),
        "copies_out": Copy("a", (INPUT,), turned.source, turned, from_blocks=True),
        "copies_in": Copy("a", (INPUT,), back.source, back, into_blocks=True),
    }
    ends = {f"linear {end}": end for end in ("none", "relu", "gelu")}
    found = {name: workload_of_layer(layer, target) for name, layer in layers.items()}
    for name, end in ends.items():
        dense = Dense("a", (INPUT,), (14, 9), 21, activation=end)
        found[name] = workload_of_layer(dense, target)
    return {name: work for name, work in found.items() if work is not None}


def on_gpu(cases: dict[str, Workload], target: TargetSpec) -> None:
    """Give rows the blocks that they have on a GPU, in float32."""
    for name, layer in ROWS.items():
        work = workload_of_layer(layer("rows", ("input",), (2, 21)), target)
        assert work is not None
        cases[name] = work


def check(work: Workload, run: Run, outlier: float) -> None:
    """Put a number into one place; assert that NaN and infinities are where the reference's are."""
    with np.errstate(invalid="ignore"):  # inf - inf, in the reference
        case = kernel_case(work, outlier=outlier)
    dtype = "float32" if OPERATORS[work.operator].writes_plain else work.dtype
    got = np.asarray(run(case.inputs, np.full(case.want.shape, 7, dtype)))
    if not OPERATORS[work.operator].writes_plain:
        # Of lanes of no channel others read those up to a multiple of eight, which an infinity
        # must not make NaN; a NaN makes all channels of its pixel NaN, and may do so to them.
        read = work.out_channels if np.isnan(outlier) else -(-work.out_channels // 8) * 8
        image = np.ones((work.batch, min(read, work.out_blocks * work.out_block), *work.out_size))
        real = blocked(image, work.out_block) == 1
        got, want = got[real], case.want[real]
    else:
        want = case.want
    told = f"{work.key}, {outlier} at one place"
    if np.isnan(outlier):
        assert np.isnan(want).any(), f"{told}: the case shows nothing"
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=told)
    rough = 2e-2 if work.dtype == "float16" else 1e-4
    np.testing.assert_allclose(got, want, rtol=rough, atol=rough, err_msg=told)


def tvms_own(name: str, target: Any) -> Any:
    """The kernel that TVM makes of one of :data:`MAXIMA`, as yet without a schedule."""
    from tvm import relax

    from tvm_mobilenet.emit.relax.legalize_rest import legalize_rest

    x = relax.Var("x", relax.TensorType(_SHAPE, "float32"))
    computed = {
        "max_pool2d": lambda: relax.op.nn.max_pool2d(x, (3, 3), (2, 2), (1, 1, 1, 1)),
        "clip": lambda: relax.op.clip(x, -1, 1),
        "relu": lambda: relax.op.nn.relu(x),
        "maximum": lambda: relax.op.maximum(x, relax.op.negative(x)),
        "max": lambda: relax.op.max(x, [2, 3]),
    }[name]()
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit_output(builder.emit(computed))
        builder.emit_func_output(out)
    functions = legalize_rest(builder.get(), target).functions.values()
    (kernel,) = (func for func in functions if not isinstance(func, relax.Function))
    return kernel


def not_numbers(got: Any) -> list[list[int]]:
    """Where an array holds NaN."""
    return [list(map(int, place)) for place in np.argwhere(np.isnan(got))]

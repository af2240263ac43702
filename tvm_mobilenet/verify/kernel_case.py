"""One kernel by itself: data for it, and what it must compute from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.bfloat16 import rounded, widened
from tvm_mobilenet.common.functions import PRELU, losses
from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.elements import Slopes
from tvm_mobilenet.models.spec import INPUT, Activate, Add, Layer
from tvm_mobilenet.operators.facts import OPERATORS, OTHER, Shared
from tvm_mobilenet.operators.packing import Affine, as_stored, blocked, pack
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.bound import SUBNORMAL, guaranteed_bound
from tvm_mobilenet.verify.rounding import STORED, UNIT_ROUNDOFF

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_DEVIATION = 3.0
"""Deviation of the sums, so that ReLU6 meets both of its ends."""


@dataclass(frozen=True, slots=True)
class KernelCase:
    """What a kernel is called with, and what it must answer.

    Attributes
    ----------
    inputs : tuple of ndarray
        As the operator's definition lists them, without the output: maps in blocks and
        weights as the workload's dtype keeps them (bfloat16 by its bits), the rest float32.
    want : ndarray
        float64 reference, in the layout of the kernel's output; what 0
        becomes in lanes of no channel.
    bound : ndarray
        What an element may be off by, of the same shape: see
        :func:`tvm_mobilenet.verify.bound.guaranteed_bound`; infinite where nobody reads it.
    dtype : str
        What the kernel stores its output as, by NumPy's name: uint16 is bfloat16.

    Notes
    -----
    Of float16 and bfloat16 the inputs are such numbers, which the reference takes as they are:
    only the result is rounded, and what passes between the layers of a separable block. On a
    processor a convolution rounds its image as well.
    """

    inputs: tuple[NDArray[Any], ...]
    want: Float64
    bound: Float64
    dtype: str = "float32"

    def error(self, got: NDArray[Any]) -> float:
        """Return the largest error, relative to the largest number.

        Parameters
        ----------
        got : ndarray
            The kernel's output, as it wrote it; uint16 is bfloat16.

        Raises
        ------
        VerificationError
            An element is off by more than its bound, or not a number where the reference's is.
        """
        got = widened(got) if got.dtype == np.uint16 else got
        with np.errstate(invalid="ignore"):  # of two infinities
            off = np.abs(got - self.want)
        off[np.isinf(self.bound)] = 0
        off[(got == self.want) | (np.isnan(got) & np.isnan(self.want))] = 0
        # NaN compares false.
        if wrong := int(np.count_nonzero(~(off <= self.bound))):
            at = np.unravel_index(
                int(np.argmax(np.nan_to_num(off - self.bound, nan=np.inf))), off.shape
            )
            raise VerificationError(
                f"{wrong} of {off.size} elements are wrong; at {tuple(map(int, at))} "
                f"{got[at]} instead of {self.want[at]:.7g}"
            )
        return float(off.max() / max(float(np.abs(self.want).max()), np.finfo(np.float32).tiny))


def kernel_case(work: Workload, seed: int = 0, outlier: float | None = None) -> KernelCase:
    """Make random data for a workload's kernel, and compute the answer.

    Parameters
    ----------
    seed : int
        What the data are drawn from.
    outlier : float, optional
        One element of the last image, and of what is added to the first, is this: NaN, say.
    """
    layers = layers_of(work)
    rng = np.random.default_rng(seed)
    weights: dict[str, Any] = {}
    for layer in layers:
        for name, shape in layer.parameters.items():
            scale = _DEVIATION / math.sqrt(math.prod(shape[1:]))
            value = (scale * rng.standard_normal(shape)).astype(np.float32)
            weights[name] = value if name.endswith(".bias") else _stored(value, work)
    x = rng.standard_normal(layers[0].in_shape).astype(np.float32)
    if not OPERATORS[work.operator].reads_plain:
        x = _stored(x, work)
    if outlier is not None:
        image = x.reshape(*x.shape[:2], -1)[-1]
        image[len(image) // 2, image.shape[1] // 2] = outlier
    values: dict[str, NDArray[Any]] = {INPUT: x}
    for layer in layers:
        for name, shape in zip(layer.inputs, layer.in_shapes, strict=True):
            if not name.startswith(OTHER):
                continue
            other = rng.standard_normal(shape).astype(np.float32)
            if outlier is not None:
                other.reshape(-1)[0] = outlier
            values[name] = _stored(other, work)
        inputs = [values[name] for name in layer.inputs]
        values[layer.name] = reference.run_layer(layer, weights, *inputs)
    want = values[layers[-1].name]
    bound = _bound(work, layers, weights, values)
    if not OPERATORS[work.operator].writes_plain:
        end = "none" if work.activation == PRELU else work.activation
        idle = float(activate(np.zeros(1), end)[0])
        want = blocked(want, work.out_block, idle)
        bound = blocked(bound, work.out_block, losses(work.activation)[0] * UNIT_ROUNDOFF)
    names = [name for name in values if name.startswith(OTHER)]
    blocks = OPERATORS[work.operator].other_blocks(work)
    others = [
        as_stored(blocked(values[name], block) if block else values[name], work)
        for name, block in zip(names, blocks, strict=False)
    ]
    bits = work.dtype == "bfloat16" and not OPERATORS[work.operator].writes_plain
    dtype = "uint16" if bits else "float32"
    return KernelCase((*_packed(work, x, weights), *others), want, bound, dtype)


def _stored(value: Float32, work: Workload) -> Float32:
    """Return numbers as the workload's dtype keeps them, still as float32."""
    if work.dtype == "bfloat16":
        return rounded(value)
    return value.astype(work.dtype).astype(np.float32)


def _bound(
    work: Workload,
    layers: tuple[Layer, ...],
    weights: Mapping[str, Float32],
    values: Mapping[str, NDArray[Any]],
) -> Float64:
    facts = OPERATORS[work.operator]
    image = facts.reads_plain and work.written
    middle = work.dtype if isinstance(facts, Shared) or image else "float32"
    bound = guaranteed_bound(layers, weights, values, middle, half_products=work.half_products)
    assert bound is not None
    if work.dtype == "float32" or facts.writes_plain:
        return bound
    want = np.abs(values[layers[-1].name])
    stored = STORED[work.dtype] * (want + bound) + SUBNORMAL[work.dtype]
    return np.asarray(bound + stored, np.float64)


def layers_of(work: Workload) -> tuple[Layer, ...]:
    """Return the layers that a workload computes, each reading the one before it.

    Where one has a second input, that is called ``"other"``.
    """
    return _with_slopes(_layers_of(work))


def _with_slopes(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Let each activation of a slope a channel be a layer of its own, which has these."""
    found: list[Layer] = []
    for layer in layers:
        if getattr(layer, "activation", "none") != PRELU:
            found.append(layer)
            continue
        before = layer.inputs
        if not isinstance(layer, Activate):
            before = (f"{layer.name}_sums",)
            found.append(dataclasses.replace(layer, name=before[0], activation="none"))  # type: ignore[call-arg]
        found.append(Slopes(layer.name, before, layer.out_shape))
    return tuple(found)


def _layers_of(work: Workload) -> tuple[Layer, ...]:
    facts = OPERATORS[work.operator]
    if not work.residual:
        return facts.layers(work)
    *before, last = facts.layers(dataclasses.replace(work, activation="none"))
    added = Add("sum", (last.name, OTHER), last.out_shape)
    if work.activation == "none":
        return (*before, last, added)
    return (*before, last, added, Activate("end", ("sum",), last.out_shape, work.activation))


def _packed(work: Workload, x: Float32, weights: Mapping[str, Float32]) -> tuple[NDArray[Any], ...]:
    """Return the inputs as the operator's definition in ``compute/`` lists them."""
    plain = OPERATORS[work.operator].reads_plain
    data = x if plain else as_stored(blocked(x, work.in_block), work)
    named = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    layers = [Affine(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in named]
    slopes = [value for name, value in weights.items() if name.endswith(".slope")]
    both = len(layers) > 1 and not work.classes
    for at, end in enumerate([*([work.mid_activation] if both else []), work.activation]):
        if end == PRELU:
            layers[at] = dataclasses.replace(layers[at], slope=slopes.pop(0))
    return data, *pack(work, layers)

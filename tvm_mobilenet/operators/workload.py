"""One operator at one size: what a kernel is compiled for, and what tuning records name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.common.functions import Activation, clips, identifier, parsed, tabled
from tvm_mobilenet.machine import RANGES, Dtype, TargetSpec
from tvm_mobilenet.operators.facts import OPERATORS

Operator = str
"""Name of an operator of ours: a key of :data:`tvm_mobilenet.operators.facts.OPERATORS`."""

_DIGEST = 12
"""Hexadecimal digits that tell the details of two workloads from each other."""

DENSE_VECTORS = 8
"""Vectors in an output block of the classifier: as many accumulators hide a
multiply-add's latency of four cycles on two pipes."""


STEP_BLOCK = 16
"""Channels in a block of int8, and on processors of bfloat16 and float16, whatever the instruction
set: one packed weight serves all."""

_STEPS = {"int8": 4, "uint8": 4, "bfloat16": 2}
"""Inputs of an output channel that one instruction multiplies and adds up, where it is several."""


WORKLOAD = "tvm_mobilenet.workload"
"""Function attribute: :attr:`Workload.text`, by which a schedule recognises its function."""


AHEAD_OF = "ahead"
"""In a kernel's name, what it prefetches for others follows."""


def workload_key(kernel: str) -> str:
    """Return the workload's key from a kernel's name: without what it prefetches for others."""
    return kernel.partition(f"_{AHEAD_OF}_")[0]


def element_of(dtype: str) -> str:
    """Return what TVM calls an element: uint16 of bfloat16, which it would make float32."""
    return "uint16" if dtype == "bfloat16" else dtype


def channel_block(channels: int, target: TargetSpec) -> int:
    """Return the channels in a block: the target's lanes, or fewer where there are fewer.

    Eight channels on a machine of sixteen lanes are a block of eight (half a
    register, a whole load), not sixteen with half of them padding.
    """
    if target.in_sixteen_bits:
        return STEP_BLOCK
    return min(target.lanes, 1 << (channels - 1).bit_length())


def class_block(classes: int, target: TargetSpec) -> int:
    """Return the classes in a block of the classifier: several vectors."""
    if target.in_sixteen_bits:
        return STEP_BLOCK
    return min(DENSE_VECTORS, -(-classes // target.lanes)) * target.lanes


_OF_INTEGERS = frozenset(
    (
        *("out_dtype", "in_dtypes", "in_plain", "zero_point", "other_zero_point"),
        *("limits", "mid_limits", "residual_first", "border", "parts", "moved"),
    )
)
"""Fields that say something of elements of 8 bits only."""


_STRAIGHT = frozenset(
    {"none", "relu", "relu6", "clip", "gate", "gated", "hardsigmoid", "hardswish"}
)
"""Kinds of activations that are made of straight lines."""

_UNUSUAL: dict[str, Any] = {
    **{"dilations": (1, 1), "groups": 1, "detail": ""},
    **{"half_products": 0, "rows": 1, "passes": 1, "mid_passes": 1},
}
"""Fields that are written only where they are not this."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The sizes that a kernel is specialised for.

    Attributes
    ----------
    operator : str
        One of :data:`Operator`.
    batch : int
        Images, N.
    in_channels, out_channels : int
        Real channels, before they are rounded up to whole blocks.
    in_size, out_size : tuple of int
        (height, width) of the maps, in pixels.
    in_block, out_block : int
        Channels in a block of the input and output layouts, elements.
    kernel, strides : tuple of int
        (height, width), in pixels.
    padding : tuple of int
        (top, left, bottom, right), in pixels.
    activation : str
        The activation of the epilogue, after the bias; see :mod:`tvm_mobilenet.common.functions`.
    mid_activation : str
        The activation between the two convolutions of a separable block.
    residual : bool
        Whether a pointwise layer or separable block adds a tensor of its output's shape,
        after the bias.
    classes, class_block : int
        The classifier's outputs, where it shares a kernel with a convolution, and how many
        of them are a block.
    dtype : {"float32", "float16", "bfloat16", "int8", "uint8"}
        What maps in blocks and weights are stored as. Plain maps, biases and all arithmetic are
        float32 (docs/adr/0029 of bfloat16); but what maps of int8 or uint8 are multiplied by is
        int8, and sums are of 32 bits (docs/adr/0028).
    out_dtype : str
        What an output in blocks is stored as where that is not `dtype`: float32 or bfloat16
        where numbers leave and no elements.
    in_dtypes : tuple of str
        What the two addends of a sum are stored as, or the numbers that become elements.
    zero_point, other_zero_point : int
        The element of the input that stands for 0, with which borders are filled; that of the
        second input.
    limits, mid_limits : tuple of int
        Least and greatest element that leaves; the same between two layers.
    in_plain : int
        Axes of a plain input or output of what makes elements of numbers, or numbers of them.
    border : tuple of int
        The elements of a pixel of an image's border, by channel.
    parts : tuple of int
        Channels of each map that is joined with others.
    moved : tuple of int
        Which of them a table turns into elements of the output's type.
    passes, mid_passes : int
        2 where weights have nine bits: each is the sum of two of int8, which are multiplied one
        after the other; the same of a block's first layer.
    residual_first : bool
        Whether the map is the first addend of a residual connection: each is rounded where
        it is added, so that the order is part of what is right.
    dilations : tuple of int
        (vertical, horizontal) distance of neighbouring taps, in pixels.
    groups : int
        Groups of channels that do not mix, of a convolution that is not depthwise.
    detail : str
        What else its operator has to know, as its facts write and read it.
    half_products : int
        Products that are added up in float16 before their sum goes on in float32, at most; 0
        where all sums are float32.
    rows : int
        Pixels that the sums of a register belong to: two where ARM's matrix instructions multiply
        (:mod:`tvm_mobilenet.operators.pairs`), whose steps are twice as long.
    """

    operator: Operator
    batch: int
    in_channels: int
    out_channels: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    in_block: int
    out_block: int
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    activation: Activation = "none"
    mid_activation: Activation = "none"
    residual: bool = False
    classes: int = 0
    class_block: int = 1
    dtype: Dtype = "float32"
    out_dtype: str = ""
    in_dtypes: tuple[str, ...] = ()
    zero_point: int = 0
    other_zero_point: int = 0
    limits: tuple[int, int] = (0, 0)
    mid_limits: tuple[int, int] = (0, 0)
    residual_first: bool = False
    in_plain: int = 0
    border: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()
    moved: tuple[int, ...] = ()
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    detail: str = ""
    half_products: int = 0
    rows: int = 1
    passes: int = 1
    mid_passes: int = 1

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Workload:
        """Return the workload of some fields, as :func:`dataclasses.asdict` and JSON have them."""
        pairs: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**pairs)

    @classmethod
    def parse(cls, text: str) -> Workload:
        """Return the workload that :attr:`text` wrote."""
        return cls.from_dict(json.loads(text))

    @property
    def text(self) -> str:
        """The workload as JSON: what a function carries as :data:`WORKLOAD`."""
        fields = dataclasses.asdict(self)
        if not self.integer:
            fields = {name: value for name, value in fields.items() if name not in _OF_INTEGERS}
        fields = {n: value for n, value in fields.items() if value != _UNUSUAL.get(n)}
        return json.dumps(fields, separators=(",", ":"))

    @property
    def integer(self) -> bool:
        """Whether maps are of int8 or uint8."""
        return self.dtype in ("int8", "uint8")

    @property
    def step(self) -> int:
        """Inputs of an output channel that lie together because one instruction adds them up."""
        return self.tap_step * self.rows

    @property
    def tap_step(self) -> int:
        """The same of a depthwise layer, also where it shares a kernel: taps of a row."""
        return _STEPS.get(self.dtype, 1)

    @property
    def written(self) -> bool:
        """Whether its kernel is written with its loops, and no definition in TE is scheduled."""
        return self.step > 1 or self.half_products > 0

    @property
    def expressible(self) -> bool:
        """Whether the kernels of its type can say it.

        Those on bfloat16, and of processors on float16, activate along straight lines, and their
        taps lie side by side, of a filter on float16 as many as are added up in it.
        """
        if self.integer or not self.written:
            return True
        names = {parsed(activation)[0] for activation in (self.activation, self.mid_activation)}
        filters = self.operator in ("depthwise", "separable") and self.half_products
        whole = not filters or math.prod(self.kernel) <= self.half_products
        return names <= _STRAIGHT and self.dilations == (1, 1) and whole

    @property
    def element(self) -> str:
        """What TVM calls an element of a map."""
        return element_of(self.dtype)

    @property
    def out_element(self) -> str:
        """The same of the output's, in blocks."""
        return element_of(self.out_dtype or self.dtype)

    @property
    def tabled(self) -> bool:
        """Whether a table makes the elements that leave: the activation is no clipping."""
        return self.integer and not self.out_dtype and tabled(self.activation)

    @property
    def clips(self) -> tuple[float, float]:
        """Lowest and highest number that the activation lets through, if it does nothing else."""
        return clips(self.activation) or (-math.inf, math.inf)

    @property
    def tuned(self) -> Workload:
        """The workload whose tuning record its kernel takes.

        What elements stand for changes no loop: zero points and limits are those of any network
        that is calibrated, so that records hold for all of them.
        """
        if not self.integer:
            return self
        limits, mid_limits = (
            RANGES[self.dtype] if any(limits) else limits
            for limits in (self.limits, self.mid_limits)
        )
        return dataclasses.replace(
            self, zero_point=0, other_zero_point=0, limits=limits, mid_limits=mid_limits
        )

    @property
    def in_blocks(self) -> int:
        """Channel blocks of the input, the last one zero-padded."""
        return -(-self.in_channels // self.in_block)

    @property
    def out_blocks(self) -> int:
        """Channel blocks of the output, the last one zero-padded."""
        return -(-self.out_channels // self.out_block)

    @property
    def depth(self) -> int:
        """Length of a pointwise or dense reduction.

        The real channels, rounded up to a divisor of the block, so that an inner
        loop of that length never leaves a block: 24 channels in blocks of 16 reduce
        over 24, not 32. Integers are multiplied by fours, bfloat16 by twos. The channels of
        a group are not rounded: behind them others follow.
        """
        if self.groups > 1:
            return self.in_channels // self.groups
        step = self.step if self.written else math.gcd(8, self.in_block)
        return -(-self.in_channels // step) * step

    @property
    def watched_channels(self) -> int:
        """Output channels, if a reduction behind it reads lanes beyond them, else 0.

        See :attr:`depth`; MobileNets have none such.
        """
        # A reader's steps may be twice as long as its own.
        longest = 1 if self.half_products else 2 * self.tap_step
        read = longest if self.written else math.gcd(8, self.out_block)
        return self.out_channels if self.out_channels % read else 0

    @property
    def in_pixels(self) -> int:
        """Pixels of one input map."""
        return math.prod(self.in_size)

    @property
    def out_pixels(self) -> int:
        """Pixels of one output map."""
        return math.prod(self.out_size)

    @property
    def out_elements(self) -> int:
        """Elements of the output, of real channels and all images."""
        return self.batch * self.out_channels * self.out_pixels

    @property
    def macs(self) -> int:
        """Multiply-adds on real channels; a pool counts one per input element."""
        return OPERATORS[self.operator].macs(self)

    @property
    def key(self) -> str:
        """A name for this workload: an identifier, unique, readable in logs and symbols."""
        h, w = self.in_size
        parts = [self.operator, f"n{self.batch}", f"i{self.in_channels}", f"o{self.out_channels}"]
        if (h, w) != (1, 1):
            parts.append(f"s{h}x{w}")
        if OPERATORS[self.operator].windowed:
            parts.append(f"k{self.kernel[0]}x{self.kernel[1]}")
            parts.append(f"t{self.strides[0]}x{self.strides[1]}")
            parts.append("p" + "x".join(map(str, self.padding)))
        if self.dilations != (1, 1):
            parts.append(f"d{self.dilations[0]}x{self.dilations[1]}")
        if self.groups > 1:
            parts.append(f"g{self.groups}")
        parts.append(f"c{self.in_block}x{self.out_block}")
        if self.classes:
            parts.append(f"j{self.classes}x{self.class_block}")
        if self.mid_activation != "none":
            parts.append(f"m{identifier(self.mid_activation)}")
        if self.activation != "none":
            parts.append(identifier(self.activation))
        if self.residual:
            parts.append("residual")
        if self.detail:
            parts.append("d" + hashlib.sha256(self.detail.encode()).hexdigest()[:_DIGEST])
        if self.dtype != "float32":
            parts.append(self.dtype)
        parts += [f"h{self.half_products}"] * (self.half_products > 0)
        parts += ["pairs"] * (self.rows > 1)
        if self.integer:
            parts += self._integer_parts()
        return "_".join(parts)

    def _integer_parts(self) -> list[str]:
        """Return what a key says of elements, where it is not the usual."""
        parts = ["mapfirst"] if self.residual_first else []
        zeros = {"z": self.zero_point, "y": self.other_zero_point}
        parts += [f"{name}{zero}" for name, zero in zeros.items() if zero]
        for name, limits in (("l", self.limits), ("ml", self.mid_limits)):
            if any(limits):
                parts.append(f"{name}{limits[0]}x{limits[1]}")
        parts += [f"of{dtype}" for dtype in self.in_dtypes]
        if self.out_dtype:
            parts.append(f"to{self.out_dtype}")
        for name, passes in (("w", self.passes), ("mw", self.mid_passes)):
            if passes > 1:
                parts.append(f"{name}{passes}")
        for name, numbers in (("b", self.border), ("p", self.parts), ("v", self.moved)):
            if numbers:
                parts.append(name + "x".join(map(str, numbers)))
        if self.in_plain:
            parts.append(f"r{self.in_plain}")
        return [part.replace("-", "m") for part in parts]

"""What the elements of a tensor are, and which numbers they stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.machine import ITEM_BYTES, RANGES, Dtype


@dataclass(frozen=True, slots=True)
class TensorType:
    """The type of a tensor: how elements are stored, and what they stand for.

    An element q of int8 or uint8 stands for ``scale * (q - zero_point)``.

    Attributes
    ----------
    dtype : {"float32", "float16", "bfloat16", "int8", "uint8", "int32"}
        What the elements are stored as.
    scale : tuple of float
        One for int8 and uint8, or one for each output channel; none for the other types.
    zero_point : int or None
        The element of int8 or uint8 that stands for 0; None for the other types.

    Raises
    ------
    QuantizationError
        A scale or a zero point is missing, cannot be, or stands where there is none.
    """

    dtype: Dtype = "float32"
    scale: tuple[float, ...] = ()
    zero_point: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in RANGES:
            if self.scale or self.zero_point is not None:
                raise QuantizationError(
                    f"a tensor of {self.dtype} has a scale or a zero point",
                    "only int8 and uint8 have them",
                )
            return
        if not self.scale or not all(math.isfinite(s) and s > 0 for s in self.scale):
            raise QuantizationError(
                f"a tensor of {self.dtype} has scale {self.scale}",
                "give one positive number, or one for each output channel",
            )
        low, high = RANGES[self.dtype]
        if self.zero_point is None or not low <= self.zero_point <= high:
            raise QuantizationError(
                f"a tensor of {self.dtype} has zero point {self.zero_point}",
                f"give a whole number from {low} to {high}",
            )

    @property
    def quantized(self) -> bool:
        """Whether an element stands for a number by a scale and a zero point."""
        return self.dtype in RANGES

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest element, where the type is quantised."""
        return RANGES[self.dtype]

    @property
    def item_bytes(self) -> int:
        """Bytes of an element."""
        return ITEM_BYTES[self.dtype]

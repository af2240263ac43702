"""What a kernel prefetches for later ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_mobilenet.machine import Dtype
from tvm_mobilenet.machine.arithmetic import line_items

AHEAD = "tvm_mobilenet.ahead"
"""Function attribute: :attr:`Ahead.numbers` of each of its last inputs, one after the other."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Weights of a later kernel that a kernel prefetches.

    Attributes
    ----------
    shape : tuple of int
        Shape of all of them, as the later kernel takes them.
    parts : int
        Equal parts that they are cut into: threads begin with one each.
    first, lines : int
        Cache lines of each part: the first, and how many.
    dtype : Dtype
        What they are stored as: int8 of a kernel in integers, whatever its maps are.
    """

    shape: tuple[int, ...]
    parts: int
    first: int
    lines: int
    dtype: Dtype = "float32"

    @property
    def key(self) -> str:
        """A name, for symbols."""
        sizes = "x".join(map(str, self.shape))
        return f"{sizes}_{self.first}to{self.first + self.lines}"

    @property
    def numbers(self) -> list[int]:
        """Parts, lines of each, the first to prefetch, and how many."""
        whole = math.prod(self.shape) // line_items(self.dtype)
        return [self.parts, whole // self.parts, self.first, self.lines]

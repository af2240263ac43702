"""Give every activation its place: who shares memory, and how little there could be.

Kernels take their buffers from offset 0 only, so that the unit of sharing is a storage,
not a place in an arena. Tensors are placed in the order of their birth, each in the
free storage that grows the least; in a chain, where two live at a time, that is two
storages in turns, and a tensor is written where its neighbour has just been read. For
MobileNet V1 that is the least possible; TVM's StaticPlanBlockMemory takes two more
storages, and a tensor of its own for each layer (30 allocations a call instead of 21).

The few numbers of squeeze-and-excite live beside its map. In storages of maps they would
send the scaled map to one more, which nobody has touched lately; so they have small ones of
their own, where that takes less in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_PAGE = 4096
"""Bytes of what is small."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An activation that lives from one position to another, both included.

    Attributes
    ----------
    name : str
        The variable's.
    born, dies : int
        Positions in the function: the first and the last that touch it.
    """

    name: str
    bytes: int
    born: int
    dies: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Where the activations of one call are.

    Attributes
    ----------
    tensors : tuple of Tensor
        In the order of their birth; without the input and the output, which are the
        caller's.
    places : tuple of int
        The storage of each.
    output_bytes : int
        What a call allocates for its output.
    """

    tensors: tuple[Tensor, ...]
    places: tuple[int, ...]
    output_bytes: int

    @property
    def storages(self) -> list[int]:
        """Bytes of each storage."""
        return _sizes(self.tensors, self.places)

    @property
    def activation_bytes(self) -> int:
        """Bytes that one call allocates."""
        return sum(self.storages) + self.output_bytes

    @property
    def largest(self) -> list[Tensor]:
        """The tensors that are live at the same time and need most; their sum is the bound."""
        return max(
            ([t for t in self.tensors if t.born <= at.born <= t.dies] for at in self.tensors),
            key=lambda live: sum(tensor.bytes for tensor in live),
            default=[],
        )

    @property
    def bound(self) -> int:
        """Bytes below which no plan can go, without the output."""
        return sum(tensor.bytes for tensor in self.largest)

    def to_dict(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Return what a manifest says of it, bytes; `names` are other names of tensors."""
        return {
            "activations": self.activation_bytes,
            "storages": self.storages,
            "output": self.output_bytes,
            "bound": self.bound,
            "largest": {names.get(t.name, t.name): t.bytes for t in self.largest},
        }


def place(tensors: Sequence[Tensor]) -> list[int]:
    """Choose a storage for each tensor, such that no two in one live at the same time.

    Parameters
    ----------
    tensors : sequence of Tensor
        In the order of their birth.

    Returns
    -------
    list of int
        The storage of each, in the smaller of two plans: as few storages as there are tensors
        alive at once, or so for those of at most a page and for the others.
    """
    together = _placed(tensors, lambda _: True)
    divided = _placed(tensors, lambda tensor: tensor.bytes > _PAGE)
    return min((together, divided), key=lambda places: sum(_sizes(tensors, places)))


def _sizes(tensors: Sequence[Tensor], places: Sequence[int]) -> list[int]:
    sizes = [0] * (max(places, default=-1) + 1)
    for tensor, at in zip(tensors, places, strict=True):
        sizes[at] = max(sizes[at], tensor.bytes)
    return sizes


def _placed(tensors: Sequence[Tensor], kind: Callable[[Tensor], bool]) -> list[int]:
    """Place tensors one by one; storages hold one kind only."""
    sizes: list[int] = []
    busy_until: list[int] = []
    kinds: list[bool] = []
    places = []
    for tensor in tensors:
        free = [
            i
            for i, dies in enumerate(busy_until)
            if dies < tensor.born and kinds[i] == kind(tensor)
        ]
        if free:
            # The least growth, then the least waste, then what was touched last.
            chosen = min(
                free,
                key=lambda i: (max(tensor.bytes - sizes[i], 0), sizes[i], -busy_until[i]),
            )
        else:
            chosen = len(sizes)
            sizes.append(0)
            busy_until.append(0)
            kinds.append(kind(tensor))
        sizes[chosen] = max(sizes[chosen], tensor.bytes)
        busy_until[chosen] = tensor.dies
        places.append(chosen)
    return places

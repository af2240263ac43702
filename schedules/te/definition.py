"""What a TE schedule is made for: a definition's tensors, found by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Definition:
    """The tensors of one operator.

    Attributes
    ----------
    out : te.Tensor
        The last stage.
    out_width : int
        Pixels in a row of the output map, to unflatten the pixel axis.
    """

    out: Any
    out_width: int = 1

    @property
    def inputs(self) -> list[Any]:
        """The placeholders, in an order that only the definition's structure decides."""
        found: list[Any] = []
        pending = [self.out]
        while pending:
            tensor = pending.pop(0)
            if not tensor.op.input_tensors and tensor not in found:
                found.append(tensor)
            pending.extend(tensor.op.input_tensors)
        return found

    def stage(self, name: str) -> Any:
        """Return the tensor of a stage before the output, by its name.

        Raises
        ------
        KeyError
            The definition has no such stage.
        """
        pending = [self.out]
        while pending:
            tensor = pending.pop(0)
            if tensor.op.name == name:
                return tensor
            pending.extend(tensor.op.input_tensors)
        raise KeyError(name)


def extents(axes: Sequence[Any]) -> list[int]:
    """Return the extents of the axes of a stage, in iterations."""
    return [int(axis.dom.extent) for axis in axes]

"""What a TE schedule is made for: a definition's tensors, found by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.operators.workload import Workload


@dataclass(frozen=True, slots=True)
class Definition:
    """The tensors of one operator; its inputs and its output in the definition's order.

    Attributes
    ----------
    ahead : sequence of te.Tensor
        Weights of later kernels, which this one prefetches.
    pieces : sequence of tuple of int
        For each of those: the number of parts it is cut into, the cache lines of each part,
        the first line of a part that is prefetched, and how many are.
    """

    tensors: Sequence[Any]
    work: Workload
    ahead: Sequence[Any] = ()
    pieces: Sequence[tuple[int, int, int, int]] = ()

    @property
    def out(self) -> Any:
        """The last stage's tensor."""
        return self.tensors[-1]

    @property
    def inputs(self) -> Sequence[Any]:
        """What it reads, as a prefetch counts it: those of later kernels last."""
        return [*self.tensors[:-1], *self.ahead]

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

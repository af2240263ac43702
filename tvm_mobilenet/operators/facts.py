"""What there is to know of an operator, whatever its size: one object for each of ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tvm_mobilenet.machine import TargetSpec
    from tvm_mobilenet.models.layer import Layer
    from tvm_mobilenet.models.views import View
    from tvm_mobilenet.operators.packing import Affine, Array
    from tvm_mobilenet.operators.workload import Workload

T = TypeVar("T")

OTHER = "other"
"""Name of a layer's second input: what a residual connection adds, the factors of a scale."""


def other_names(count: int) -> tuple[str, ...]:
    """Return the names of a layer's inputs behind the first."""
    return tuple(f"{OTHER}{i or ''}" for i in range(count))


class Facts(ABC):
    """An operator.

    Attributes
    ----------
    name : str
        As keys, tuning records and manifests spell it.
    windowed : bool
        Whether kernel, strides and padding are sizes of its own.
    reads_plain, writes_plain : bool
        Whether its input, and its output, is NCHW or NC in float32, in no blocks.
    channels_last : bool
        Whether a plain input is NHWC instead.
    prefetched : int
        Which of its packed parameters kernels before it may prefetch, if any.
    hosts_prefetches : bool
        Whether its kernel can prefetch for others.
    activates : bool
        Whether its kernel can apply an activation to its output.
    takes_slopes : bool
        Whether the activation may be one of a slope a channel, which lies behind its biases.
    adds_residual : bool
        Whether its kernel can add another map to its output.
    takes_plain : bool
        Whether it is worth blocks where nothing that it reads lies in such.
    reads_views : bool
        Whether its inputs may lie in other tensors: see :mod:`tvm_mobilenet.models.views`.
    element_work : int
        Vector operations that an element takes, in multiply-adds, where it goes over elements.
    """

    __slots__ = ()

    name: str
    windowed = False
    reads_plain = False
    writes_plain = False
    channels_last = False
    prefetched = 0
    hosts_prefetches = False
    activates = False
    takes_slopes = False
    adds_residual = False
    takes_plain = True
    reads_views = False
    element_work = 1

    @property
    def loops(self) -> str:
        """The loop nest that computes it, as ``schedules`` lists them.

        Operators whose definitions have the same stages share one; most have their own.
        """
        return self.name

    @property
    def file(self) -> str:
        """The name of the file that these facts stand in, and of its definition in ``compute/``."""
        return type(self).__module__.rpartition(".")[2]

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        """Return the workload of a layer whose kernel this operator is; None for others."""
        return None

    def chain(self, layer: Layer) -> int:
        """Return how many layers, `layer` first, could be one of it; 0 where none could."""
        return 0

    def of_chain(self, layers: Sequence[Layer], target: TargetSpec) -> Workload | None:
        """Return the workload of layers of which each alone reads the one before it."""
        return None

    def of_views(self, work: Workload, views: Sequence[View], target: TargetSpec) -> Workload:
        """Return the workload that reads its inputs, one after the other, where they lie."""
        return work

    def other_blocks(self, work: Workload) -> tuple[int, ...]:
        """Return the blocks that maps lie in which it reads behind the first, at least so many."""
        return (work.out_block,)

    @abstractmethod
    def layers(self, work: Workload) -> tuple[Layer, ...]:
        """Return the layers that a workload computes, a residual connection left out.

        Each reads the one before it, the first :data:`tvm_mobilenet.models.spec.INPUT`; a
        second input is called :data:`OTHER`.
        """

    def macs(self, work: Workload) -> int:
        """Return the multiply-adds on real channels."""
        return 0

    def weight_elements(self, work: Workload) -> int:
        """Return how many numbers its packed weights and biases are."""
        return 0

    def prefetched_shape(self, work: Workload) -> tuple[int, ...] | None:
        """Return the shape of the parameter :attr:`prefetched`; None where none may be."""
        return None

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        """Pack the parameters of its layers: see :func:`tvm_mobilenet.operators.packing.pack`."""
        return []

    def constants(self, work: Workload, layer: Layer, weights: Mapping[str, Array]) -> list[Array]:
        """Return the parameters that an operator of an ONNX file has, as the kernel takes them."""
        return self.pack(work, [])


class Shared(Facts):
    """An operator that computes several layers in one kernel.

    Attributes
    ----------
    patterns : tuple of tuple of str
        The operators that it can take the place of, one after the other; ``"residual"`` is
        a pointwise layer that adds another map.
    """

    __slots__ = ()

    patterns: tuple[tuple[str, ...], ...]

    @abstractmethod
    def join(self, parts: Sequence[Workload]) -> Workload:
        """Return the workload of one kernel instead of those of one of `patterns`."""


OPERATORS: dict[str, Facts] = {}
"""Every operator of ours by its name: :mod:`tvm_mobilenet.operators` lists them."""


def shared() -> dict[str, Shared]:
    """Return the operators that compute several layers, in the order in which they are tried."""
    return {name: facts for name, facts in OPERATORS.items() if isinstance(facts, Shared)}


def by_loops(table: Mapping[str, T]) -> dict[str, T]:
    """Return a table by :attr:`Facts.loops` as one by operator, without those that it lacks."""
    return {name: table[facts.loops] for name, facts in OPERATORS.items() if facts.loops in table}

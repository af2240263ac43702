"""What either TVM does of a compilation: one object, which is passed down."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tvm_mobilenet.common.stacks import PACKAGES, Stack, versions_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tvm_mobilenet.artifact.toolchain import Linker
    from tvm_mobilenet.artifact.toolchain_cuda import Nvcc
    from tvm_mobilenet.compilation.options import PlanOptions
    from tvm_mobilenet.models.network import Network
    from tvm_mobilenet.models.operator import Operator
    from tvm_mobilenet.network.plan import NetworkPlan

    Tools = tuple[Linker | None, Nvcc | None]
    Write = Callable[[Mapping[str, Any], Tools, Path, str, Path | None], dict[str, Any]]
    Run = Callable[..., NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Lowering:
    """A network as kernels, for which code can be generated.

    Attributes
    ----------
    notes : list of str
        Recorded knobs that were not taken as they are, each a sentence.
    ruled : list of str
        Kernels with knobs that no record has.
    write : callable
        From the recipe for images, the linker and nvcc, a path, what names of C functions
        begin with, and a path for what is linked into programs, or None: generates the code,
        writes the artifact, its manifest still empty, and returns the manifest. Without a
        linker nothing is written.
    """

    notes: Sequence[str]
    ruled: Sequence[str]
    write: Write


class StackAdapter(ABC):
    """What one TVM can do, and how; TVM is imported when it is asked to."""

    name: ClassVar[Stack]

    @property
    def packages(self) -> Mapping[str, str]:
        """The Python packages it needs, and what a manifest calls their versions."""
        return PACKAGES[self.name]

    def versions(self) -> dict[str, str]:
        """Return the versions of its packages by name; those that are missing left out."""
        return versions_of(self.name)

    @abstractmethod
    def check(self, options: PlanOptions) -> None:
        """Raise StackError for what it cannot compile."""

    @abstractmethod
    def lower(self, network: Network, plan: NetworkPlan, dump_ir: Path | None = None) -> Lowering:
        """Take a plan to scheduled kernels; `dump_ir` is a folder for it and the modules."""

    @abstractmethod
    def on_host(
        self, operators: Sequence[Operator], weights: Mapping[str, NDArray[Any]]
    ) -> Mapping[str, Run]:
        """Compile operators that are not ours for this machine, as TVM's importer reads them.

        Returns
        -------
        mapping of str to callable
            By layer: from its inputs to its output.
        """

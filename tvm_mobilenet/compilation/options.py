"""What can be asked of a compilation: checked when it is written down, read by all who need it."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

from tvm_mobilenet.artifact.emission import SHARED, Emit, check_emit
from tvm_mobilenet.artifact.native_header import PREFIX, check_prefix
from tvm_mobilenet.common.lists import check_one_of
from tvm_mobilenet.common.stacks import Stack, check_stack
from tvm_mobilenet.errors import CInterfaceError, InputError, RecordsWarning, TargetError
from tvm_mobilenet.machine import Dtype, TargetSpec, parse
from tvm_mobilenet.machine.arithmetic import has_products
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.prediction.fusion import FUSIONS, Fusion
from tvm_mobilenet.tuning.store import Found, RecordsLike, records_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tvm_mobilenet.models.importer import Imported
    from tvm_mobilenet.models.network import KeptAs, Network
    from tvm_mobilenet.models.quantized.model import Quantization
    from tvm_mobilenet.models.spec import Model
    from tvm_mobilenet.network.plan import NetworkPlan

    ModelLike = Model | Imported | Network | str | os.PathLike[str]
    WeightsLike = str | os.PathLike[str] | Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What decides which kernels a network becomes; :func:`tvm_mobilenet.compile` tells of each.

    ``mcpu``, ``mattr`` and ``cores`` change a target that is named, as for
    :func:`tvm_mobilenet.machine.parse`; ``cores`` also one that is given or asked for.

    Raises
    ------
    InputError, TargetError
        There is no such fusion; a TargetSpec and something that it says itself.
    """

    target: str | TargetSpec = "native"
    mcpu: str | None = None
    mattr: str | None = None
    cores: int | None = None
    host: str | None = None
    dtype: Dtype | None = None
    device: str | None = None
    fusion: Fusion = "auto"
    records: RecordsLike = None

    def __post_init__(self) -> None:
        check_one_of(self.fusion, FUSIONS, "fusion", InputError)
        told = (self.mcpu, self.mattr, self.host, self._stored)
        if isinstance(self.target, TargetSpec) and any(one is not None for one in told):
            raise TargetError(
                "a TargetSpec says its host and dtype itself", "give them to parse, or a name here"
            )

    @cached_property
    def spec(self) -> TargetSpec:
        """The target, understood; of ``native`` on a device what that says of itself.

        Raises
        ------
        TargetError, DeviceError, AbiError
            It makes no sense; the device cannot be reached, or has another TVM.
        """
        if isinstance(self.target, TargetSpec):
            found = self.target
        elif self.asks_device:
            found = _native_on(self.device).storing(self._stored or "float32")
        else:
            return parse(
                self.target,
                mcpu=self.mcpu,
                mattr=self.mattr,
                cores=self.cores,
                host=self.host,
                dtype=self._stored,
            )
        return found if self.cores is None else dataclasses.replace(found, cores=self.cores)

    @property
    def _stored(self) -> Dtype | None:
        """What the target stores maps as; it has to know nothing of kernels in integers."""
        return None if self.dtype == "int8" else self.dtype

    def keeping(self, kept_as: KeptAs) -> Self:
        """Return the same for a network in integers whose other layers are stored so.

        A `dtype` that is given, other than int8, says it itself.

        Raises
        ------
        TargetError
            They shall be bfloat16, which the target does not multiply.
        """
        told = self._stored is not None or self.spec.dtype == "bfloat16"
        if told or self.kept(kept_as) == "float32":
            return self
        stored = self.spec.storing("bfloat16")
        return dataclasses.replace(self, target=stored, mcpu=None, mattr=None, host=None)

    def kept(self, kept_as: KeptAs) -> Literal["bfloat16", "float32"]:
        """Return what such layers are stored as for the target.

        Raises
        ------
        TargetError
            As of :meth:`keeping`.
        """
        spec = self.spec
        if kept_as == "bfloat16":
            spec.storing("bfloat16")
        if kept_as != "auto":
            return kept_as
        able = spec.gpu is None and has_products(spec.isa, spec.needs, "bfloat16")
        return "bfloat16" if able else "float32"

    @property
    def is_native(self) -> bool:
        """Whether only the machine that it is for knows what the target is."""
        return self.target == "native" and not (self.mcpu or self.mattr)

    @property
    def asks_device(self) -> bool:
        """Whether that machine is a device."""
        return self.device is not None and self.is_native

    @cached_property
    def found(self) -> Found:
        """The records that apply to the target.

        Raises
        ------
        RecordsError
            Their folder cannot be read.
        """
        return records_for(self.spec, self.records)

    def plan(
        self,
        model: Model,
        stack: Stack,
        integers: Mapping[str, Quantization] = MappingProxyType({}),
    ) -> NetworkPlan:
        """Return what a model becomes on a stack, with these options.

        Parameters
        ----------
        integers : mapping of str to Quantization
            As `records` of :func:`tvm_mobilenet.network.planning.plan_network`.
        """
        found = self.found
        return plan_network(
            model,
            self.spec,
            stack=stack,
            knobs_for=found.knobs_for,
            fusion=self.fusion,
            fusion_for=found.fusion_for,
            records=integers,
        )


@dataclass(frozen=True, kw_only=True)
class CompileOptions(PlanOptions):
    """All that can be asked of a compilation; :func:`tvm_mobilenet.compile` tells of each.

    Raises
    ------
    InputError, TargetError, StackError
        As of :class:`PlanOptions`; this environment has another stack.
    """

    weights: WeightsLike | None = None
    seed: int = 0
    preprocess: str | os.PathLike[str] | Mapping[str, Any] | None = None
    verify: bool = True
    require_records: bool = False
    dump_ir: str | os.PathLike[str] | None = None
    stack: str | None = None
    prefix: str = PREFIX
    emit: Emit = SHARED
    calibration: str | os.PathLike[str] | None = None
    pixels: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration is not None and self.dtype != "int8":
            raise InputError(
                "images for calibration are given, and nothing is to be calibrated",
                'ask for --dtype int8, in Python dtype="int8"',
            )
        if self.pixels and self.calibration is None:
            raise InputError(
                "pixels are asked for, and nothing is to be calibrated",
                "give --calibration FOLDER and --dtype int8: only networks in integers take pixels",
            )
        check_prefix(self.prefix)
        check_emit(self.emit)
        if self.stack is not None:
            check_stack(self.stack, "compiling so")

    @property
    def of_c_interface(self) -> list[str]:
        """Those that were given and make no sense without a C interface."""
        given = {"prefix": self.prefix != PREFIX, "emit": self.emit != SHARED}
        return [name for name, is_given in given.items() if is_given]


def check_c_interface(spec: TargetSpec, stack: Stack, asked: Iterable[str]) -> None:
    """Refuse, before anything is compiled, what an artifact without C functions cannot have.

    Parameters
    ----------
    spec : TargetSpec
        What the artifact is for.
    stack : {"relax", "relay"}
        What compiles it.
    asked : iterable of str
        Options that were given: ``"prefix"``, ``"emit"``, ``"header"``, ``"package"``.

    Raises
    ------
    CInterfaceError
        There are some.
    """
    why = f"{spec.name} is a GPU" if spec.gpu is not None else ""
    if stack != "relax":
        why = f"the {stack} stack makes none"
    options = " and ".join(asked)
    if options and why:
        raise CInterfaceError(
            f"no {options} here: they name C functions, and the artifact will have none ({why})",
            f"leave out {options}, or compile with the main stack for a processor",
        )


def tell(problems: Iterable[str], level: int) -> None:
    """Warn of records that are not used, in the name of the caller so many calls above."""
    for problem in problems:
        warnings.warn(RecordsWarning(problem), stacklevel=level + 1)


def _native_on(device: Any) -> TargetSpec:
    """Ask a board what to compile for to use all of it."""
    from tvm_mobilenet.device import open_device

    with open_device(device) as opened:
        board = opened.describe()
    board.check_versions()
    return board.target

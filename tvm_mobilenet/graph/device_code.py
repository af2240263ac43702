"""From scheduled functions to device source, and what to launch of it in which order.

TVM's own passes do the lowering. What the host would do is read from the module as it is
right after host and device were parted: a function becomes a list of launches over its
parameters and over scratch buffers, which needs no host code to be run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tvm_mobilenet.errors import CodegenError
from tvm_mobilenet.graph.device_source import device_source
from tvm_mobilenet.target import TargetSpec

_DYNAMIC_SHARED = "tirx.use_dyn_shared_memory"
_AXES = ("x", "y", "z")


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel, run once.

    Attributes
    ----------
    kernel : str
        Its name in the source.
    arguments : tuple of int
        Buffers, in order: the function's parameters by their positions, then its scratch
        buffers, the first of which has the number of the parameters.
    grid, block : tuple of three int
        Blocks (work-groups), and threads (work-items) of each, along x, y, z.
    shared_bytes : int
        Shared (local) memory of a block.
    """

    kernel: str
    arguments: tuple[int, ...]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return math.prod(self.block)


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a device compiles and runs for some functions.

    Attributes
    ----------
    source : str
        OpenCL C, Metal or CUDA: all kernels.
    kernels : dict of str to list of Launch
        By the name of the function: what one call of it launches, in order.
    scratch : dict of str to tuple of int
        Likewise: bytes of each buffer that it needs for itself.
    """

    source: str
    kernels: dict[str, list[Launch]] = field(default_factory=dict)
    scratch: dict[str, tuple[int, ...]] = field(default_factory=dict)


def device_code(funcs: Mapping[str, Any], target: TargetSpec) -> DeviceCode:
    """Generate the device source of scheduled functions, and their launches.

    Parameters
    ----------
    funcs : mapping of str to PrimFunc
        Scheduled: their loops are bound to blocks and threads. Shapes are static.
    target : TargetSpec
        With a GPU.

    Returns
    -------
    DeviceCode

    Raises
    ------
    CodegenError
        A function is not bound to threads, or does something on the host between its kernels.
    """
    import tvm
    from tvm import tirx
    from tvm.tirx.build import split_host_device_mods

    code = DeviceCode("")
    onto = tvm.target.Target(target.tvm_dict())
    # Named: for Adreno TVM's default would be a pipeline that puts maps into textures.
    pipeline, _, finish = tirx.get_tir_pipeline("s_tir")
    named = {name: func.with_attr("global_symbol", name) for name, func in funcs.items()}
    mod = tirx.transform.BindTarget(onto)(tvm.IRModule(named))
    parted = _Parted()
    # This context replaces the caller's, but for what it configures.
    config = dict(tvm.transform.PassContext.current().config)
    try:
        with tvm.transform.PassContext(opt_level=3, config=config, instruments=[parted.instrument]):
            lowered = pipeline(mod)
    except tvm.error.InternalError as error:
        raise CodegenError(
            f"{', '.join(funcs)}: no kernels come of it: {str(error).strip().splitlines()[-1]}",
            "bind the loops of every block to blockIdx and threadIdx",
        ) from error
    _, devices = split_host_device_mods(lowered)
    kernels = {
        str(gv.name_hint): func
        for part in devices.values()
        for gv, func in finish()(part).functions.items()
    }
    shared = {name: _shared_bytes(func) for name, func in kernels.items()}
    for name in funcs:
        code.kernels[name], code.scratch[name] = _launches(parted.mod[name], name, shared)
    blocks = {launch.kernel: launch.block for each in code.kernels.values() for launch in each}
    return DeviceCode(
        device_source(kernels, blocks, str(onto.kind.name)), code.kernels, code.scratch
    )


class _Parted:
    """Keeps the module as it is once host and device are parted."""

    def __init__(self) -> None:
        import tvm

        self.mod: Any = None

        def after(_: Any, mod: Any, info: Any) -> None:
            if info.name == "tirx.SplitHostDevice":
                self.mod = mod

        kind = type("Parting", (), {"run_after_pass": after})
        self.instrument = tvm.ir.instrument.pass_instrument(kind)()


def _launches(func: Any, name: str, shared: Mapping[str, int]) -> tuple[list[Launch], Any]:
    """Read a host function: parameters and scratch go to kernels, nothing else happens."""
    from tvm import tirx

    numbers = {param: number for number, param in enumerate(func.params)}
    launches: list[Launch] = []
    scratch: list[int] = []

    def visit(stmt: Any) -> None:
        if isinstance(stmt, tirx.SeqStmt):
            for part in stmt.seq:
                visit(part)
        elif isinstance(stmt, tirx.AttrStmt):
            visit(stmt.body)
        elif isinstance(stmt, tirx.AllocBuffer):
            numbers[stmt.buffer] = len(func.params) + len(scratch)
            scratch.append(_bytes(stmt.buffer))
        elif isinstance(stmt, tirx.DeclBuffer):
            numbers[stmt.buffer] = number_of(stmt.data)
        elif isinstance(stmt, tirx.Evaluate) and _is_call(stmt.value, "tirx.call_ffi_kernel"):
            launches.append(_launch(stmt.value, number_of, shared))
        else:
            raise refused(f"a {type(stmt).__name__}")

    def number_of(data: Any) -> int:
        if _is_call(data, "tirx.buffer_data") and data.args[0] in numbers:
            return numbers[data.args[0]]
        raise refused(f"the argument {data}")

    def refused(what: str) -> CodegenError:
        return CodegenError(
            f"{name}: {what} stands between its kernels, outside of them",
            "bind the loops of every block to blockIdx and threadIdx",
        )

    visit(func.body)
    if not launches:
        raise CodegenError(f"{name} launches no kernel", "bind its loops to threads")
    return launches, tuple(scratch)


def _launch(call: Any, number_of: Any, shared: Mapping[str, int]) -> Launch:
    kernel = str(call.args[0].value)
    axes = [str(axis) for axis in call.attrs.launch_params]
    cut = len(call.args) - len(axes)
    sizes = dict(zip(axes, (int(size) for size in call.args[cut:]), strict=True))
    grid = tuple(sizes.get(f"blockIdx.{axis}", 1) for axis in _AXES)
    block = tuple(sizes.get(f"threadIdx.{axis}", 1) for axis in _AXES)
    dynamic = sizes.get(_DYNAMIC_SHARED, 0)
    arguments = tuple(number_of(argument) for argument in call.args[1:cut])
    return Launch(kernel, arguments, grid, block, shared[kernel] + dynamic)  # type: ignore[arg-type]


def _is_call(value: Any, name: str) -> bool:
    operator = getattr(value, "op", None)
    return str(getattr(operator, "name", "")) == name


def _bytes(buffer: Any) -> int:
    count = math.prod(int(size) for size in buffer.ty.shape)
    return int(count) * np.dtype(str(buffer.ty.dtype)).itemsize


def _shared_bytes(func: Any) -> int:
    """Add up what a kernel allocates of shared memory, without what is sized at the launch."""
    from tvm.s_tir.analysis import calculate_allocated_bytes

    return int(calculate_allocated_bytes(func)["main"].get("shared", 0))

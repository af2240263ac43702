"""From scheduled functions to device source, and what to launch of it in which order.

TVM's own passes do the lowering. What the host would do is read from the module as it is
right after host and device were parted: a function becomes a list of launches over its
parameters and over scratch buffers, which needs no host code to be run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tvm_mobilenet.artifact.device_source import FROM_BITS, bits_of, device_source, digits_lost
from tvm_mobilenet.artifact.launches import DeviceCode, Launch, launched_on, tensor_bytes
from tvm_mobilenet.errors import CodegenError
from tvm_mobilenet.machine import TargetSpec

_DYNAMIC_SHARED = "tirx.use_dyn_shared_memory"


def device_code(funcs: Mapping[str, Any], target: TargetSpec) -> DeviceCode:
    """Generate the device source of scheduled functions, and their launches.

    Parameters
    ----------
    funcs : mapping of str to PrimFunc
        Scheduled: their loops are bound to blocks and threads. Shapes are static.
    target : TargetSpec
        With a GPU.

    Raises
    ------
    CodegenError
        A function is not bound to threads, or does something on the host between its kernels.
    """
    import tvm
    from tvm import tirx
    from tvm.tirx.build import split_host_device_mods

    from tvm_mobilenet.emit.relax.tir_pipeline import DEVICE

    code = DeviceCode("")
    onto = tvm.target.Target(target.tvm_dict())
    pipeline, _, finish = tirx.get_tir_pipeline(DEVICE)
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
    kind = str(onto.kind.name)
    source = device_source(kernels, blocks, kind, partial(_generated, kind=kind))
    return DeviceCode(source, code.kernels, code.scratch)


def _generated(kernels: Mapping[str, Any], kind: str) -> str:
    """Have TVM write the source of kernels, their constants exact."""
    import tvm

    build = tvm.get_global_func(f"target.build.{kind}")
    # BindTarget and SplitHostDevice gave every kernel the target without its host.
    onto = next(iter(kernels.values())).attrs["target"]
    exact = {name: _with_exact_constants(func, kind) for name, func in kernels.items()}
    return str(build(tvm.IRModule(exact), onto).inspect_source("cl" if kind == "opencl" else ""))


def _with_exact_constants(func: Any, kind: str) -> Any:
    """Write constants as bits where TVM would write seven digits of them.

    Its generators for OpenCL and Metal print 12582912 as 1.258291e+07f; CUDA's prints all bits.
    """
    import tvm_ffi
    from tvm import tirx

    if kind not in FROM_BITS:
        return func

    def exact(value: Any) -> Any:
        if str(value.ty.dtype) != "float32" or not digits_lost(value.value):
            return value
        bits = tirx.const(bits_of(value.value), "int32")
        return tirx.call_pure_extern("float32", FROM_BITS[kind], bits)

    return func.with_body(tvm_ffi.structural_map(func.body, (tirx.FloatImm, exact)))


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
            kind = stmt.buffer.ty
            scratch.append(tensor_bytes(kind.shape, str(kind.dtype)))
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
    dynamic = sizes.get(_DYNAMIC_SHARED, 0)
    arguments = tuple(number_of(argument) for argument in call.args[1:cut])
    return Launch(kernel, arguments, *launched_on(sizes), shared[kernel] + dynamic)


def _is_call(value: Any, name: str) -> bool:
    operator = getattr(value, "op", None)
    return str(getattr(operator, "name", "")) == name


def _shared_bytes(func: Any) -> int:
    """Add up what a kernel allocates of shared memory, without what is sized at the launch."""
    from tvm.s_tir.analysis import calculate_allocated_bytes

    return int(calculate_allocated_bytes(func)["main"].get("shared", 0))

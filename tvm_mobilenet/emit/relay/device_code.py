"""What TVM 0.19 makes of kernels for a device: their source, and what the host would launch.

As ``emit/relax/device_code`` does it for the main stack: the host's functions are read
as they are right after host and device were parted, and none of their code is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import tvm
from tvm import tir

from tvm_mobilenet.artifact.device_source import FROM_BITS, bits_of, device_source, digits_lost
from tvm_mobilenet.artifact.launches import DeviceCode, Launch, Sizes, launched_on, tensor_bytes
from tvm_mobilenet.emit.relay.naming import FORGETTING
from tvm_mobilenet.errors import CodegenError
from tvm_mobilenet.schedules.nan import GPU, keeping_nan

_PARTED, _LAST = "tir.SplitHostDevice", "tir.LowerIntrin"
_DEVICE = 2  # tir::CallingConv::kDeviceKernelLaunch


@dataclass(slots=True)
class Parted:
    """Functions that TVM compiled, by name.

    Attributes
    ----------
    hosts : dict of str to PrimFunc
        Right after they were parted from their kernels.
    kernels : dict of str to PrimFunc
        Ready for the code generator.
    launched : dict of str to tuple
        By kernel: blocks and threads of its grid, bytes of shared memory.
    """

    hosts: dict[str, Any] = field(default_factory=dict)
    kernels: dict[str, Any] = field(default_factory=dict)
    launched: dict[str, tuple[Sizes, Sizes, int]] = field(default_factory=dict)

    def see(self, mod: Any, info: Any) -> None:
        """Look at a module after one of TVM's passes."""
        for variable, func in mod.functions.items():
            if not isinstance(func, tir.PrimFunc):
                continue
            name, attrs = str(variable.name_hint), func.attrs or {}
            if str(info.name) == _PARTED:
                if "tir.is_global_func" in attrs:
                    self.launched[name] = _sizes(func)
                else:
                    self.hosts[name] = func
            elif int(attrs.get("calling_conv", 0)) == _DEVICE:
                self.kernels[name] = func

    def code(self, names: list[str]) -> DeviceCode:
        """Return the source of functions, and their launches.

        Parameters
        ----------
        names : list of str
            Host functions.

        Raises
        ------
        CodegenError
            A function does something on the host between its kernels.
        """
        read = {name: _Host(name, self).read() for name in names}
        launches = {name: found for name, (found, _) in read.items()}
        blocks = {launch.kernel: launch.block for each in launches.values() for launch in each}
        kernels = {name: self.kernels[name] for name in blocks}
        kind = str(next(iter(kernels.values())).attrs["target"].kind.name)
        source = device_source(kernels, blocks, kind, partial(_generated, kind=kind))
        return DeviceCode(source, launches, {name: scratch for name, (_, scratch) in read.items()})


@contextmanager
def parting(*watching: Any) -> Iterator[Parted]:
    """Keep what TVM compiles in this context, optimized as everywhere; others may be `watching`."""
    parted = Parted()

    def after(_: Any, mod: Any, info: Any) -> None:
        if str(info.name) in (_PARTED, _LAST):
            parted.see(mod, info)

    instrument = tvm.instrument.pass_instrument(type("Parting", (), {"run_after_pass": after}))()
    instruments = [instrument, *watching]
    with tvm.transform.PassContext(3, instruments=instruments, disabled_pass=FORGETTING):
        yield parted


class _Host:
    """Reads a host function: parameters and scratch go to kernels, nothing else happens."""

    def __init__(self, name: str, parted: Parted) -> None:
        self._name, self._parted = name, parted
        self._func = parted.hosts[name]
        self._numbers = {
            self._func.buffer_map[param].data: number
            for number, param in enumerate(self._func.params)
        }
        self._launches: list[Launch] = []
        self._scratch: list[int] = []

    def read(self) -> tuple[list[Launch], tuple[int, ...]]:
        self._visit(self._func.body)
        if not self._launches:
            raise CodegenError(f"{self._name} launches no kernel", "bind its loops to threads")
        return self._launches, tuple(self._scratch)

    def _visit(self, stmt: Any) -> None:
        if isinstance(stmt, tir.SeqStmt):
            for part in stmt:
                self._visit(part)
        elif isinstance(stmt, tir.Allocate):
            self._numbers[stmt.buffer_var] = len(self._func.params) + len(self._scratch)
            self._scratch.append(tensor_bytes(stmt.extents, str(stmt.dtype)))
            self._visit(stmt.body)
        elif isinstance(stmt, tir.AttrStmt | tir.DeclBuffer):
            self._visit(stmt.body)
        elif isinstance(stmt, tir.Evaluate) and isinstance(stmt.value.op, tvm.ir.GlobalVar):
            self._launches.append(self._launch(stmt.value))
        else:
            raise CodegenError(
                f"{self._name}: a {type(stmt).__name__} stands between its kernels",
                "bind the loops of every stage to blockIdx and threadIdx",
            )

    def _launch(self, call: Any) -> Launch:
        kernel = str(call.op.name_hint)
        arguments = tuple(self._numbers[argument] for argument in call.args)
        return Launch(kernel, arguments, *self._parted.launched[kernel])


def _sizes(func: Any) -> tuple[Sizes, Sizes, int]:
    """Return the grid, the block and the bytes of shared memory of a device function."""
    extents: dict[str, int] = {}
    shared = 0

    def visit(node: Any) -> None:
        nonlocal shared
        if isinstance(node, tir.AttrStmt) and str(node.attr_key) == "thread_extent":
            extents[str(node.node.thread_tag)] = int(node.value)
        elif isinstance(node, tir.Allocate) and _scope(node) == "shared":
            size = math.prod(int(extent) for extent in node.extents)
            shared += size * _item_bytes(str(node.dtype))

    tir.stmt_functor.post_order_visit(func.body, visit)
    return *launched_on(extents), shared


def _scope(allocated: Any) -> str:
    return str(allocated.buffer_var.type_annotation.storage_scope)


def _item_bytes(dtype: str) -> int:
    parsed = tvm.DataType(dtype)
    return int(parsed.bits) // 8 * int(parsed.lanes)


def _generated(kernels: Mapping[str, Any], kind: str) -> str:
    """Have TVM write the source of kernels, their constants exact."""
    build = tvm.get_global_func(f"target.build.{kind}")
    onto = next(iter(kernels.values())).attrs["target"]
    exact = {
        name: _with_exact_constants(keeping_nan(func, GPU), kind) for name, func in kernels.items()
    }
    return str(build(tvm.IRModule(exact), onto).get_source("cl" if kind == "opencl" else ""))


def _with_exact_constants(func: Any, kind: str) -> Any:
    """Write constants as bits where TVM would write seven digits of them."""
    if kind not in FROM_BITS:
        return func

    def exact(value: Any) -> Any:
        if str(value.dtype) != "float32" or not digits_lost(value.value):
            return None
        bits = tir.const(bits_of(value.value), "int32")
        return tir.call_pure_extern("float32", FROM_BITS[kind], bits)

    body = tir.stmt_functor.ir_transform(func.body, None, exact, ["FloatImm"])
    return func.with_body(body)

"""After the memory plan: the whole network as a list of launches that needs no host code.

TVM's wheel has no OpenCL runtime, and its virtual machine would only decide anew with
every call what is the same with every call: which kernel takes which buffers.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, tirx

from tvm_mobilenet.artifact.launches import DeviceCode, LaunchBook
from tvm_mobilenet.artifact.linking import Code
from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.emit.relax.emit import ENTRY
from tvm_mobilenet.emit.relax.pipeline import Lowered
from tvm_mobilenet.emit.relax.plan_memory import plan_memory
from tvm_mobilenet.emit.relax.reading import array_of, bytes_of, is_constant
from tvm_mobilenet.errors import CodegenError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.network.memory import MemoryPlan

_VIEWS = ("relax.memory.alloc_tensor", "relax.memory.view", "relax.reshape")
"""What has the memory of its first argument."""


def generate_launches(lowered: Lowered, target: TargetSpec) -> tuple[Code, MemoryPlan]:
    """Generate device code, and plan what is launched on which buffers.

    Parameters
    ----------
    lowered : Lowered
        Its kernels are bound to threads.
    target : TargetSpec
        With a GPU.

    Returns
    -------
    Code, MemoryPlan
        The latter of one call's activations.

    Raises
    ------
    CodegenError
        A kernel is not device code, or the network does something else than to call kernels.
    """
    planned, memory = plan_memory(lowered.mod)
    called = {call.kernel for call in lowered.calls}
    funcs = {
        str(gv.name_hint): func
        for gv, func in planned.functions.items()
        if isinstance(func, tirx.PrimFunc) and str(gv.name_hint) in called
    }
    planner = _Planner(device_code(funcs, target))
    planner.read(planned[ENTRY])
    return planner.book.code(), memory


class _Planner:
    """Follows the bindings of the entry function; every variable is the number of a buffer."""

    def __init__(self, code: DeviceCode) -> None:
        self.book = LaunchBook(code)
        self._numbers: dict[Any, int] = {}
        self._tuples: dict[Any, list[int]] = {}

    def read(self, func: Any) -> None:
        for param in func.params:
            self._numbers[param] = self.book.add("input", bytes_of(param))
        for binding in (b for block in func.body.blocks for b in block.bindings):
            self._bind(binding.var, binding.value)
        returned = func.body.body
        self.book.outputs = self._tuples.get(returned) or [self._number(returned)]

    def _bind(self, var: Any, value: Any) -> None:
        if isinstance(value, relax.Tuple) and value.fields:
            self._tuples[var] = [self._number(field) for field in value.fields]
        elif isinstance(value, relax.TupleGetItem) and value.tuple_value in self._tuples:
            self._numbers[var] = self._tuples[value.tuple_value][value.index]
        elif isinstance(value, relax.Var):
            self._numbers[var] = self._number(value)
        elif isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.GlobalVar):
            self._call(str(value.op.name_hint), value.args)
        else:
            self._numbers[var] = self._memory(var, value)

    def _memory(self, var: Any, value: Any) -> int:
        """Return the buffer that a builtin of Relax allocates or views."""
        name = str(getattr(getattr(value, "op", None), "name", ""))
        if name == "relax.memory.alloc_storage":
            return self.book.add("storage", int(value.args[0].values[0]))
        if name == "relax.builtin.alloc_tensor":
            return self.book.add("output", bytes_of(var))
        if name in _VIEWS:
            return self._number(value.args[0])
        raise _odd(value)

    def _call(self, name: str, arguments: Any) -> None:
        buffers = [self._number(argument) for argument in arguments]
        output = arguments[len(arguments) - 1]
        shape = [int(size) for size in output.ty.shape.values]
        self.book.call(name, buffers, shape, str(output.ty.dtype))

    def _number(self, value: Any) -> int:
        if is_constant(value):
            return self.book.weights(array_of(value).tobytes())
        if value not in self._numbers:
            raise _odd(value)
        return self._numbers[value]


def _odd(value: Any) -> CodegenError:
    return CodegenError(
        f"the network has {str(value).splitlines()[0]!r} between its kernels, and only kernels "
        "can be launched",
        "compile it for a processor, or for CUDA",
    )

"""After the memory plan: the whole network as a list of launches that needs no host code.

TVM's wheel has no OpenCL runtime, and its virtual machine would only decide anew with
every call what is the same with every call: which kernel takes which buffers.
"""

from __future__ import annotations

from tvm import tirx

from tvm_mobilenet.artifact.blob import Blob
from tvm_mobilenet.artifact.calls import NetworkCalls, View
from tvm_mobilenet.artifact.launches import DeviceCode, LaunchBook
from tvm_mobilenet.artifact.linking import Code
from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.emit.relax.emit import ENTRY
from tvm_mobilenet.emit.relax.pipeline import Lowered
from tvm_mobilenet.emit.relax.plan_memory import plan_memory
from tvm_mobilenet.emit.relax.read_calls import read_calls
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.network.memory import MemoryPlan


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
    blob = Blob()
    calls = read_calls(planned[ENTRY], blob.place)
    return _written(device_code(funcs, target), calls, bytes(blob)).code(), memory


def _written(code: DeviceCode, calls: NetworkCalls, weights: bytes) -> LaunchBook:
    """Write down what is called; a buffer keeps its number."""
    book = LaunchBook(code)
    for buffer in calls.buffers:
        if buffer.place == "weights":
            book.weights(weights[buffer.offset : buffer.offset + buffer.bytes])
        else:
            book.add(buffer.place, buffer.bytes)
    for call in calls.calls:
        views = [argument for argument in call.arguments if isinstance(argument, View)]
        output = views[-1]
        book.call(call.kernel, [view.buffer for view in views], output.shape, output.dtype)
    book.outputs = [view.buffer for view in calls.outputs]
    return book

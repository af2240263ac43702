"""What only one kind of container says in its manifest, and the types that all manifests share."""

from typing import Annotated, Literal

from tvm_mobilenet.common.limits import LARGEST_TENSOR
from tvm_mobilenet.runtime.schema_check import Absent, Meta, Record

Name = Annotated[str, Meta(min_length=1, max_length=1 << 12)]
Bytes = Annotated[int, Meta(ge=0, le=1 << 50)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
"""Number of multiply-adds, of parameters: sums over a network."""
Number = Annotated[int, Meta(ge=0, lt=1 << 20)]
"""Position of a buffer, a node, a tensor in a list of the manifest."""
Size = Annotated[int, Meta(ge=1, le=LARGEST_TENSOR)]
Shape = Annotated[list[Size], Meta(max_length=16)]
Dtype = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
]  # fmt: skip
"""NumPy's names."""


class Buffer(Record):
    """A piece of the device's memory."""

    kind: Literal["input", "weights", "storage", "output", "scratch"]
    bytes: Bytes
    offset: Bytes | Absent
    """Where weights begin in their section."""


class Launch(Record):
    """One kernel of the device, run once."""

    kernel: Name
    buffers: list[Number]
    grid: tuple[Size, Size, Size]
    block: tuple[Size, Size, Size]
    shared: Bytes


class LaunchedCall(Record):
    """What one call of the manifest launches."""

    kernel: Name
    output: Number
    shape: Shape
    dtype: Dtype
    launches: Annotated[list[Launch], Meta(min_length=1)]


class Plan(Record):
    """An artifact of launches: :meth:`tvm_mobilenet.artifact.launches.LaunchBook.code`."""

    buffers: Annotated[list[Buffer], Meta(min_length=1)]
    outputs: Annotated[list[Number], Meta(min_length=1)]
    calls: Annotated[list[LaunchedCall], Meta(min_length=1)]


class CudaOutput(Record):
    """A tensor that a caller of the network gives."""

    shape: Shape
    dtype: Dtype


class CudaKernel(Record):
    """What a kernel takes of a multiprocessor."""

    registers: Bytes
    shared_bytes: Bytes
    spill_bytes: Bytes


class Cuda(Record):
    """An artifact for CUDA: :func:`tvm_mobilenet.emit.relax.codegen_cuda.generate_cuda`."""

    memory_bytes: Bytes
    outputs: Annotated[list[CudaOutput], Meta(min_length=1)]
    graphs: list[Count]
    outside: Count
    kernels: Annotated[dict[Name, CudaKernel], Meta(min_length=1)]


class GraphAttributes(Record):
    """Lists with an element for every tensor of the graph, each with the name of its JSON type."""

    dltype: tuple[Name, list[Dtype]]
    storage_id: tuple[Name, list[Number]]
    shape: tuple[Name, list[Shape]]


class FunctionAttributes(Record):
    """Which function a node calls."""

    func_name: Name


class Node(Record):
    """An input, a weight, or a call."""

    op: Literal["null", "tvm_op"]
    name: Name
    inputs: list[Annotated[list[Number], Meta(min_length=2)]]
    attrs: FunctionAttributes | Absent


class Graph(Record):
    """An artifact of the classic stack: what TVM 0.19's graph executor reads."""

    nodes: Annotated[list[Node], Meta(min_length=1)]
    arg_nodes: list[Number]
    heads: Annotated[list[Annotated[list[Number], Meta(min_length=2)]], Meta(min_length=1)]
    node_row_ptr: Annotated[list[Number], Meta(min_length=2)]
    attrs: GraphAttributes
    parameters: dict[Name, Bytes]
    """Where each weight begins in its section."""

"""What a manifest is: every field that anything here reads, its type and its range.

The one description of the format. :func:`tvm_mobilenet.runtime.artifact.read_manifest` lets no
manifest pass that is not of it; fields that are not named here are kept and mean nothing. What
one field says of another is checked by :mod:`tvm_mobilenet.runtime.consistency`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from tvm_mobilenet.limits import LARGEST_TENSOR, MOST_CORES
from tvm_mobilenet.runtime.recipe import LARGEST_NUMBER, SMALLEST_DIVISOR

FORMAT = 1
"""Of manifests: another number where one of another version could not be read."""

Text = Annotated[str, Meta(max_length=1 << 14)]
Trace = Annotated[str, Meta(max_length=1 << 20)]
"""Of MetaSchedule's: a knob's answer, or all that it did."""
Name = Annotated[str, Meta(min_length=1, max_length=1 << 12)]
Version = Annotated[str, Meta(pattern=r"^[0-9A-Za-z.+!_-]{1,64}$")]
"""Of a package: a message may put it behind ``pip install``."""
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Bytes = Annotated[int, Meta(ge=0, le=1 << 50)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
"""Of multiply-adds, parameters: sums over a network."""
Number = Annotated[int, Meta(ge=0, lt=1 << 20)]
"""Of a buffer, a node, a tensor: a position in a list of the manifest."""
Size = Annotated[int, Meta(ge=1, le=LARGEST_TENSOR)]
Pair = Annotated[list[Size], Meta(min_length=2, max_length=2)]
"""Not a tuple: beside a number msgspec 0.23 counts references to those wrongly, and crashes."""
Shape = Annotated[list[Size], Meta(max_length=16)]
Finite = Annotated[float, Meta(gt=-LARGEST_NUMBER, lt=LARGEST_NUMBER)]
Positive = Annotated[float, Meta(ge=SMALLEST_DIVISOR, lt=LARGEST_NUMBER)]
Dtype = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
]  # fmt: skip
"""NumPy's names."""


class Network(Struct):
    """Which network: what :func:`tvm_mobilenet.models.build` takes, or an ONNX file."""

    name: Name
    options: dict[Name, Any]
    """Checked by whoever builds the network again."""


class Tensor(Struct):
    """An input or output of the network."""

    name: Name
    shape: Shape
    dtype: Dtype
    layout: Name
    """``"NCHW"``, ``"NHWC"``, ``"NC"``."""
    alignment: Annotated[int, Meta(ge=1, le=4096)] | UnsetType = UNSET
    """What an input's address must be a multiple of, bytes; 64 if absent."""


class Preprocess(Struct):
    """What images go through, see :mod:`tvm_mobilenet.runtime.recipe`."""

    resize: Size | Pair | None
    crop: Size | Pair
    """Of a square; else height and width."""
    channels: Literal["RGB", "BGR"]
    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]
    interpolation: (
        Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] | UnsetType
    ) = UNSET
    scale: Positive | UnsetType = UNSET
    dtype: Literal["float32", "float16", "uint8"] | UnsetType = UNSET


class Gpu(Struct):
    """A graphics processor, as :class:`tvm_mobilenet.target.gpu.GpuSpec` describes it."""

    kind: Literal["cuda", "opencl", "metal"]
    arch: Text
    chip: Text
    units: Size
    l2_bytes: Bytes


class Target(Struct):
    """What was compiled for, as :class:`tvm_mobilenet.target.TargetSpec` describes it."""

    name: Name
    triple: Name
    cpu: Text
    cores: Annotated[int, Meta(ge=1, le=MOST_CORES)]
    l2_bytes: Bytes
    gpu: Gpu | UnsetType | None = UNSET
    dtype: Literal["float32", "float16"] | UnsetType = UNSET


class Weights(Struct):
    """What the network computes with."""

    source: Text
    """For people, and proof of nothing: ``"seed:0"``, a path, a name. See docs/weights.md."""
    sha256: Sha256
    """Of names, shapes and values: :func:`tvm_mobilenet.models.weights.digest`."""


class Output(Struct):
    """What a kernel leaves behind."""

    layout: Literal["NC", "NCHW", "NHWC", "NCHWc", "other"]
    shape: Shape
    block: Annotated[int, Meta(ge=1, le=1 << 16)] | UnsetType = UNSET
    """Of "NCHWc": channels that lie together."""


class Moved(Struct):
    """What a kernel moves, each tensor once."""

    input: Bytes
    weights: Bytes
    output: Bytes


class Choice(Struct):
    """Whether layers share a kernel, and why."""

    fused: bool
    why: Text
    source: Name | UnsetType = UNSET


class Call(Struct):
    """One kernel of the network, in the order of execution."""

    kernel: Name
    layers: list[Name]
    """That it computes; none of a change of layout."""
    operator: Name
    schedule: Text
    source: Name
    """Where its knobs came from: ``"rule"``, ``"record"``, ``"fallback"``."""
    knobs: dict[Name, Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)] | Trace]
    macs: Count
    output: Output
    bytes: Moved | UnsetType = UNSET
    workspace: Bytes | UnsetType = UNSET
    predicted_us: Annotated[float, Meta(ge=0, lt=1e15)] | UnsetType = UNSET
    stored: Literal["float32", "float16"] | UnsetType = UNSET
    fusion: Choice | UnsetType = UNSET


class Verification(Struct):
    """How far the output was from the reference's when it was compiled."""

    max_abs: float | None
    """None for what is not a number, as the next."""
    relative: float | None
    tolerance: float
    unjudged: list[Name] | UnsetType = UNSET
    """Layers that nobody could judge."""
    why_not: Text | UnsetType = UNSET


class HostCheck(Struct):
    """What of an ONNX file was held against it on the machine that compiled."""

    layers: Count
    operators: Count
    unjudged: list[Name]


class Memory(Struct):
    """What one call allocates."""

    storages: list[Bytes]
    output: Bytes
    bound: Bytes
    largest: dict[Name, Bytes]


class Buffer(Struct):
    """A piece of the device's memory."""

    kind: Literal["input", "weights", "storage", "output", "scratch"]
    bytes: Bytes
    offset: Bytes | UnsetType = UNSET
    """Of weights: where they begin in their section."""


class Launch(Struct):
    """One kernel of the device, run once."""

    kernel: Name
    buffers: list[Number]
    grid: tuple[Size, Size, Size]
    block: tuple[Size, Size, Size]
    shared: Bytes


class LaunchedCall(Struct):
    """What one call of the manifest launches."""

    kernel: Name
    output: Number
    shape: Shape
    dtype: Dtype
    launches: Annotated[list[Launch], Meta(min_length=1)]


class Plan(Struct):
    """An artifact of launches: :class:`tvm_mobilenet.launches.Container`."""

    buffers: Annotated[list[Buffer], Meta(min_length=1)]
    outputs: Annotated[list[Number], Meta(min_length=1)]
    calls: Annotated[list[LaunchedCall], Meta(min_length=1)]


class CudaOutput(Struct):
    """A tensor that a caller of the network gives."""

    shape: Shape
    dtype: Dtype


class CudaKernel(Struct):
    """What a kernel takes of a multiprocessor."""

    registers: Bytes
    shared_bytes: Bytes
    spill_bytes: Bytes


class Cuda(Struct):
    """An artifact for CUDA: :meth:`tvm_mobilenet.graph.codegen_cuda.CudaCode.to_dict`."""

    memory_bytes: Bytes
    outputs: Annotated[list[CudaOutput], Meta(min_length=1)]
    graphs: list[Count]
    outside: Count
    kernels: Annotated[dict[Name, CudaKernel], Meta(min_length=1)]


class GraphAttributes(Struct):
    """Of every tensor of the graph, each with the name of its JSON type."""

    dltype: tuple[Name, list[Dtype]]
    storage_id: tuple[Name, list[Number]]
    shape: tuple[Name, list[Shape]]


class FunctionAttributes(Struct):
    """Which function a node calls."""

    func_name: Name


class Node(Struct):
    """An input, a weight, or a call."""

    op: Literal["null", "tvm_op"]
    name: Name
    inputs: list[Annotated[list[Number], Meta(min_length=2)]]
    attrs: FunctionAttributes | UnsetType = UNSET


class Graph(Struct):
    """An artifact of the classic stack: what TVM 0.19's graph executor reads."""

    nodes: Annotated[list[Node], Meta(min_length=1)]
    arg_nodes: list[Number]
    heads: Annotated[list[Annotated[list[Number], Meta(min_length=2)]], Meta(min_length=1)]
    node_row_ptr: Annotated[list[Number], Meta(min_length=2)]
    attrs: GraphAttributes
    parameters: dict[Name, Bytes]
    """Where each weight begins in its section."""


class Manifest(Struct):
    """An artifact."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    producer: Text
    stack: Name
    """``"relax"``, ``"relay"`` or ``"launches"``; another is refused where it would be loaded."""
    tvm: Version
    tvm_ffi: Version | None
    model: Network
    title: Text
    macs: Count
    params: Count
    inputs: Annotated[list[Tensor], Meta(min_length=1)]
    outputs: Annotated[list[Tensor], Meta(min_length=1)]
    preprocess: Preprocess
    target: Target
    machine: Name
    os: Name
    needs: list[Name]
    weights: Weights
    calls: Annotated[list[Call], Meta(min_length=1)]
    sha256: Sha256
    """Of the whole file, with these digits as zeros."""
    verification: Verification | UnsetType | None = UNSET
    host_check: HostCheck | UnsetType = UNSET
    memory: Memory | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET
    gpu: Cuda | UnsetType = UNSET
    graph: Graph | UnsetType = UNSET

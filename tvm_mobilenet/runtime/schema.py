"""What a manifest is: every field that anything here reads, its type and its range.

The one description of the format. :func:`tvm_mobilenet.runtime.artifact.read_manifest` lets no
manifest pass that is not of it; fields that are not named here are kept and mean nothing. What
one field says of another is checked by :mod:`tvm_mobilenet.runtime.consistency`.
"""

from typing import Annotated, Any, Literal

from tvm_mobilenet.common.limits import MOST_CORES
from tvm_mobilenet.runtime.recipe import LARGEST_NUMBER, SMALLEST_DIVISOR
from tvm_mobilenet.runtime.schema_check import Absent, Meta, Record
from tvm_mobilenet.runtime.schema_parts import (
    Bytes,
    Count,
    Cuda,
    Dtype,
    Graph,
    Name,
    Plan,
    Shape,
    Size,
)

FORMAT = 1
"""Version of manifests: another number where one of another version could not be read."""

Text = Annotated[str, Meta(max_length=1 << 14)]
Trace = Annotated[str, Meta(max_length=1 << 20)]
"""MetaSchedule's trace: a knob's answer, or all that it did."""
Version = Annotated[str, Meta(pattern=r"^[0-9A-Za-z.+!_-]{1,64}$")]
"""Version of a package: a message may put it behind ``pip install``."""
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Pair = tuple[Size, Size]
Finite = Annotated[float, Meta(gt=-LARGEST_NUMBER, lt=LARGEST_NUMBER)]
Positive = Annotated[float, Meta(ge=SMALLEST_DIVISOR, lt=LARGEST_NUMBER)]


class Network(Record):
    """Which network: what :func:`tvm_mobilenet.models.build` takes, or an ONNX file."""

    name: Name
    options: dict[Name, Any]
    """Checked by whoever builds the network again."""


class Tensor(Record):
    """An input or output of the network."""

    name: Name
    shape: Shape
    dtype: Dtype
    layout: Name
    """``"NCHW"``, ``"NHWC"``, ``"NC"``."""
    alignment: Annotated[int, Meta(ge=1, le=4096)] | Absent
    """What an input's address must be a multiple of, bytes; 64 if absent."""


class Preprocess(Record):
    """What images go through, see :mod:`tvm_mobilenet.runtime.recipe`."""

    resize: Size | Pair | None
    crop: Size | Pair
    """Side of a square; else height and width."""
    channels: Literal["RGB", "BGR"]
    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]
    interpolation: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] | Absent
    scale: Positive | Absent
    dtype: Literal["float32", "float16", "uint8"] | Absent


class Gpu(Record):
    """A graphics processor, as :class:`tvm_mobilenet.machine.gpu.GpuSpec` describes it."""

    kind: Literal["cuda", "opencl", "metal"]
    arch: Text
    chip: Text
    units: Size
    l2_bytes: Bytes


class Target(Record):
    """What was compiled for, as :class:`tvm_mobilenet.machine.TargetSpec` describes it."""

    name: Name
    triple: Name
    cpu: Text
    cores: Annotated[int, Meta(ge=1, le=MOST_CORES)]
    l2_bytes: Bytes
    gpu: Gpu | Absent | None
    dtype: Literal["float32", "float16", "bfloat16"] | Absent


class Weights(Record):
    """What the network computes with."""

    source: Text
    """For people, and proof of nothing: ``"seed:0"``, a path, a name. See docs/weights.md."""
    sha256: Sha256
    """Hash of names, shapes and values: :func:`tvm_mobilenet.models.weights.digest`."""


Elements = tuple[
    Literal["int8", "uint8"], Annotated[float, Meta(gt=0)], Annotated[int, Meta(ge=-128, le=255)]
]
"""What elements of 8 bits stand for: their type, scale and zero point."""


class InIntegers(Record):
    """How a layer computes in integers; the type of its weight follows from the float one."""

    output: Elements | None
    """None for sums that leave as float32."""
    before: Elements | None
    """What an activation reads that a table computes."""


class Normalized(Record):
    """What of the preprocessing the first convolution does: see :class:`Preprocess`."""

    scale: Positive
    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]


class Quantized(Record):
    """What calibration decided: :mod:`tvm_mobilenet.models.quantized.remaking` makes it a network.

    There in artifacts of networks that were quantised here, not of those from quantised files.
    """

    values: dict[Name, Elements]
    """What elements stand for that are made of a float layer's value, or of the input."""
    layers: dict[Name, InIntegers]
    scales: Sha256
    """Hash of the scales of all weights, little-endian float64."""
    biases: Annotated[str, Meta(max_length=1 << 24, pattern="^[0-9A-Za-z+/]*={0,2}$")]
    """Base64 of little-endian float32, layer by layer in the order of the model."""
    pixels: Normalized | Absent
    """There where the input is pixels."""


class Output(Record):
    """What a kernel leaves behind."""

    layout: Literal["NC", "NCHW", "NHWC", "NCHWc", "other"]
    shape: Shape
    block: Annotated[int, Meta(ge=1, le=1 << 16)] | Absent
    """Channels that lie together, where the layout is "NCHWc"."""
    dtype: Literal["bfloat16"] | Absent
    """What a kernel in integers leaves where that is bfloat16."""


class Moved(Record):
    """What a kernel moves, each tensor once."""

    input: Bytes
    weights: Bytes
    output: Bytes


class Choice(Record):
    """Whether layers share a kernel, and why."""

    fused: bool
    why: Text
    source: Name | Absent


class Call(Record):
    """One kernel of the network, in the order of execution."""

    kernel: Name
    layers: list[Name]
    """That it computes; none of a change of layout."""
    part_of: Name | Absent
    """The layer on the way to whose value this is, where it computes no layer whole."""
    operator: Name
    schedule: Text
    source: Name
    """Where its knobs came from: ``"rule"``, ``"record"``, ``"fallback"``."""
    knobs: dict[Name, Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)] | Trace]
    macs: Count
    output: Output
    bytes: Moved | Absent
    workspace: Bytes | Absent
    predicted_us: Annotated[float, Meta(ge=0, lt=1e15)] | Absent
    stored: Literal["float32", "float16", "bfloat16", "int8", "uint8"] | Absent
    half_products: Annotated[int, Meta(ge=1, le=1 << 10)] | Absent
    """Products that are added up in float16 at most, before their sum goes on in float32."""
    fusion: Choice | Absent


class Verification(Record):
    """How far the output was from the reference's when it was compiled."""

    max_abs: float | None
    """None for what is not a number, as the next."""
    relative: float | None
    tolerance: float
    unjudged: list[Name] | Absent
    """Layers that nobody could judge."""
    why_not: Text | Absent


class HostCheck(Record):
    """What of an ONNX file was held against it on the machine that compiled."""

    layers: Count
    operators: Count
    unjudged: list[Name]


class CInterface(Record):
    """Functions that a program in C can call."""

    version: Size
    prefix: Annotated[str, Meta(pattern="^[A-Za-z][A-Za-z0-9_]{0,63}$")]
    """What their names begin with."""


class Memory(Record):
    """What one call allocates."""

    storages: list[Bytes]
    output: Bytes
    bound: Bytes
    largest: dict[Name, Bytes]


class Manifest(Record):
    """An artifact."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    producer: Text
    stack: Name
    """What runs it: ``"relax"`` and ``"relay"`` are TVMs, ``"launches"`` needs none."""
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
    quantized: Quantized | Absent
    calls: Annotated[list[Call], Meta(min_length=1)]
    sha256: Sha256
    """Hash of the whole file, with these digits as zeros."""
    container: Name | Absent
    """One of ``artifact/containers``; another is refused where it would be loaded. Files from
    before there was this field are told apart by `stack` and GPU."""
    verification: Verification | Absent | None
    host_check: HostCheck | Absent
    memory: Memory | Absent
    c_interface: CInterface | Absent
    plan: Plan | Absent
    gpu: Cuda | Absent
    graph: Graph | Absent

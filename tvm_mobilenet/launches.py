"""A network as a list of launches, and the one file that holds it: no host code is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvm_mobilenet.scratch import scratch
from tvm_mobilenet.sources import SEAL, manifest_source, seal, section_source
from tvm_mobilenet.toolchain import Linker

_ALIGNMENT = 64
"""Bytes; what the weights' places in the blob are multiples of."""


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


@dataclass(frozen=True, slots=True)
class Container:
    """A network that a driver can run.

    Attributes
    ----------
    source : str
        Of all kernels.
    weights : bytes
        Packed constants, one behind the other.
    plan : dict
        For the manifest. ``buffers``: of each its ``kind`` (input, weights, storage, output
        or scratch) and ``bytes``, of weights their ``offset``. ``outputs``: their numbers.
        ``calls``, as the manifest's: ``output``, the number of the buffer, its ``shape``
        and ``dtype``; ``launches``, of each ``kernel``, ``buffers`` (numbers), ``grid``,
        ``block`` and ``shared`` (bytes).
    """

    source: str
    weights: bytes
    plan: dict[str, Any]


class LaunchBook:
    """Buffers and calls of a network, written down in the order of execution.

    Parameters
    ----------
    code : DeviceCode
        Of all its kernels.

    Attributes
    ----------
    outputs : list of int
        Numbers of the buffers that the network returns.
    """

    def __init__(self, code: DeviceCode) -> None:
        self.outputs: list[int] = []
        self._code = code
        self._blob = bytearray()
        self._buffers: list[dict[str, Any]] = []
        self._weights: dict[bytes, int] = {}
        self._scratch: dict[int, int] = {}
        self._calls: list[dict[str, Any]] = []

    def container(self) -> Container:
        """Return what was written down."""
        plan = {"buffers": self._buffers, "outputs": self.outputs, "calls": self._calls}
        return Container(self._code.source, bytes(self._blob), plan)

    def add(self, kind: str, size: int, **more: int) -> int:
        """Add a buffer of so many bytes; return its number."""
        self._buffers.append({"kind": kind, "bytes": size, **more})
        return len(self._buffers) - 1

    def weights(self, data: bytes) -> int:
        """Return the number of the buffer that holds these constants."""
        if data not in self._weights:
            self._blob.extend(bytes(-len(self._blob) % _ALIGNMENT))
            offset = len(self._blob)
            self._weights[data] = self.add("weights", len(data), offset=offset)
            self._blob.extend(data)
        return self._weights[data]

    def call(self, name: str, buffers: Sequence[int], shape: Sequence[int], dtype: str) -> None:
        """Call a function.

        Parameters
        ----------
        name : str
            As the code has it.
        buffers : sequence of int
            Numbers of its arguments, the output last.
        shape : sequence of int
            Of the output.
        dtype : str
            Likewise.
        """
        slots = [self._slot(number, size) for number, size in enumerate(self._code.scratch[name])]
        given = [*buffers, *slots]
        launches = [
            {
                "kernel": launch.kernel,
                "buffers": [given[number] for number in launch.arguments],
                "grid": list(launch.grid),
                "block": list(launch.block),
                "shared": launch.shared_bytes,
            }
            for launch in self._code.kernels[name]
        ]
        self._calls.append(
            {
                "kernel": name,
                "output": buffers[-1],
                "shape": list(shape),
                "dtype": dtype,
                "launches": launches,
            }
        )

    def _slot(self, number: int, size: int) -> int:
        """Return a scratch buffer: kernels run one after another, so calls share them."""
        if number not in self._scratch:
            self._scratch[number] = self.add("scratch", 0)
        found = self._buffers[self._scratch[number]]
        found["bytes"] = max(found["bytes"], size)
        return self._scratch[number]


def write_container(
    container: Container, linker: Linker, reserved_bytes: int, output: Path
) -> None:
    """Link a container; its manifest is still empty.

    Parameters
    ----------
    container : Container
    linker : Linker
        For the host's machine, although nothing in the file is executed: what finds the
        manifest of every other artifact finds this one's.
    reserved_bytes : int
        Size of the manifest's section.
    output : Path
        Shared object to write.

    Raises
    ------
    ToolchainError, OutputError
        The linker failed.
    """
    with scratch() as name:
        folder = Path(name)
        parts = {
            "source": container.source.encode(),
            "weights": container.weights,
            SEAL: seal(container.plan).encode(),
        }
        text = manifest_source(reserved_bytes)
        for part, content in parts.items():
            (folder / part).write_bytes(content)
            text += section_source(part, folder / part)
        (folder / "container.c").write_text(text)
        linker.link([folder / "container.c"], output)

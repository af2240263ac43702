"""A network as a list of launches that a driver can run: no host code is needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tvm_mobilenet.artifact.blob import Blob
from tvm_mobilenet.artifact.linking import Code
from tvm_mobilenet.artifact.sources import section_source

Sizes = tuple[int, int, int]
"""Along x, y, z."""


def tensor_bytes(shape: Iterable[Any], dtype: str) -> int:
    """Return the bytes of a tensor, its sizes integers or TVM's."""
    return math.prod(map(int, shape)) * np.dtype(dtype).itemsize


def launched_on(extents: Mapping[str, int]) -> tuple[Sizes, Sizes]:
    """Return the grid and the block of the extents that TVM names ``blockIdx.x`` and so on."""
    blocks, threads = (
        (extents.get(f"{what}.x", 1), extents.get(f"{what}.y", 1), extents.get(f"{what}.z", 1))
        for what in ("blockIdx", "threadIdx")
    )
    return blocks, threads


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
    grid: Sizes
    block: Sizes
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
        By the same name: bytes of each buffer that it needs for itself.
    """

    source: str
    kernels: dict[str, list[Launch]] = field(default_factory=dict)
    scratch: dict[str, tuple[int, ...]] = field(default_factory=dict)


class LaunchBook:
    """Buffers and calls of a network, written down in the order of execution.

    Parameters
    ----------
    code : DeviceCode
        Holds all the network's kernels.

    Attributes
    ----------
    outputs : list of int
        Numbers of the buffers that the network returns.
    """

    def __init__(self, code: DeviceCode) -> None:
        self.outputs: list[int] = []
        self._code = code
        self._blob = Blob()
        self._buffers: list[dict[str, Any]] = []
        self._weights: dict[int, int] = {}
        self._scratch: dict[int, int] = {}
        self._calls: list[dict[str, Any]] = []

    def code(self) -> Code:
        """Return what was written down: device source, weights, and the manifest's ``plan``.

        The plan has ``buffers``, of each its ``kind`` (input, weights, storage, output or
        scratch) and ``bytes``, of weights their ``offset``; ``outputs``, their numbers; and
        ``calls``, as the manifest's: ``output``, the number of the buffer, its ``shape`` and
        ``dtype``; ``launches``, of each ``kernel``, ``buffers`` (numbers), ``grid``, ``block``
        and ``shared`` (bytes).
        """
        plan = {"buffers": self._buffers, "outputs": self.outputs, "calls": self._calls}
        source, weights = self._code.source.encode(), bytes(self._blob)
        sections = {"source": source, "weights": weights}
        embedded = tuple((partial(section_source, n), data) for n, data in sections.items())
        return Code("launches", embedded, plan)

    def add(self, kind: str, size: int, **more: int) -> int:
        """Add a buffer of so many bytes; return its number."""
        self._buffers.append({"kind": kind, "bytes": size, **more})
        return len(self._buffers) - 1

    def weights(self, data: bytes) -> int:
        """Return the number of the buffer that holds these constants."""
        offset = self._blob.place(data)
        if offset not in self._weights:
            self._weights[offset] = self.add("weights", len(data), offset=offset)
        return self._weights[offset]

    def call(self, name: str, buffers: Sequence[int], shape: Sequence[int], dtype: str) -> None:
        """Call a function.

        Parameters
        ----------
        name : str
            As the code has it.
        buffers : sequence of int
            Numbers of its arguments, the output last.
        shape, dtype
            Shape and type of the output.
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

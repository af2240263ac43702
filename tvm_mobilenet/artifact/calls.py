"""A network as calls of kernels on buffers: what is left of it when everything is planned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Place = Literal["input", "output", "storage", "weights"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory that kernels read and write.

    Attributes
    ----------
    place : Place
        Whose it is: the caller's, which a call is given; storage that tensors share in turn;
        weights.
    bytes : int
        That the largest tensor in it takes.
    offset : int
        Where weights begin among all of them; 0 elsewhere.
    """

    place: Place
    bytes: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """A buffer as a tensor.

    Attributes
    ----------
    buffer : int
        Its number among the network's.
    """

    buffer: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """What it takes of the buffer."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One call of a kernel.

    Attributes
    ----------
    kernel : str
        Its name.
    arguments : tuple of View or int
        Output last; an integer is where a constant begins among the weights.
    """

    kernel: str
    arguments: tuple[View | int, ...]


@dataclass(frozen=True, slots=True)
class NetworkCalls:
    """The whole network.

    Attributes
    ----------
    buffers : tuple of Buffer
        In the order in which they are met.
    calls : tuple of KernelCall
        In the order of execution.
    outputs : tuple of View
        What the network returns.
    """

    buffers: tuple[Buffer, ...]
    calls: tuple[KernelCall, ...]
    outputs: tuple[View, ...]

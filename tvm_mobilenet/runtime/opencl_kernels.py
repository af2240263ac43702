"""The kernels of a network on an OpenCL device one by one, timed by the device's clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvm_mobilenet.runtime.opencl_device import named_errors
from tvm_mobilenet.runtime.opencl_launches import Launches


class OpenClKernels:
    """Every call of a network, ready to be made again; for the Python thread that made it.

    Parameters
    ----------
    path : str
        The artifact.
    launches : Launches
        Those of the whole network.
    counts : sequence of int
        Launches of each call, in the order of the manifest's.
    """

    def __init__(self, path: str, launches: Launches, counts: Sequence[int]) -> None:
        self._path = path
        self._launches = launches
        ends = np.cumsum(counts).tolist()
        self._spans = list(zip([0, *ends[:-1]], ends, strict=True))

    def __len__(self) -> int:
        return len(self._spans)

    def replay(self) -> list[float]:
        """Run the network once; return the microseconds of each call on the device."""
        with named_errors(self._path):
            times = self._launches.timed()
        return [sum(times[first:last]) for first, last in self._spans]

    def alone(self, position: int, repeats: int = 9) -> float:
        """Time one call again and again on the same buffers.

        Parameters
        ----------
        position : int
            Which call of the network.
        repeats : int
            To take the median of.

        Returns
        -------
        float
            Microseconds.
        """
        first, last = self._spans[position]
        with named_errors(self._path):
            self._launches.timed(first, last)
            times = [sum(self._launches.timed(first, last)) for _ in range(repeats)]
        return float(np.median(times))

"""Artifacts of host code, whose kernels can be called again one by one."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Any

import numpy as np

from tvm_mobilenet.runtime.described import Described
from tvm_mobilenet.runtime.instrument import Profile
from tvm_mobilenet.runtime.kernels import Kernels

# Runs of a profile between two turns.
_TURN = 10


class Replayed(Described):
    """A loaded artifact that is timed kernel by kernel."""

    @abstractmethod
    def __call__(self, x: Any) -> Any:
        """Run the model."""

    @abstractmethod
    def kernels(self, x: Any) -> Kernels:
        """Run the model once and hold on to every kernel with its buffers."""

    def profile(self, x: Any, repeats: int = 20) -> Profile:
        """Time every kernel inside the network.

        Parameters
        ----------
        x : array
            As for a call.
        repeats : int
            Runs to take the median of, rounded up to tens.

        Returns
        -------
        Profile
            A kernel's time holds about 0.3 µs of the call from Python.

        Raises
        ------
        InputError, ArtifactError
            As for :meth:`trace`.
        """
        kernels = self.kernels(x)
        spans: list[list[float]] = []
        totals: list[float] = []
        while len(spans) < max(1, repeats):
            # In turns, so that a drift of the machine meets both, but each several times in a
            # row: they have activations of their own, and would evict each other's.
            kernels.replay()
            spans += [kernels.replay() for _ in range(_TURN)]
            self(x)
            for _ in range(_TURN):
                start = time.perf_counter()
                self(x)
                totals.append(time.perf_counter() - start)
        medians = map(float, np.median(spans, axis=0))
        return Profile(
            tuple(zip(self.manifest["calls"], medians, strict=True)),
            float(np.median(totals)) * 1e6,
        )

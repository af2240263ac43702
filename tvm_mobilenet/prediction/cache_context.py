"""The network around a kernel: what its sizes leave in the caches before and after it."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.prediction.cost import Caches, Stream


@dataclass(frozen=True, slots=True)
class CacheContext:
    """The network around a kernel: what lies in the caches when it starts.

    Attributes
    ----------
    weights : int
        Bytes of all weights of the network. A kernel's own come back after all others.
    values : tuple of int
        Bytes of the image and of every map, in order.
    at : int
        Which of them the kernel reads.
    """

    weights: int
    values: tuple[int, ...]
    at: int

    def then(self, size: int) -> CacheContext:
        """Return what is around a second kernel that reads `size` bytes from this one."""
        before, after = self.values[: self.at + 1], self.values[self.at + 1 :]
        return CacheContext(self.weights, (*before, size, *after), self.at + 1)

    def cold(self, caches: Caches, threads: int) -> str:
        """Return where everything is that was last touched one run ago."""
        return caches.found((self.weights + 2 * max(self.values)) / threads)

    def source(self, caches: Caches, threads: int) -> str:
        """Return where the input is: just written, or given by the caller."""
        if self.at == 0:
            return self.cold(caches, threads)
        return caches.found((self.values[self.at] + self.values[self.at - 1]) / threads)

    def written(self, size: float, caches: Caches, threads: int) -> tuple[Stream, Stream]:
        """Return the output of one thread, of `size` bytes.

        Buffers are used again in turns: what is larger than any map before comes to memory
        that was last touched one run ago.
        """
        known = min(size, max(self.values[1 : self.at], default=0) / threads)
        near = caches.found(size + self.values[self.at] / threads)
        far = self.cold(caches, threads)
        # At least to L2: L1 holds nothing until the next kernel.
        near = "L2" if near == "L1" else near
        return Stream(known, near), Stream(size - known, "L2" if far == "L1" else far)

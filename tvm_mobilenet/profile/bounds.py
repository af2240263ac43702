"""The least time that a kernel can take: for what it computes, and for what it moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.common.tables import layers_of


@dataclass(frozen=True, slots=True)
class Bounded:
    """A kernel of the network and its bounds, microseconds of one call.

    Attributes
    ----------
    layers : tuple of str
        Layers that it computes.
    kernel, operator, schedule : str
        Its symbol, what it is, and which schedule made it.
    macs : int
        Multiply-adds.
    compute_us : float
        Its multiply-adds at the peak.
    memory_us : float
        Its bytes, at the bandwidth of where they come from.
    level : str
        That place: for its activations, or for its weights where those are more.
    """

    layers: tuple[str, ...]
    kernel: str
    operator: str
    schedule: str
    macs: int
    compute_us: float
    memory_us: float
    level: str

    @property
    def bound_us(self) -> float:
        """The larger of both bounds."""
        return max(self.compute_us, self.memory_us)

    @property
    def bound_by(self) -> str:
        """``"compute"``, or the level that its bytes come from."""
        return "compute" if self.compute_us >= self.memory_us else self.level


def bounds_of(
    call: Mapping[str, Any], compute_us: float, near: str, cold: str, rate: Callable[[str], float]
) -> dict[str, Any]:
    """Return the fields of :class:`Bounded` for a call of the manifest.

    The kernel before has just written its input, so `near` is the level that holds its maps;
    its weights were last used one call ago, so `cold` is the one that holds what came since.
    `rate` is a level's bytes in a microsecond.
    """
    maps, weights = moved_maps(call), call["bytes"]["weights"]
    return {
        "layers": layers_of(call),
        **{name: call[name] for name in ("kernel", "operator", "schedule", "macs")},
        "compute_us": compute_us,
        "memory_us": maps / rate(near) + weights / rate(cold),
        "level": near if maps >= weights else cold,
    }


def moved_maps(call: Mapping[str, Any]) -> int:
    """Return the bytes of a call's input and output, each once."""
    return int(call["bytes"]["input"] + call["bytes"]["output"])

"""What quantising cost, for people and machines."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.common.tables import Column, Table, Tabular

ASKED = "asked for"
BUDGET = "budget"
NEVER = "never in integers"


@dataclass(frozen=True, slots=True, repr=False)
class QuantizationReport(Tabular):
    """What quantising cost.

    Attributes
    ----------
    title : str
        The network's.
    layers : dict of str to float
        Signal-to-quantisation-noise ratio of each layer's value against float64, dB, all layers
        before it in integers too.
    logits : float
        That of what the network returns, before a softmax, dB.
    agreement : float
        Share of the rows judged whose first class is that of the float network.
    images : int
        That were calibrated with.
    judged : int
        Inputs that `layers`, `logits` and `agreement` were measured on: 16 from all over the
        images, or all of them where the budget names a share.
    method : str
        How ranges were chosen.
    kept : mapping of str to str
        Layers that do not compute in integers, and why: ``"asked for"``, ``"budget"``, or
        ``"never in integers"``, which are softmaxes and what has no kernel.
    stored : mapping of str to str
        What each of them is stored as, ``"bfloat16"`` or ``"float32"``. What is bfloat16 is
        float32 where a target does not multiply that, and the network says ``"auto"``.
    """

    title: str
    layers: Mapping[str, float]
    logits: float
    agreement: float
    images: int
    judged: int
    method: str
    kept: Mapping[str, str]
    stored: Mapping[str, str]

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        return f"<{type(self).__name__} {self.summary}>"

    @property
    def summary(self) -> str:
        """The cost in a sentence."""
        counts = Counter(self.stored.values())
        kept = "".join(f", {count} in {dtype}" for dtype, count in sorted(counts.items()))
        return (
            f"{self.title}: logits {self.logits:.1f} dB, the same first class for "
            f"{self.agreement:.0%} of {self.judged} calibration images; layers: "
            f"{len(self.layers) - len(self.kept)} in integers{kept}; ranges by {self.method}"
        )

    def table(self) -> Table:
        """Return a row for each layer, those that lost most first."""
        columns = (
            Column("layer", kind="name"),
            Column("sqnr", "SQNR, dB", ".1f"),
            Column("kept", "in", kind="word"),
        )
        rows = tuple(
            (name, value, self._type_of(name))
            for name, value in sorted(self.layers.items(), key=lambda item: item[1])
        )
        return Table("layers", self.title, columns, rows, (self.summary,))

    def _type_of(self, name: str) -> str:
        return f"{self.stored[name]}: {self.kept[name]}" if name in self.kept else "int8"

    def to_dict(self) -> dict[str, Any]:
        """Return everything, for machines; None for what is infinite."""
        layers = {name: _finite(value) for name, value in self.layers.items()}
        return dataclasses.asdict(self) | {"layers": layers, "logits": _finite(self.logits)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

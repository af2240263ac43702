"""The report of a verification: kernel by kernel, and end to end."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from tvm_mobilenet.common.judged import figure, not_judged
from tvm_mobilenet.common.tables import Column, Table, Tabular, together
from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.verify.rounding import END_TO_END_TOLERANCE

_COLUMNS = (
    Column("layers", show=together, kind="name"),
    Column("max_abs", "max abs", figure, priority=3),
    Column("relative", "relative", figure, priority=2),
    Column("alone", "alone, relative", figure),
    Column("tolerance", "allowed", figure),
    Column("verdict", " ", kind="word"),
)


@dataclass(frozen=True, slots=True)
class VerifyRow:
    """One kernel of the compiled network.

    Attributes
    ----------
    layers : tuple of str
        Layers that it computes; the errors are those of the last one.
    kernel : str
        Its name in the artifact.
    max_abs, relative : float
        Errors of the compiled activation, including those of all kernels before;
        `relative` is norm-wise. NaN where the expected activation is not known.
    alone : float
        Norm-wise relative error of this kernel on the input that it had.
    tolerance : float
        Largest value of `alone` that is allowed.
    passed : bool
        Whether `alone` is allowed; true where it is not judged.
    judge : str
        ``"reference"`` (ours), ``"onnx"`` (its evaluator), ``"onnxruntime"``, or ``""`` where
        none of them can judge.
    """

    layers: tuple[str, ...]
    kernel: str
    max_abs: float
    relative: float
    alone: float
    tolerance: float
    passed: bool
    judge: str = "reference"

    @property
    def verdict(self) -> str:
        """``"ok"``, ``"WRONG"`` or ``"not judged"``, for tables."""
        if not self.judge:
            return "not judged"
        return "ok" if self.passed else "WRONG"


@dataclass(frozen=True, slots=True, repr=False)
class VerifyReport(Tabular):
    """The report of a verification.

    Attributes
    ----------
    title : str
        The model's title.
    rows : tuple of VerifyRow
        One row for each kernel, in the order of execution.
    max_abs, relative : float
        Errors of the network's output; of several outputs the worst.
    tolerance : float
        Largest value of `relative` that is allowed.
    why_not : str
        Why the output as a whole is not judged; empty if it is.
    misread : tuple of VerifyRow
        Layers that compute something else than the ONNX file that they were read from.
    """

    title: str
    rows: tuple[VerifyRow, ...]
    max_abs: float
    relative: float
    tolerance: float = END_TO_END_TOLERANCE
    why_not: str = ""
    misread: tuple[VerifyRow, ...] = ()

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        verdict = "right" if self.passed else "WRONG"
        return (
            f"<{type(self).__name__} {self.title}: {verdict}, {len(self.rows)} kernels, relative "
            f"error {self.relative:.1e} (allowed {self.tolerance:.0e})>"
        )

    def table(self) -> Table:
        """Return a row for each kernel, and the end-to-end figures."""
        told = (*self.misread, *self.rows)
        rows = [tuple(getattr(row, column.name) for column in _COLUMNS) for row in told]
        total = (
            f"end to end: max abs {figure(self.max_abs)}, relative {figure(self.relative)} "
            f"(allowed {self.tolerance:.0e}){not_judged(self.to_dict())}"
        )
        return Table("kernels", self.title, _COLUMNS, tuple(rows), (total,))

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong: layers as read, every kernel, and the output."""
        # NaN compares false, so a NaN anywhere fails.
        whole = bool(self.why_not) or self.relative <= self.tolerance
        return whole and not self.misread and all(row.passed for row in self.rows)

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Layers about which nobody could say anything."""
        return tuple(name for row in self.rows if not row.judge for name in row.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return the end-to-end figures for the manifest; None for what is not a number."""
        return {
            "max_abs": _number(self.max_abs),
            "relative": _number(self.relative),
            "tolerance": self.tolerance,
            "unjudged": list(self.unjudged),
            "why_not": self.why_not,
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything, for machines; None for what is not a number."""
        return {
            "title": self.title,
            "rows": [_row_to_json(row) for row in self.rows],
            **self.to_dict(),
            "misread": [_row_to_json(row) for row in self.misread],
            "passed": self.passed,
        }

    def check(self) -> None:
        """Raise VerificationError naming the first wrong layer and by how much."""
        for row in self.misread:
            raise VerificationError(
                f"{self.title}: layer {row.layers[0]} is not what the ONNX file says: relative "
                f"error {row.alone:.2e} on the same input, tolerance {row.tolerance:.2e}",
                "nothing was compiled wrong, it was read wrong; please report the model",
            )
        for row in self.rows:
            if not row.passed:
                raise VerificationError(
                    f"{self.title}: layer {' + '.join(row.layers)} ({row.kernel}) is wrong: "
                    f"relative error {row.alone:.2e} on its own input, "
                    f"tolerance {row.tolerance:.2e}; max abs error so far {row.max_abs:.2e}",
                    "do not use this artifact; please report the model and the target",
                )
        if not self.passed:
            off = [row for row in self.rows if not row.relative <= 10 * self.tolerance]
            first = f"; the first to differ is {' + '.join(off[0].layers)}" if off else ""
            raise VerificationError(
                f"{self.title}: the output has relative error {self.relative:.2e}, "
                f"tolerance {self.tolerance:.2e}, though each layer alone is right{first}",
                "do not use this artifact; check the order and the connections of its layers",
            )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _row_to_json(row: VerifyRow) -> dict[str, Any]:
    numbers = {k: _number(v) for k, v in asdict(row).items() if isinstance(v, float)}
    return {**asdict(row), **numbers}

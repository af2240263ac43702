"""What a verification found: by kernel, and end to end."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.rounding import END_TO_END_TOLERANCE
from tvm_mobilenet.tables import Column, Table, Tabular, together

_COLUMNS = (
    Column("layers", show=together, kind="name"),
    Column("max_abs", "max abs", ".1e", priority=3),
    Column("relative", "relative", ".1e", priority=2),
    Column("alone", "alone, relative", ".1e"),
    Column("tolerance", "allowed", ".1e"),
    Column("passed", " ", lambda passed: "ok" if passed else "WRONG", "word"),
)


@dataclass(frozen=True, slots=True)
class VerifyRow:
    """One kernel of the compiled network.

    Attributes
    ----------
    layers : tuple of str
        Layers that it computes, the last of which the errors are of.
    kernel : str
        Its name in the artifact.
    max_abs, relative : float
        Compiled against reference activation, errors of all kernels so far
        included; `relative` is norm-wise.
    alone : float
        Norm-wise relative error of this kernel on the input that it had.
    tolerance : float
        What `alone` may be.
    passed : bool
        Whether it is.
    """

    layers: tuple[str, ...]
    kernel: str
    max_abs: float
    relative: float
    alone: float
    tolerance: float
    passed: bool


@dataclass(frozen=True, slots=True, repr=False)
class VerifyReport(Tabular):
    """What a verification found.

    Attributes
    ----------
    title : str
        The model.
    rows : tuple of VerifyRow
        By kernel, in the order of execution.
    max_abs, relative : float
        Errors of the network's output, the worst of several.
    tolerance : float
        What `relative` may be.
    """

    title: str
    rows: tuple[VerifyRow, ...]
    max_abs: float
    relative: float
    tolerance: float = END_TO_END_TOLERANCE

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        verdict = "right" if self.passed else "WRONG"
        return (
            f"<{type(self).__name__} {self.title}: {verdict}, {len(self.rows)} kernels, relative "
            f"error {self.relative:.1e} (allowed {self.tolerance:.0e})>"
        )

    def table(self) -> Table:
        """Return a row for each kernel, and the end-to-end figures."""
        rows = [tuple(getattr(row, column.name) for column in _COLUMNS) for row in self.rows]
        total = (
            f"end to end: max abs {self.max_abs:.1e}, relative {self.relative:.1e} "
            f"(allowed {self.tolerance:.0e})"
        )
        return Table("kernels", self.title, _COLUMNS, tuple(rows), (total,))

    @property
    def passed(self) -> bool:
        """Whether every kernel and the output are within tolerance."""
        # NaN compares false, so a NaN anywhere fails.
        return self.relative <= self.tolerance and all(row.passed for row in self.rows)

    def to_dict(self) -> dict[str, float]:
        """Return the end-to-end figures for the manifest."""
        return {
            "max_abs": self.max_abs,
            "relative": self.relative,
            "tolerance": self.tolerance,
        }

    def check(self) -> None:
        """Raise VerificationError naming the first wrong layer and by how much."""
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

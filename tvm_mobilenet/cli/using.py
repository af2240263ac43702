"""``verify``: compare with the reference."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tvm_mobilenet.cli.logs import is_quiet
from tvm_mobilenet.cli.output import print_json, print_table, waiting


def verify_artifact(
    artifact: Path, weights: str | None, model: Path | None, device: str | None, as_json: bool
) -> None:
    """Compare with the reference; a wrong artifact is an error, after its table."""
    from tvm_mobilenet import api

    with waiting("comparing with the reference"):
        report = api.verify(artifact, weights=weights, model=model, device=device)
    if as_json:
        print_json({**dataclasses.asdict(report), "passed": report.passed})
    else:
        columns = [
            "layers",
            ">max abs",
            ">relative",
            ">alone, relative",
            ">allowed",
            "",
        ]
        rows = [
            [
                " + ".join(row.layers),
                f"{row.max_abs:.1e}",
                f"{row.relative:.1e}",
                f"{row.alone:.1e}",
                f"{row.tolerance:.1e}",
                "ok" if row.passed else "WRONG",
            ]
            for row in report.rows
        ]
        footer = (
            f"end to end: max abs {report.max_abs:.1e}, relative {report.relative:.1e} "
            f"(allowed {report.tolerance:.0e})"
        )
        if is_quiet():
            print(footer)
        else:
            print_table(str(artifact), columns, rows, footer)
    report.check()

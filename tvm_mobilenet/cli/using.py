"""``verify``: compare with the reference."""

from __future__ import annotations

from pathlib import Path

from tvm_mobilenet.cli.logs import is_quiet
from tvm_mobilenet.cli.output import print_json, print_table, waiting


def verify_artifact(
    artifact: Path, weights: str | None, model: Path | None, device: str | None, as_json: bool
) -> None:
    """Compare with the reference; a wrong artifact is an error, after its table."""
    from tvm_mobilenet import api
    from tvm_mobilenet.verify_report import figure, not_judged

    with waiting("comparing with the reference"):
        report = api.verify(artifact, weights=weights, model=model, device=device)
    if as_json:
        print_json(report.to_json())
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
                *map(figure, (row.max_abs, row.relative, row.alone, row.tolerance)),
                row.verdict,
            ]
            for row in (*report.misread, *report.rows)
        ]
        footer = (
            f"end to end: max abs {figure(report.max_abs)}, relative {figure(report.relative)} "
            f"(allowed {report.tolerance:.0e}){not_judged(report.to_dict())}"
        )
        if is_quiet():
            print(footer)
        else:
            print_table(str(artifact), columns, rows, footer)
    report.check()

"""The page of an evaluation: whole in itself, for any browser."""

from __future__ import annotations

import os
from html import escape

from tvm_mobilenet.common.files import written_aside
from tvm_mobilenet.evaluation.report import EvaluationReport

_STYLE = """
:root { --paper: #fcfbf8; --ink: #1d2329; --rule: #dcdfe2; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181c; --ink: #e9e7e2; --rule: #343c44; }
}
body { margin: 36px auto; max-width: 900px; padding: 0 20px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
table { border-collapse: collapse; width: 100%; margin: 20px 0 8px; }
th, td { padding: 5px 12px; border-top: 1px solid var(--rule); vertical-align: top; }
"""


def write_page(report: EvaluationReport, path: str | os.PathLike[str]) -> None:
    """Write the page, whole or not at all; an OutputError where it cannot be written."""
    title = f"Evaluation of {report.artifact.network}"
    tables = "\n".join(table.to_html() for table in report.tables())
    unread = "".join(f"<li>{escape(what)}</li>" for what in report.skipped)
    text = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{tables}
<ul>{unread}</ul>
</body>
</html>
"""
    with written_aside(path) as file:
        file.write(text.encode("utf-8", "replace"))

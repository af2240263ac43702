"""``verify``: compare with the reference."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tvm_mobilenet.cli.logs import is_quiet
from tvm_mobilenet.cli.output import Form, say, show, waiting


def verify_artifact(artifact: Path, form: Form, *, save: Path | None, **options: Any) -> None:
    """Compare with the reference; a wrong artifact is an error, after its table."""
    from tvm_mobilenet import api

    with waiting("comparing with the reference"):
        report = api.verify(artifact, save=save, **options)
    if save is not None and not is_quiet():
        say(f"written: {save}", error=True)
    table = dataclasses.replace(report.table(), title=str(artifact))
    if is_quiet() and form.for_people:
        say("\n".join(table.notes))
    else:
        show(form, table, data=report.to_json())
    report.check()

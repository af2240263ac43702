"""``explain``: what is predicted and chosen, without compiling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvm_mobilenet.cli.output import Form, show

if TYPE_CHECKING:
    from tvm_mobilenet.prediction.fusion import Fusion
    from tvm_mobilenet.target import TargetSpec
    from tvm_mobilenet.tuning.store import RecordsLike


def explain_model(
    name: str,
    options: dict[str, Any],
    *,
    target: TargetSpec,
    fusion: Fusion,
    records: RecordsLike,
    threads: int | None,
    form: Form,
) -> None:
    """Predict every kernel, and print it."""
    from tvm_mobilenet import api
    from tvm_mobilenet.cli.making import warnings_told
    from tvm_mobilenet.models.network import find_model

    model = find_model(name, options)
    with warnings_told():
        found = api.explain(
            model,
            target=target,
            fusion=fusion,
            records=records,
            threads=threads,
        )
    show(form, found.table(), found.choices(), data=found.to_dict())

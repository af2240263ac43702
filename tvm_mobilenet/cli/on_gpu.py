"""``bench`` and ``profile`` of artifacts whose kernels run on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_mobilenet.cli.output import Form, show, waiting
from tvm_mobilenet.errors import PlotError

if TYPE_CHECKING:
    from tvm_mobilenet.cli.options import Stored


@contextmanager
def compiled_for(
    model: str, target: str, dtype: Stored | None, batch: int | None, *, weights: str | None
) -> Iterator[Path]:
    """Compile a model for the time of a measurement; yield its path."""
    from tvm_mobilenet import api
    from tvm_mobilenet.cli.making import target_of
    from tvm_mobilenet.models.network import find_model

    spec = target_of(target, None, None, None, dtype=dtype)
    found = find_model(model, {} if batch is None else {"batch": batch})
    with waiting(f"compiling {model} for {target}"):
        compiled = api.compile(found, target=spec, weights=weights)
    yield compiled.path


def profile_gpu_artifact(artifact: Path, plot: Path | None, repeats: int, form: Form) -> None:
    """Time kernel by kernel on the GPU of this machine."""
    from tvm_mobilenet.profile.gpu import profile_on_gpu

    if plot is not None:
        raise PlotError("there is no drawing of a GPU's roofline", "leave --plot out")
    with waiting("timing every kernel"):
        report = profile_on_gpu(artifact, repeats)
    show(form, report.table(), data=report.to_dict())

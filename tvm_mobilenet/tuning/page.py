"""The report of a tuning run: one page, whole in itself, for any browser."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tvm_mobilenet.common.files import written_aside
from tvm_mobilenet.tuning.charts import HEIGHT, NARROW, WIDTH, curve, roofline, speed
from tvm_mobilenet.tuning.summary import summarize
from tvm_mobilenet.tuning.trials import Outcome
from tvm_mobilenet.tuning.tuning_report import Summary

TEMPLATE = "report.html.j2"

KINDS: Mapping[Outcome, str] = {
    "unbuildable": "no code came of it",
    "hung": "no answer in time",
    "crashed": "its process died",
    "wrong": "numbers beyond their bound, or a write outside its output",
    "nan": "numbers that are none",
}
"""What each kind of failure means."""


def write_page(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> Summary:
    """Write the page of a tuning folder.

    Parameters
    ----------
    folder : path-like
        The ``log_dir`` of :func:`tvm_mobilenet.tune`; a run may still be writing to it.
    path : path-like
        HTML file to write, whole or not at all.

    Returns
    -------
    Summary
        What is on it.

    Raises
    ------
    RecordsError
        There is no such folder, nothing in it is of a tuning run, or it cannot be read.
    OutputError
        The page cannot be written.
    """
    summary = summarize(Path(folder))
    with written_aside(path) as file:
        file.write(render(summary).encode())
    return summary


def render(summary: Summary) -> str:
    """Return the page as HTML, with its drawings and its style; it loads nothing."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from tvm_mobilenet import __version__

    environment = Environment(
        loader=PackageLoader("tvm_mobilenet.tuning"),
        # Notes and paths are other people's words.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        us=_microseconds, ms=_milliseconds, percent=_percent, span=_span, moment=_moment
    )
    environment.globals.update(curve=curve, roofline=roofline, speed=speed, kinds=KINDS)
    return environment.get_template(TEMPLATE).render(
        summary=summary, version=__version__, widths=(WIDTH, NARROW), height=HEIGHT
    )


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.2f}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}"


def _percent(part: float) -> str:
    return f"{part:.1%}"


def _span(seconds: float) -> str:
    """Return a duration as a person says it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _moment(date: str) -> str:
    """Return an ISO date without seconds, and UTC by name."""
    return date[:16].replace("T", " ") + (" UTC" if date.endswith("+00:00") else "")

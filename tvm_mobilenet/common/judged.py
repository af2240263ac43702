"""What a verification found, in words: in tables, and of what a manifest says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def figure(value: float | None) -> str:
    """Return an error as a table shows it; a dash for None and NaN."""
    return "-" if value is None or math.isnan(value) else f"{value:.1e}"


def not_judged(found: Mapping[str, Any]) -> str:
    """Return text about what was not judged, from :meth:`VerifyReport.to_dict`; may be empty."""
    parts = []
    if why := found.get("why_not"):
        parts.append(f"not judged as a whole: {why}")
    if layers := found.get("unjudged"):
        parts.append(f"{len(layers)} layers not judged: {', '.join(layers)}")
    return "".join(f"; {part}" for part in parts)

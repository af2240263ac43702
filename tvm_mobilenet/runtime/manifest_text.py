"""From a manifest's text to the manifest: nothing passes that is not one."""

from __future__ import annotations

import json
import math
from typing import Any

from tvm_mobilenet.errors import AbiError, ManifestError
from tvm_mobilenet.runtime import schema
from tvm_mobilenet.runtime.consistency import problems
from tvm_mobilenet.runtime.elf import AGAIN
from tvm_mobilenet.runtime.schema_check import SchemaError, checker


def parse_manifest(text: bytes, where: str) -> dict[str, Any]:
    """Read a manifest's text and check that it is one, field by field.

    Parameters
    ----------
    text : bytes
        JSON.
    where : str
        What messages call the artifact.

    Raises
    ------
    AbiError
        This version does not know the format.
    ManifestError
        No JSON, or not of :mod:`tvm_mobilenet.runtime.schema`; the field is named.
    """
    try:
        manifest = json.loads(
            text, object_pairs_hook=_once_each, parse_constant=_refuse, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ManifestError(f"the manifest of {where} is no JSON: {reason}", AGAIN) from error
    if not isinstance(manifest, dict) or manifest.get("format") != schema.FORMAT:
        raise AbiError(
            f"{where} holds a manifest of another format than {schema.FORMAT}",
            "compile the model again with this version of tvm_mobilenet",
        )
    try:
        checker(schema.Manifest)(manifest)
    except SchemaError as error:
        place = error.place.removeprefix(".")
        problem = f"{place}: {error.what}" if place else error.what
        raise ManifestError(f"the manifest of {where} is not one: {problem}", AGAIN) from error
    if problem := next(problems(manifest), ""):
        raise ManifestError(f"the manifest of {where} contradicts itself: {problem}", AGAIN)
    return manifest


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice in one object")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is beyond floating-point numbers")
    return number

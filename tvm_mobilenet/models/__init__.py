"""Networks as data: layers, shapes, MACs and weights, without TVM.

``spec`` describes any network and ``mobilenet_v1`` to ``mobilenet_v3`` one family each.
``weights`` makes, reads and writes parameters. ``onnx_export`` writes a network as an ONNX file,
``importer`` reads one. ``network`` is a model together with its weights.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tvm_mobilenet.errors import InvalidModelError, UnknownModelError
from tvm_mobilenet.models.mobilenet_v1 import mobilenet_v1
from tvm_mobilenet.models.mobilenet_v2 import mobilenet_v2
from tvm_mobilenet.models.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from tvm_mobilenet.models.spec import Model

__all__ = [
    "MODELS",
    "Model",
    "build",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "model_from_manifest",
]

MODELS: dict[str, Callable[..., Model]] = {
    "v1": mobilenet_v1,
    "v2": mobilenet_v2,
    "v3-large": mobilenet_v3_large,
    "v3-small": mobilenet_v3_small,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_small": mobilenet_v3_small,
}
"""Every name that :func:`build` takes, short and long."""


def build(name: str, **options: Any) -> Model:
    """Build the model called `name`.

    Parameters
    ----------
    name : str
        Key of :data:`MODELS`.
    **options
        Keyword arguments of its function, such as ``alpha`` and ``resolution``.

    Raises
    ------
    UnknownModelError
        If there is no model of that name; the message suggests one.
    InvalidModelError
        If an option is unknown, or its value is out of range.
    """
    builder = MODELS.get(name)
    if builder is None:
        raise UnknownModelError(f"unknown model {name!r}", _suggest(str(name), list(MODELS)))
    known = list(inspect.signature(builder).parameters)
    for option in options:
        if option not in known:
            raise InvalidModelError(
                f"model {name!r} has no option {option!r}", _suggest(option, known)
            )
    return builder(**options)


def model_from_manifest(manifest: Mapping[str, Any]) -> Model:
    """Rebuild a model from what :meth:`Model.describe` returned.

    Parameters
    ----------
    manifest : mapping
        ``{"name": str, "options": dict}``.

    Raises
    ------
    UnknownModelError, InvalidModelError
        If it is no such description, or there is no such model.
    """
    name, options = manifest.get("name"), manifest.get("options")
    if not isinstance(name, str) or not isinstance(options, Mapping):
        raise InvalidModelError(
            f"a model description needs a name and options, not {dict(manifest)!r}"
        )
    return build(name, **options)


def _suggest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word.lower().replace("-", "_"), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known)}"

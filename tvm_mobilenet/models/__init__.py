"""Networks as data: layers, shapes, MACs and weights, without TVM.

``spec`` describes any network; ``mobilenet_v1`` to ``mobilenet_v4``, ``efficientnet_lite``,
``mnasnet`` and ``mobileone`` describe one family each.
``weights`` makes, reads and writes parameters. ``onnx_export`` writes a network as an ONNX file,
``importer`` reads one. ``network`` is a model together with its weights.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from tvm_mobilenet.errors import InvalidModelError, UnknownModelError
from tvm_mobilenet.models.efficientnet_lite import efficientnet_lite
from tvm_mobilenet.models.mnasnet import mnasnet
from tvm_mobilenet.models.mobilenet_v1 import mobilenet_v1
from tvm_mobilenet.models.mobilenet_v2 import mobilenet_v2
from tvm_mobilenet.models.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from tvm_mobilenet.models.mobilenet_v4 import mobilenet_v4
from tvm_mobilenet.models.mobileone import mobileone
from tvm_mobilenet.models.spec import Model

__all__ = [
    "MODELS",
    "SHORT_NAMES",
    "Model",
    "build",
    "efficientnet_lite",
    "mnasnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mobilenet_v4",
    "mobileone",
    "model_from_manifest",
]

_BUILDERS: dict[str, Callable[..., Model]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v4_conv_small": partial(mobilenet_v4, "conv-small"),
    "mobilenet_v4_conv_medium": partial(mobilenet_v4, "conv-medium"),
    "mobilenet_v4_conv_large": partial(mobilenet_v4, "conv-large"),
    "efficientnet_lite0": partial(efficientnet_lite, 0),
    "efficientnet_lite1": partial(efficientnet_lite, 1),
    "efficientnet_lite2": partial(efficientnet_lite, 2),
    "efficientnet_lite3": partial(efficientnet_lite, 3),
    "efficientnet_lite4": partial(efficientnet_lite, 4),
    "mnasnet_a1": partial(mnasnet, "a1"),
    "mnasnet_b1": partial(mnasnet, "b1"),
    "mobileone_s0": partial(mobileone, "s0"),
    "mobileone_s1": partial(mobileone, "s1"),
    "mobileone_s2": partial(mobileone, "s2"),
    "mobileone_s3": partial(mobileone, "s3"),
    "mobileone_s4": partial(mobileone, "s4"),
}

SHORT_NAMES = {name.removeprefix("mobilenet_").replace("_", "-"): name for name in _BUILDERS}
"""What people type, such as ``v1`` or ``efficientnet-lite0``, to :attr:`Model.name`."""

MODELS: dict[str, Callable[..., Model]] = {
    **{short: _BUILDERS[name] for short, name in SHORT_NAMES.items()},
    **_BUILDERS,
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
        hint = _suggest(str(name), MODELS, SHORT_NAMES)
        raise UnknownModelError(f"unknown model {name!r}", hint)
    known = list(inspect.signature(builder).parameters)
    for option in options:
        if option not in known:
            raise InvalidModelError(
                f"model {name!r} has no option {option!r}", _suggest(option, known, known)
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


def _suggest(word: str, known: Iterable[str], told: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.lower().replace("-", "_"), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(told)}"

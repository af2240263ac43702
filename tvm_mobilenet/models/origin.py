"""The weights and the ONNX file that an artifact names, found without trusting its manifest.

Whoever passes an artifact on chooses every word of its manifest. Therefore nothing in it causes a
download, and nothing but regular files of this machine is opened, whose hashes have to be those
of the files that were compiled. The caller has to give everything else again.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvm_mobilenet.common.files import sha256_of
from tvm_mobilenet.common.limits import LARGEST_TENSOR
from tvm_mobilenet.errors import InvalidModelError, OnnxFileError, WeightsError
from tvm_mobilenet.models.checkpoints import hub, pretrained

_SEED = re.compile(r"seed:[0-9]{1,18}")


def weights_named(source: str) -> str:
    """Return a source of weights that an artifact names, if it is safe to use.

    Parameters
    ----------
    source : str
        ``weights.source`` of a manifest.

    Returns
    -------
    str
        ``"seed:N"``; ``"pretrained"``, where its file is in the cache; or the absolute path of
        a regular file of this machine.

    Raises
    ------
    WeightsError
        The source is anything else; the message says how to give the weights.
    """
    if _SEED.fullmatch(source) or (source == pretrained.SOURCE and pretrained.is_cached()):
        return source
    if source == pretrained.SOURCE or source.startswith(hub.PREFIX):
        raise WeightsError(
            f"the artifact was compiled with {source!r}, which is not fetched because a file says "
            "so",
            f"if you trust that source, give it yourself: --weights {shlex.quote(source)}, or "
            f"weights={source!r}",
        )
    if not _is_regular(source):
        raise WeightsError(
            f"the artifact was compiled with {source!r}, which is no file of this machine",
            "give the weights that it was compiled with, by --weights or weights=",
        )
    return source


def onnx_named(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the ONNX file that an artifact names, and the sizes that were asked for.

    Parameters
    ----------
    options : mapping
        ``model.options`` of a manifest.

    Returns
    -------
    str
        Absolute path of a regular file with the hash that the manifest states.
    dict
        ``batch``, ``resolution`` and ``input_shape``.

    Raises
    ------
    OnnxFileError
        There is no such file, or its hash is another.
    """
    path = options.get("path")
    if not isinstance(path, str) or not _is_regular(path):
        raise OnnxFileError(
            f"{path!r}, which this artifact was compiled from, is not there",
            "say where it is now, by --model or model=",
        )
    if _sha256(path) != options.get("sha256"):
        raise changed(path)
    return path, asked(options)


def asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes, among an imported model's options, that its file left open.

    Raises
    ------
    OnnxFileError
        They are no sizes.
    """
    found = {name: options.get(name) for name in ("batch", "resolution")}
    shape = options.get("input_shape")  # artifacts of before have none
    sizes = {**found, **{f"input_shape[{i}]": size for i, size in _numbered(shape)}}
    for name, size in sizes.items():
        if size is not None and (type(size) is not int or not 1 <= size <= LARGEST_TENSOR):
            raise OnnxFileError(
                f"the artifact says that {name} of its ONNX file is {size!r}", "compile it again"
            )
    return {**found, "input_shape": shape}


def _numbered(shape: Any) -> list[tuple[int, Any]]:
    if shape is not None and not (isinstance(shape, list) and len(shape) == 4):
        raise OnnxFileError(
            f"the artifact says that input_shape of its ONNX file is {shape!r}", "compile it again"
        )
    return list(enumerate(shape or ()))


def module_wanted(name: str) -> InvalidModelError:
    """Return the error for an artifact of a module, which is in no file that could be named.

    Parameters
    ----------
    name : str
        The model's name: ``"relay"`` or ``"relax"``.
    """
    title = name.capitalize()
    return InvalidModelError(
        f"this artifact was compiled from a {title} module, which is in no file",
        f"give it again in Python: tm.verify(path, model=tm.from_{name}(mod, params))",
    )


def changed(path: str) -> OnnxFileError:
    """Return the error for an ONNX file, or a module, that is not the one compiled."""
    if not os.path.isabs(path):
        return OnnxFileError(
            f"this {path} is not what this artifact was compiled from",
            "give that, or compile again",
        )
    return OnnxFileError(
        f"{path!r} is not the file that this artifact was compiled from, or was changed",
        "give that file by --model or model=, or compile again",
    )


def _is_regular(path: str) -> bool:
    try:
        return os.path.isabs(path) and stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _sha256(path: str) -> str:
    try:
        return sha256_of(Path(path))
    except OSError as error:
        raise OnnxFileError(
            f"cannot read {path!r}: {error.strerror}", "say where it is now, by --model or model="
        ) from error

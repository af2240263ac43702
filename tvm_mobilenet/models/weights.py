"""Parameters of a model: made from a seed, read, written, checked, hashed.

Weights are a plain dictionary from the full parameter name to a float32 array;
:attr:`Model.parameters` says which names and shapes there must be.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.files import written_aside
from tvm_mobilenet.errors import OutputError, WeightsError
from tvm_mobilenet.models.checkpoints import hub, pretrained
from tvm_mobilenet.models.checkpoints.fitting import Trained, Weights, check, fitted
from tvm_mobilenet.models.checkpoints.reading import read_arrays
from tvm_mobilenet.models.initialization import initialize
from tvm_mobilenet.models.origin import weights_named
from tvm_mobilenet.models.spec import Model

__all__ = [
    "FORMATS",
    "SEED",
    "Trained",
    "Weights",
    "digest",
    "from_source",
    "initialize",
    "is_path",
    "load",
    "not_these",
    "of_artifact",
    "prove",
    "save",
    "trained",
    "validate",
]

FORMATS = (".npz", ".safetensors")
"""Suffixes that :func:`save` takes; :func:`load` reads those of
:data:`~tvm_mobilenet.models.checkpoints.reading.READABLE`."""

_HEADER_BYTES = 1 << 12
"""Bytes of an array's header in an archive, and of small arrays beside it, such as counters."""

SEED = "seed:"
"""Prefix of the source of weights that were made, not read: ``"seed:0"``."""


def is_path(source: str) -> bool:
    """Return whether a source of weights is a file's path."""
    return source != pretrained.SOURCE and not source.startswith((SEED, hub.PREFIX))


def from_source(source: str, model: Model) -> Weights:
    """Return the weights that a source names; see :func:`trained`."""
    return trained(source, model).weights


def trained(source: str, model: Model) -> Trained:
    """Find weights, and adapt the model to how they were trained.

    Parameters
    ----------
    source : str
        ``"seed:N"``, ``"pretrained"``, ``"hf-hub:OWNER/NAME"``, or the path of a file.
    model : Model
        The model that the weights must fit.

    Raises
    ------
    WeightsError
        The weights cannot be read or downloaded, do not fit, or there are none for this model.
    """
    if source.startswith(SEED):
        return Trained(initialize(model, _seed(source)), model, {})
    if source.startswith(hub.PREFIX):
        found = hub.fetch(source)
        return fitted(read_arrays(found.path), model, source, found.preprocess)
    path = pretrained.fetch(model) if source == pretrained.SOURCE else source
    return fitted(read_arrays(path, _room(model)), model, os.fspath(path), {})


def _seed(source: str) -> int:
    number = source.removeprefix(SEED)
    if not (number.isascii() and number.isdecimal() and len(number) < 1000):
        raise WeightsError(f"{source[:80]!r} is no seed", "give a whole number, 0 or more")
    return int(number)


def of_artifact(
    manifest: Mapping[str, Any],
    model: Model,
    given: str | os.PathLike[str] | Mapping[str, NDArray[Any]] | None = None,
) -> Weights:
    """Return the weights that an artifact was compiled with; :func:`prove` tells whether they are.

    Parameters
    ----------
    manifest : mapping
        Manifest of the artifact.
    model : Model
        Model of the artifact.
    given : path-like or mapping, optional
        The weights; by default those that the manifest names, within the limits of
        :mod:`tvm_mobilenet.models.origin`.

    Raises
    ------
    WeightsError
        There are no weights.
    """
    if isinstance(given, Mapping):
        return dict(given)
    source = weights_named(str(manifest["weights"]["source"])) if given is None else given
    return from_source(os.fspath(source), model)


def prove(weights: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any]) -> None:
    """Raise WeightsError unless weights are those that an artifact was compiled with."""
    if digest(weights) != manifest["weights"]["sha256"]:
        raise not_these(str(manifest["weights"]["source"]))


def not_these(why: str) -> WeightsError:
    """Return the error for weights that an artifact was not compiled with."""
    return WeightsError(
        f"the weights at hand are not those of the artifact ({why})",
        "pass the file that it was compiled with, by --weights or weights=",
    )


def load(path: str | os.PathLike[str], model: Model) -> Weights:
    """Read the weights of `model`; nothing in the file is executed.

    Parameters
    ----------
    path : path-like
        An ``.npz``, ``.safetensors`` or ``torch.save`` file with our names, torchvision's
        or timm's. Half and double precision are converted to float32.
    model : Model
        The model that they must fit; :func:`trained` also adapts its epsilon and padding.

    Returns
    -------
    dict of str to ndarray
        C-contiguous float32, in the order of ``model.parameters``.

    Raises
    ------
    WeightsError
        If the file is missing, of another format, damaged, holds anything but
        floating-point arrays, or does not fit the model.
    """
    return fitted(read_arrays(path, _room(model)), model, os.fspath(path), {}).weights


def _room(model: Model) -> int:
    """Return the bytes that a file with a model's weights may unpack to.

    Twice what they take in float64, and a header for each: nothing unpacks to that by chance.
    """
    shapes = model.parameters.values()
    return sum(2 * 8 * math.prod(shape) + _HEADER_BYTES for shape in shapes)


def save(weights: Mapping[str, NDArray[Any]], path: str | os.PathLike[str]) -> None:
    """Write weights as float32, the whole file or none of it.

    Parameters
    ----------
    path : path-like
        A path that ends in ``.npz`` or ``.safetensors``.

    Raises
    ------
    OutputError
        If the suffix is another one, or the path cannot be written.
    """
    arrays: dict[str, Any] = {
        name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()
    }
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise OutputError(
            f"{os.fspath(path)!r} is not a known format of weights", f"use {' or '.join(FORMATS)}"
        )
    if suffix == ".npz":
        with written_aside(path) as file:
            np.savez(file, **arrays)
        return
    from safetensors.numpy import save as serialize

    with written_aside(path) as file:
        file.write(serialize(arrays))


def validate(model: Model, weights: Mapping[str, NDArray[Any]], where: str = "weights") -> None:
    """Check that weights fit a model.

    Parameters
    ----------
    where : str
        Name of the weights in the message, such as the file that they came from.

    Raises
    ------
    WeightsError
        A parameter is missing, unexpected, of the wrong shape, not floating-point or not
        finite, or a variance is negative; the message lists all of them.
    """
    check(model.parameters, weights, model.title, where)


def digest(weights: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256, in hexadecimal, of names, shapes and float32 values.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Arrays in any order; they are hashed as little-endian float32 in C order.
    """
    sha = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name], dtype="<f4")
        sha.update(f"{name} {'x'.join(map(str, array.shape))}\n".encode())
        sha.update(array.data)
    return sha.hexdigest()

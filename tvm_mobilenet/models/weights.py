"""Parameters of a model: made from a seed, read, written, checked, hashed.

Weights are a plain dictionary from the full parameter name to a float32 array;
:attr:`Model.parameters` says which names and shapes there must be.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import OutputError, WeightsError
from tvm_mobilenet.models.files import written_aside
from tvm_mobilenet.models.initialization import initialize
from tvm_mobilenet.models.spec import Model

__all__ = [
    "FORMATS",
    "SEED",
    "Weights",
    "digest",
    "from_source",
    "initialize",
    "load",
    "of_artifact",
    "save",
    "validate",
]

Weights = dict[str, NDArray[Any]]
"""Full parameter name to array; float32 wherever this module made it."""

FORMATS = (".npz", ".safetensors")
"""Suffixes that :func:`load` and :func:`save` take."""

_SHOWN = 6

SEED = "seed:"
"""Prefix of the source of weights that were made, not read: ``"seed:0"``."""


def from_source(source: str, model: Model) -> Weights:
    """Return the weights that a source names.

    Parameters
    ----------
    source : str
        ``"seed:N"``, or the path of a file.
    model : Model
        What the weights must fit.

    Raises
    ------
    WeightsError
        As :func:`load`.
    """
    if source.startswith(SEED):
        return initialize(model, int(source.removeprefix(SEED)))
    return load(source, model)


def of_artifact(
    manifest: Mapping[str, Any],
    model: Model,
    given: str | os.PathLike[str] | Mapping[str, NDArray[Any]] | None = None,
) -> Weights:
    """Return the weights that an artifact was compiled with, proved by their hash.

    Parameters
    ----------
    manifest : mapping
        The artifact's.
    model : Model
        The artifact's model.
    given : path-like or mapping, optional
        Where they are; by default where the manifest says.

    Raises
    ------
    WeightsError
        There are none, or they are others.
    """
    source = str(manifest["weights"]["source"])
    if isinstance(given, Mapping):
        found = dict(given)
    else:
        found = from_source(source if given is None else os.fspath(given), model)
    if digest(found) != manifest["weights"]["sha256"]:
        raise WeightsError(
            f"the weights at hand are not those of the artifact ({source})",
            "pass the file that it was compiled with, by --weights or weights=",
        )
    return found


def load(path: str | os.PathLike[str], model: Model) -> Weights:
    """Read the weights of `model`; nothing in the file is executed.

    Parameters
    ----------
    path : path-like
        An ``.npz`` or ``.safetensors`` file. Half and double precision are
        converted to float32.
    model : Model
        What the weights must fit.

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
    where = os.fspath(path)
    suffix = _suffix(where, WeightsError)
    try:
        arrays = _read_npz(where) if suffix == ".npz" else _read_safetensors(where)
    except OSError as error:
        raise WeightsError(f"cannot read {where!r}: {error.strerror or error}") from error
    for name, array in arrays.items():
        if array.dtype not in (np.float16, np.float32, np.float64):
            raise WeightsError(
                f"{where}: {name!r} has dtype {array.dtype}",
                "store weights as float16, float32 or float64",
            )
    with np.errstate(over="ignore"):
        # What overflows float32 becomes infinite, and validate names it.
        weights = {
            name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()
        }
    validate(model, weights, where)
    return {name: weights[name] for name in model.parameters}


def save(weights: Mapping[str, NDArray[Any]], path: str | os.PathLike[str]) -> None:
    """Write weights as float32, the whole file or none of it.

    Parameters
    ----------
    weights : mapping of str to ndarray
        What to write.
    path : path-like
        Ends in ``.npz`` or ``.safetensors``.

    Raises
    ------
    OutputError
        If the suffix is another one, or the path cannot be written.
    """
    arrays: dict[str, Any] = {
        name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()
    }
    if _suffix(os.fspath(path), OutputError) == ".npz":
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
    model : Model
        What they must fit.
    weights : mapping of str to ndarray
        What to check.
    where : str
        What to call them in the message, such as the file they came from.

    Raises
    ------
    WeightsError
        Names every parameter that is missing, unexpected, of the wrong shape,
        not floating-point, not finite, or a negative variance.
    """
    expected = model.parameters
    arrays = {name: np.asarray(weights[name]) for name in expected if name in weights}
    floating = {name: array for name, array in arrays.items() if array.dtype.kind == "f"}
    problems = {
        "missing": [name for name in expected if name not in weights],
        "unexpected": [name for name in weights if name not in expected],
        "wrong shape": [
            f"{name} is {array.shape}, not {expected[name]}"
            for name, array in arrays.items()
            if array.shape != expected[name]
        ],
        "not floating-point": [
            f"{name} is {array.dtype}" for name, array in arrays.items() if name not in floating
        ],
        "not finite": [name for name, array in floating.items() if not np.isfinite(array).all()],
        "negative": [
            name
            for name, array in floating.items()
            if name.endswith(".bn.variance") and np.any(array < 0)
        ],
    }
    found = [f"{problem}: {_list(names)}" for problem, names in problems.items() if names]
    if found:
        raise WeightsError(
            f"{where} do not fit {model.title}: " + "; ".join(found),
            "check that alpha and classes are those the weights were made for",
        )


def digest(weights: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256, in hexadecimal, of names, shapes and float32 values.

    Parameters
    ----------
    weights : mapping of str to ndarray
        In any order; values are hashed as little-endian float32 in C order.
    """
    sha = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name], dtype="<f4")
        sha.update(f"{name} {'x'.join(map(str, array.shape))}\n".encode())
        sha.update(array.data)
    return sha.hexdigest()


def _suffix(path: str, error: type[WeightsError] | type[OutputError]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise error(f"{path!r} is not a known format of weights", f"use {' or '.join(FORMATS)}")
    return suffix


def _read_npz(path: str) -> Weights:
    try:
        # Opened here: np.load leaves a damaged file open when it gives the path up.
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise WeightsError(f"{path!r} holds a single array", "save it with numpy.savez")
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path!r} is no readable .npz without pickle: {error}") from error


def _read_safetensors(path: str) -> Weights:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    # NumPy has no name for bfloat16 and its like, which surfaces as one of the latter two.
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path!r} is no readable .safetensors file of float16, float32 or float64: {error}"
        ) from error


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

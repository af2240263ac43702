"""What an image goes through before a network sees it, as the manifest states it.

A recipe is a dictionary, JSON-able:

=================  ================================================================
``resize``         pixels that the image covers when it is scaled; None squeezes all of it to
                   ``crop``
``crop``           pixels cut from the middle: the network's input
``interpolation``  one of :data:`INTERPOLATIONS`
``channels``       "RGB" or "BGR"
``scale``          by which pixels of 0 to 255 are divided
``mean``, ``std``  three each: subtracted after that, and divided by
``dtype``          NumPy's name of what comes out; float32 where it is not said
=================  ================================================================

``resize`` and ``crop`` are one number for height and width, or a list of the two.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvm_mobilenet.common.limits import LARGEST_RESIZE
from tvm_mobilenet.errors import PreprocessError

__all__ = ["INTERPOLATIONS", "RECIPES", "default_preprocess", "preprocess_for"]

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""Pillow's."""

LARGEST_NUMBER, SMALLEST_DIVISOR = 1e9, 1e-9
"""Limits of scale, mean and std; what divides pixels must not become 0 in float32."""

_WHOLE = "whole"  # instead of a fraction: the image is squeezed, not cut

RECIPES: dict[str, dict[str, Any]] = {
    # Channel statistics of ImageNet's training set on a scale of 0 to 1, and 224 of 256 pixels,
    # as torchvision publishes them with its models.
    "torchvision": {
        "crop_fraction": 0.875,
        "interpolation": "bilinear",
        "channels": "RGB",
        "scale": 255.0,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    # From -1 to 1 (tensorflow/models, slim, inception_preprocessing, for evaluation).
    "tf": {
        "crop_fraction": 0.875,
        "interpolation": "bilinear",
        "channels": "RGB",
        "scale": 255.0,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    },
    # The pixels of the whole image, 0 to 255.
    "none": {
        "crop_fraction": _WHOLE,
        "interpolation": "bilinear",
        "channels": "RGB",
        "scale": 1.0,
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
    },
}
"""What ``--preprocess`` knows by name. ``crop_fraction`` is ``crop`` over ``resize``."""

_KEYS = ("resize", "crop", "dtype", *RECIPES["none"])

_BYTES = {key: RECIPES["none"][key] for key in ("scale", "mean", "std")}
"""What a network that takes bytes is given: it normalises them itself."""


def default_preprocess(resolution: int) -> dict[str, Any]:
    """Return the recipe that ImageNet classifiers are evaluated with, torchvision's.

    Parameters
    ----------
    resolution : int
        Height and width of the model's input, pixels.
    """
    return preprocess_for(resolution)


def preprocess_for(
    size: int | Sequence[int],
    given: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    known: Mapping[str, Any] | None = None,
    *,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Return the recipe of a model.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of its input, pixels.
    given : str, path-like or mapping, optional
        A name in :data:`RECIPES`, or a recipe or a JSON file with one, in which what is not
        said is torchvision's. ``crop_fraction`` may stand for ``resize``.
    known : mapping, optional
        What the weights say of it, where nothing is given.
    dtype : {"float32", "float16", "uint8"}
        What its input is; where that is uint8, pixels stay 0 to 255.

    Raises
    ------
    PreprocessError
        The file cannot be read, a key is unknown, or a value makes no sense.
    """

    def recipe(said: Mapping[str, Any], where: str) -> dict[str, Any]:
        return _recipe(both_sides(size), said, where, dtype)

    if isinstance(given, str) and given in RECIPES:
        return recipe(RECIPES[given], f"preprocessing {given!r}")
    if given is None:
        return recipe(known or {}, "the preprocessing that comes with the weights")
    if isinstance(given, Mapping):
        return recipe(given, "the preprocessing")
    path = Path(given)
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise PreprocessError(
            f"no preprocessing {os.fspath(given)!r}: {error.strerror}",
            f"use {', '.join(RECIPES)}, or the path of a JSON file",
        ) from error
    except (ValueError, RecursionError) as error:
        raise PreprocessError(f"{os.fspath(given)!r} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise PreprocessError(f"{os.fspath(given)!r} holds no JSON object")
    return recipe(found, os.fspath(given))


def bytes_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe for a network that takes bytes and normalises them itself."""
    return {**recipe, **_BYTES, "dtype": "uint8"}


def both_sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width of a ``resize`` or ``crop``."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _recipe(
    size: tuple[int, int], said: Mapping[str, Any], where: str, dtype: str
) -> dict[str, Any]:
    if unknown := sorted(set(said) - set(_KEYS)):
        raise PreprocessError(
            f"{where} has unknown keys: {', '.join(unknown)}", f"known: {', '.join(_KEYS)}"
        )
    base = {**RECIPES["torchvision"], **(_BYTES if dtype == "uint8" else {}), **said}
    fraction = base["crop_fraction"]
    if "resize" in said:
        resize = said["resize"]
    elif fraction == _WHOLE:
        resize = None
    elif _number(fraction) and 1 / LARGEST_RESIZE <= fraction <= 1:
        resize = _one_if_square([round(side / fraction) for side in size])
    else:
        raise PreprocessError(
            f"{where}: crop_fraction must be from 1/{LARGEST_RESIZE} to 1, not {fraction!r}"
        )
    if said.get("dtype", dtype) != dtype:
        raise PreprocessError(f"{where}: dtype must be the model's {dtype}, not {said['dtype']!r}")
    recipe = {
        "resize": resize,
        "crop": said.get("crop", _one_if_square(size)),
        **{key: base[key] for key in ("interpolation", "channels", "scale", "mean", "std")},
        **({} if dtype == "float32" else {"dtype": dtype}),
    }
    _check(recipe, size, where)
    return recipe


def _one_if_square(size: Sequence[int]) -> int | list[int]:
    height, width = size
    return height if height == width else [height, width]


def _check(recipe: Mapping[str, Any], size: tuple[int, int], where: str) -> None:
    resize, crop, wanted = recipe["resize"], recipe["crop"], _one_if_square(size)
    keeps_bytes = all(np.array_equal(recipe[key], value) for key, value in _BYTES.items())
    problems = {
        f"crop must be the model's {wanted}, not {crop!r}": _is_size(crop)
        and crop in (wanted, [*size]),
        f"resize must be null or from {wanted} to {LARGEST_RESIZE} times that, not "
        f"{resize!r}": resize is None or _resizes(resize, size),
        f"interpolation must be one of {', '.join(INTERPOLATIONS)}": recipe["interpolation"]
        in INTERPOLATIONS,
        "channels must be RGB or BGR": recipe["channels"] in ("RGB", "BGR"),
        "scale must be a positive number": _divides(recipe["scale"]),
        "mean must be three numbers": _three(recipe["mean"]),
        "std must be three numbers above 0": _three(recipe["std"])
        and all(map(_divides, recipe["std"])),
        "the network takes bytes, so scale and std must be 1 and mean 0": keeps_bytes
        or recipe.get("dtype") != "uint8",
    }
    if wrong := [problem for problem, fine in problems.items() if not fine]:
        raise PreprocessError(f"{where}: {'; '.join(wrong)}")


def _resizes(resize: Any, size: tuple[int, int]) -> bool:
    """Whether sizes are whole numbers from what is cut out to so many times that."""
    if not _is_size(resize):
        return False
    pairs = zip(both_sides(resize), size, strict=True)
    return all(side <= large <= LARGEST_RESIZE * side for large, side in pairs)


def _is_size(value: Any) -> bool:
    pair = value if isinstance(value, list | tuple) and len(value) == 2 else (value,)
    return all(type(side) is int for side in pair)


def _number(value: Any) -> bool:
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    return whole and abs(value) < LARGEST_NUMBER


def _divides(value: Any) -> bool:
    return _number(value) and bool(value >= SMALLEST_DIVISOR)


def _three(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(map(_number, value))

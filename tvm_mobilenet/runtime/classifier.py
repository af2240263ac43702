"""Whether a network classifies images, and into how many classes."""

from __future__ import annotations

from tvm_mobilenet.common.tables import by_size
from tvm_mobilenet.errors import InputError
from tvm_mobilenet.runtime.described import Described
from tvm_mobilenet.runtime.recipe import both_sides


def classes_of(module: Described) -> int:
    """Return how many classes there are; 0 where the network does not classify."""
    (target, *rest) = module.outputs
    scores = tuple(target["shape"])
    return int(scores[1]) if not rest and len(scores) == 2 else 0


def check_images(module: Described) -> None:
    """Refuse images, as an InputError, for a network that does not classify them."""
    (source, *others), (target, *_) = module.inputs, module.outputs
    crop = both_sides(module.manifest["preprocess"]["crop"])
    shape, scores = tuple(source["shape"]), tuple(target["shape"])
    image = ((3, *crop), (*crop, 3))
    if others or shape[1:] not in image or not classes_of(module):
        raise InputError(
            f"{module.manifest['title']} does not classify images: from "
            f"{by_size(shape)} it makes {by_size(scores)}",
            "give it an .npy or .npz file, or call it from Python, as module(array)",
        )

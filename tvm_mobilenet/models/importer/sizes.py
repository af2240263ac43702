"""The input of an ONNX file: one image or batch of them, its sizes fixed."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.layer import Shape

if TYPE_CHECKING:
    import onnx

    InputShape = Sequence[int] | Mapping[str, Sequence[int]] | str

DTYPES = ("float32", "float16", "uint8")
"""NumPy's names of what an input may be."""
LARGEST_MAP = 2**31
"""Bytes of one tensor of an imported network: what 32-bit positions reach."""


@dataclass(frozen=True)
class Sizes:
    """Sizes for an input whose sizes the file leaves open; None leaves them to the file.

    Attributes
    ----------
    batch : int or None
        Images in a run; 1 if neither the file nor the caller says.
    resolution : int or None
        Height and width in pixels.
    shape : tuple of int or None
        All four sizes instead, in the order of the file.
    name : str or None
        Name of the input that has this shape.
    """

    batch: int | None = None
    resolution: int | None = None
    shape: Shape | None = None
    name: str | None = None


def asked_for(batch: Any, resolution: Any, input_shape: Any) -> Sizes:
    """Return the sizes that a caller asked for.

    Parameters
    ----------
    input_shape : sequence of int, mapping or str, or None
        ``(1, 3, 224, 320)``, ``{"image": (1, 3, 224, 320)}``, ``"image:1,3,224,320"``
        or ``"1,3,224,320"``.

    Raises
    ------
    InvalidModelError
        A size is not a whole number above 0, there are not four of them, or they are given twice.
    """
    if input_shape is None:
        return Sizes(_size("batch", batch), _size("resolution", resolution))
    if batch is not None or resolution is not None:
        raise InvalidModelError(
            "the shape of the input says its batch and its resolution as well",
            "leave --batch and --resolution out, or --input-shape",
        )
    name, told = None, input_shape
    if isinstance(told, str):
        name, _, told = told.rpartition(":")
        told = told.split(",")
    elif isinstance(told, Mapping) and len(told) == 1:
        ((name, told),) = told.items()
    four = not isinstance(told, Mapping) and np.iterable(told) and len(told := [*told]) == 4
    if not four:
        raise InvalidModelError(
            f"an input shape is four sizes, not {input_shape!r}",
            "for example image:1,3,224,320, or 1,3,224,320",
        )
    return Sizes(shape=tuple(_size("a size of the input", size) or 0 for size in told),
                 name=str(name) if name else None)  # fmt: skip


def _size(what: str, given: Any) -> int | None:
    if given is None:
        return None
    try:
        number = int(given) if isinstance(given, str) else operator.index(given)
    except (TypeError, ValueError):
        number = 0
    if number < 1 or isinstance(given, bool):
        raise InvalidModelError(f"{what} must be a whole number above 0, not {given!r}")
    return number


def fix_input(model: onnx.ModelProto, where: str, asked: Sizes) -> None:
    """Fix the shape of the one input; forget every shape that was derived from it.

    Parameters
    ----------
    model : onnx.ModelProto
        The model, which is changed.
    where : str
        Path of the file.

    Raises
    ------
    InvalidModelError
        The input is not one image or a batch of them, or has other sizes than asked for.
    """
    value = _one_input(model, where)
    told = f"the input {value.name!r} of {where!r}"
    dims = value.type.tensor_type.shape.dim
    if len(dims) != 4:
        raise InvalidModelError(
            f"{told} has {len(dims)} dimensions, not 4", "export a model of images: NCHW or NHWC"
        )
    if asked.name not in (None, value.name):
        raise InvalidModelError(f"{told} is not called {asked.name!r}", "leave the name out")
    fixed = [dim.dim_value if dim.dim_value > 0 else None for dim in dims]
    spelled = "x".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims)
    sizes: list[int | None] = [*(asked.shape or _by_batch_and_resolution(where, fixed, asked))]
    for size, wanted in zip(fixed, sizes, strict=True):
        if size is not None and size != wanted:
            raise InvalidModelError(
                f"{told} is {spelled}, not {'x'.join(map(str, sizes))}",
                "export it with that size open, or ask for another",
            )
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        raise InvalidModelError(
            f"{told} has no fixed size: {spelled}",
            "fix height and width with --resolution or --input-shape, or export them fixed",
        )
    if 4 * math.prod(known) > LARGEST_MAP:
        raise InvalidModelError(
            f"{told} has {math.prod(known)} numbers ({'x'.join(map(str, known))}); there may be "
            f"{LARGEST_MAP // 4}",
            "ask for fewer or smaller images",
        )
    for dim, size in zip(dims, known, strict=True):
        dim.Clear()
        dim.dim_value = size
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")


def _one_input(model: onnx.ModelProto, where: str) -> onnx.ValueInfoProto:
    """Return the input that is no weight."""
    from onnx import TensorProto, helper

    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InvalidModelError(
            f"{where!r} has {len(inputs)} inputs ({names}); it should have one, an image",
            "export the model with everything else as constants",
        )
    (value,) = inputs
    kind = value.type.tensor_type.elem_type
    dtypes = {helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) for dtype in DTYPES}
    if kind not in dtypes:
        known_types = {number: dtype for dtype, number in TensorProto.DataType.items()}
        raise InvalidModelError(
            f"the input {value.name!r} of {where!r} is {known_types.get(kind, kind)}, none of "
            f"{', '.join(DTYPES)}",
            "export the model in float32",
        )
    return value


def _by_batch_and_resolution(where: str, fixed: list[int | None], asked: Sizes) -> list[int | None]:
    """Return the sizes of the input, None where nobody says."""
    sizes = [*fixed]
    if sizes[0] is not None and asked.batch not in (None, sizes[0]):
        raise InvalidModelError(
            f"{where!r} is for {sizes[0]} images a run, not {asked.batch}",
            "export it with a dynamic batch dimension",
        )
    sizes[0] = sizes[0] or asked.batch or 1
    for at in (2, 3) if sizes[3] is None or sizes[1] is not None else (1, 2):
        if sizes[at] is not None and asked.resolution not in (None, sizes[at]):
            raise InvalidModelError(
                f"{where!r} is for images of {sizes[at]} pixels, not {asked.resolution}",
                "export it for that resolution, or leave the option out",
            )
        sizes[at] = sizes[at] or asked.resolution
    return sizes

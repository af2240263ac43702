"""What every layer of a network has: names, shapes, multiply-adds, parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tvm_mobilenet.errors import InvalidModelError

Shape = tuple[int, ...]

_STATISTICS = (".bn.mean", ".bn.variance")


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator of a model.

    Parameters
    ----------
    name : str
        Unique in its model; prefix of the names of its parameters.
    inputs : tuple of str
        Producers, by layer name; the input of the model is ``"input"``.
    in_shape : tuple of int
        Shape of the first input, NCHW or NC.

    Raises
    ------
    InvalidModelError
        If a size is not positive, or the layer cannot take `in_shape`.
    """

    name: str
    inputs: tuple[str, ...]
    in_shape: Shape

    rank: ClassVar[int | None] = None
    """Dimensions that `in_shape` must have, where not any number will do."""

    def __post_init__(self) -> None:
        self._require(bool(self.inputs), "has no input")
        self._require(
            all(size > 0 for size in self.in_shape), f"has an empty input {self.in_shape}"
        )
        wanted = len(self.in_shapes)
        self._require(
            len(self.inputs) == wanted, f"has {len(self.inputs)} inputs, and takes {wanted}"
        )
        self._require(
            self.rank in (None, len(self.in_shape)),
            f"takes {self.rank} dimensions, not shape {self.in_shape}",
        )

    @property
    def out_shape(self) -> Shape:
        """Shape of the output, NCHW or NC: that of the first input, if nothing else is said."""
        return self.in_shape

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        """Shapes of all inputs."""
        return (self.in_shape,)

    @property
    def macs(self) -> int:
        """Multiply-adds of one run, all images of the batch together."""
        return 0

    @property
    def parameters(self) -> dict[str, Shape]:
        """Full parameter name to shape, in the order of use."""
        return {}

    @property
    def params(self) -> int:
        """Trainable parameters: weight, bias, batch-norm gamma and beta."""
        return sum(
            math.prod(shape)
            for name, shape in self.parameters.items()
            if not name.endswith(_STATISTICS)
        )

    def _require(self, condition: bool, problem: str) -> None:
        if not condition:
            raise InvalidModelError(f"layer {self.name!r} {problem}")

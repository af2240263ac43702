"""What the families' functions take: options checked, channel counts rounded."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal, SupportsIndex, TypeVar

from tvm_mobilenet.common.limits import LARGEST_TENSOR
from tvm_mobilenet.errors import InvalidModelError

Padding = Literal["same", "symmetric"]

T = TypeVar("T")

_PADDINGS: tuple[Padding | None, ...] = (None, "same", "symmetric")

SMALLEST_RESOLUTION = 32
"""The total stride: from here on every strided layer has a map to halve and the
last one leaves at least a pixel that stands for a whole cell of the image. Below
it, strided layers would see a single pixel among padding."""


LARGEST_ALPHA = 64
"""Beyond, the widest pointwise layer of every family has more weights than TVM can index."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a family's function was asked for, checked.

    Attributes
    ----------
    alpha : Fraction
        Exactly what its decimal text means.
    padding : {"same", "symmetric"} or None
        None for the family's own, as epsilon.
    lacks : tuple of str
        Those that the family's function has no parameter for; they hold what changes nothing.
    """

    alpha: Fraction
    resolution: int
    classes: int
    batch: int
    padding: Padding | None
    epsilon: float | None
    lacks: tuple[str, ...] = ()

    @classmethod
    def checked(  # noqa: PLR0917  those of the families' functions
        cls,
        alpha: Any,
        resolution: Any,
        classes: Any,
        batch: Any,
        padding: Any,
        epsilon: Any,
        *,
        lacks: tuple[str, ...] = (),
    ) -> Options:
        """Check what was asked for.

        Raises
        ------
        InvalidModelError
            An option is of the wrong kind or out of range.
        """
        return cls(
            alpha=exact(alpha),
            resolution=whole("resolution", resolution, SMALLEST_RESOLUTION),
            batch=whole("batch", batch, 1),
            classes=whole("classes", classes, 1),
            padding=_padding(padding),
            epsilon=_epsilon(epsilon),
            lacks=lacks,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, which asks for the same model again."""
        values = asdict(self) | {"alpha": float(self.alpha)}
        return {name: value for name, value in values.items() if name not in (*self.lacks, "lacks")}

    @property
    def text(self) -> str:
        """The width and the resolution as titles have them, such as ``"1.0/224"``."""
        width = "" if "alpha" in self.lacks else f"{float(self.alpha)}/"
        return f"{width}{self.resolution}"


def exact(alpha: Any) -> Fraction:
    """Return a width multiplier as the fraction that its decimal text means.

    Raises
    ------
    InvalidModelError
        If it is no positive number, or above :data:`LARGEST_ALPHA`.
    """
    try:
        near = 0.0 if isinstance(alpha, bool) else float(alpha)
        # Not before it is known to be of a common size: 1e999999999 has as many digits.
        # Through the decimal text: 0.1 means a tenth, not the nearest binary fraction.
        width = Fraction(str(alpha)) if 0 < near <= LARGEST_ALPHA else Fraction(0)
    except (TypeError, ValueError, OverflowError):
        width = Fraction(0)
    if width <= 0:
        raise InvalidModelError(
            f"alpha must be a positive number up to {LARGEST_ALPHA}, not {_shown(alpha)}",
            "use 0.25, 0.5, 0.75 or 1.0",
        )
    return width


def chosen(kind: str, value: Any, known: Mapping[T, Any]) -> T:
    """Return which variant of a family was asked for.

    Raises
    ------
    InvalidModelError
        There is no such one.
    """
    for found in known:
        if value == found and type(value) is type(found):
            return found
    raise InvalidModelError(
        f"there is no {kind} {_shown(value)}", f"known: {', '.join(map(str, known))}"
    )


def divisible(channels: Fraction, divisor: int = 8) -> int:
    """Round a channel count to a multiple of `divisor`, down by a tenth at most.

    As the authors do (tensorflow/models, slim, ``_make_divisible``) and torchvision.
    """
    rounded = max(divisor, int(channels + Fraction(divisor, 2)) // divisor * divisor)
    return rounded + divisor if rounded < Fraction(9, 10) * channels else rounded


def whole(option: str, value: SupportsIndex, smallest: int) -> int:
    """Return an option as an int.

    Raises
    ------
    InvalidModelError
        If it is no whole number, below `smallest`, or beyond what TVM can index.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise InvalidModelError(f"{option} must be a whole number, not {_shown(value)}")
    if number < smallest:
        raise InvalidModelError(
            f"{option} must be at least {smallest}, not {_shown(number)}", f"raise {option}"
        )
    if number > LARGEST_TENSOR:
        raise InvalidModelError(
            f"{option} must be at most {LARGEST_TENSOR}, not {_shown(number)}: TVM's kernels "
            "index with 32 bits",
            f"lower {option}",
        )
    return number


def _shown(value: Any) -> str:
    """Return a value as a message can hold it, however large it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"


def _padding(padding: Any) -> Padding | None:
    for known in _PADDINGS:
        if padding == known:
            return known
    raise InvalidModelError(f"unknown padding {_shown(padding)}", "use 'same' or 'symmetric'")


def _epsilon(epsilon: Any) -> float | None:
    if epsilon is None:
        return None
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon < 1:
        raise InvalidModelError(
            f"epsilon must be a number between 0 and 1, not {_shown(epsilon)}", "use 1e-5 or 1e-3"
        )
    return float(epsilon)

"""What quantising may cost, and which layers stay in float32 for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.quantization.quality import Quality

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Budget:
    """What quantising may cost.

    Attributes
    ----------
    sqnr : float or None
        Least signal-to-quantisation-noise ratio of the logits, dB.
    agreement : float or None
        Least share of inputs whose first class stays, 0 to 1.

    Raises
    ------
    QuantizationError
        If nothing could be measured against a number.
    """

    sqnr: float | None = None
    agreement: float | None = None

    def __post_init__(self) -> None:
        if self.sqnr is not None and self.sqnr != self.sqnr:
            raise QuantizationError("min_sqnr is not a number", "give decibels, such as 20")
        if self.agreement is not None and not 0 <= self.agreement <= 1:
            raise QuantizationError(
                f"min_agreement is {self.agreement}", "give a share of the images, 0 to 1"
            )

    def allows(self, cost: Quality) -> bool:
        """Return whether that is not too much."""
        enough = self.sqnr is None or cost.logits >= self.sqnr
        return enough and (self.agreement is None or cost.agreement >= self.agreement)


def fewest(
    order: Sequence[str], attempt: Callable[[Sequence[str]], T], enough: Callable[[T], bool]
) -> T:
    """Return an attempt that is enough, with the first few of `order`, as few as were found.

    Twice as many each time, until that is enough; then by halves between that and what was not.
    Each number is tried, none is guessed: what is returned is itself enough. Where nothing is,
    the attempt with all.
    """
    count, least = 1, 0
    found = attempt(order[:count])
    while not enough(found) and count < len(order):
        least, count = count, min(2 * count, len(order))
        found = attempt(order[:count])
    if not enough(found):
        return found
    while count - least > 1:
        middle = (least + count) // 2
        tried = attempt(order[:middle])
        if enough(tried):
            count, found = middle, tried
        else:
            least = middle
    return found

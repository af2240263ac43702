"""What is beyond noise becomes a record, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_mobilenet.machine import PRESETS
from tvm_mobilenet.tuning.fusion import Compared, _blocks, records_of

ZEN5 = PRESETS["znver5"]


def compared(gains: list[float], unfused: float = 100e-6) -> Compared:
    """One round for each gain, nine passes each."""
    without = np.full((len(gains), 9), unfused)
    return Compared("tail", "tail_n1", without * (1 - np.array(gains)[:, None]), without)


@pytest.mark.parametrize(
    ("gains", "unfused", "beyond"),
    [
        ([0.03, 0.031, 0.029, 0.03], 100e-6, True),
        ([-0.03, -0.031, -0.029, -0.03], 100e-6, True),
        ([0.03, 0.031, -0.001, 0.03], 100e-6, False),  # one round disagrees
        ([0.001, 0.05, 0.002, 0.001], 100e-6, False),  # they agree by luck
        ([0.018, 0.018, 0.018, 0.018], 100e-6, False),  # too little to matter
        ([0.03, 0.03], 100e-6, False),  # too few rounds to know
        ([0.03, 0.031, 0.029, 0.03], 2e-6, False),  # less than the clock costs
    ],
)
def test_only_what_is_beyond_noise_is_recorded(
    gains: list[float], unfused: float, beyond: bool
) -> None:
    one = compared(gains, unfused)
    assert one.gains == pytest.approx(gains)
    found = records_of([one], ZEN5, 2, 1.23456e-7, "0.27.0")
    assert len(found) == beyond
    for record in found:
        assert record.fused is (gains[0] > 0)
        faster, slower = sorted((float(np.median(one.fused)), unfused))
        assert (record.seconds, record.instead) == pytest.approx((faster, slower), rel=1e-3)
        assert (record.threads, record.repeats, record.error) == (2, 36, 1.235e-7)


def test_shared_kernels_are_compared_with_those_that_they_stand_for() -> None:
    two = [{"layers": [name]} for name in ("conv", "a.dw", "a.pw", "b.dw", "b.pw")]
    shared = {"operator": "separable", "kernel": "separable_n1", "fusion": {"fused": True}}
    one = [{"layers": ["conv"], "operator": "conv", "kernel": "conv_n1"}]
    one += [{**shared, "layers": [f"{block}.dw", f"{block}.pw"]} for block in "ab"]
    found = _blocks(two, one, np.array([[9.0, 1, 2, 3, 6]]), np.array([[9.0, 2, 4]]))
    assert found == {("separable", "separable_n1"): (pytest.approx([3e-6]), pytest.approx([6e-6]))}

"""What compiling decides stays as the committed file says; tests/frozen.py says how to look."""

from __future__ import annotations

import itertools

import frozen
import pytest

CASES = frozen.cases()


def test_every_pair_of_target_and_fusion_is_frozen() -> None:
    """The file has the cases that the code has, and each of them once."""
    assert list(frozen.recorded()) == [frozen.label(case) for case in CASES]
    pairs = {(case.target, case.fusion) for case in CASES}
    assert pairs == set(itertools.product(frozen.TARGETS, frozen.FUSIONS))


# One in five: `make frozen` compares them all, in a minute and a half.
@pytest.mark.parametrize("case", CASES[::5], ids=frozen.label)
def test_decisions(case: frozen.Case, request: pytest.FixtureRequest) -> None:
    now, before = frozen.line(case), frozen.recorded()[frozen.label(case)]
    if request.config.getoption("--update-golden"):
        pytest.skip("written by `python tests/frozen.py --update`, all cases at once")
    assert now == before, f"{frozen.label(case)} decides otherwise; see tests/frozen.py"

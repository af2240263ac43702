"""Boards that fail: when they are left alone, for how long, and what is said of them."""

from __future__ import annotations

from tvm_mobilenet.cli.tuner import boards_text
from tvm_mobilenet.tuning.roster import FAILURES, Roster

ONE, OTHER = "tracker://host:9190/pi (10.0.0.1:9090)", "tracker://host:9190/pi (10.0.0.2:9090)"


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_failures_in_a_row_are_left_alone_for_longer_and_longer() -> None:
    clock = Clock()
    roster = Roster(300.0, many=True, now=clock)
    roster.answered(ONE)
    for _ in range(FAILURES - 1):
        roster.failed(ONE, "lost", grave=False)
    assert roster.alone() == []
    assert roster.serving() == 0
    roster.answered(ONE)  # from now on others count
    for _ in range(FAILURES):
        assert roster.alone() == []
        roster.failed(ONE, "lost", grave=False)
    assert roster.alone() == [ONE]
    for pause in (300, 600, 1200, 2400, 3600, 3600):
        clock.now += pause - 1
        assert roster.alone() == [ONE]
        clock.now += 1
        assert roster.alone() == []
        roster.failed(ONE, "lost", grave=False)
        assert roster.alone() == [ONE]
    roster.answered(ONE)
    assert roster.alone() == []
    roster.failed(ONE, "silent", grave=True)
    assert roster.boards()[0].alone_s == 300.0


def test_the_only_board_is_waited_for() -> None:
    roster = Roster(300.0, many=False)
    for _ in range(9):
        roster.failed("10.0.0.1:9090", "silent", grave=True)
    assert roster.alone() == []
    (board,) = roster.boards()
    assert (board.failures, board.why, board.alone_s) == (9, "silent", 0.0)


def test_what_is_said() -> None:
    clock = Clock()
    roster = Roster(300.0, many=True, now=clock)
    roster.answered(ONE)
    roster.answered(ONE)
    assert boards_text(roster.boards()) == "1 of 1 measure"
    roster.failed(OTHER, "it did not answer", grave=True)
    clock.now += 20
    said = "1 of 2 measure; 10.0.0.2:9090 left alone for 280 s: it did not answer"
    assert boards_text(roster.boards()) == said
    clock.now += 300
    assert boards_text(roster.boards()) == "1 of 2 measure; 10.0.0.2:9090: it did not answer"
    roster.answered(OTHER)
    assert boards_text(roster.boards()) == "2 of 2 measure"
    assert [(board.trials, board.failures) for board in roster.boards()] == [(2, 0), (1, 1)]

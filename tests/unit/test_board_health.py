"""Boards that fail: when they are left alone, for how long, and what is said of them."""

from __future__ import annotations

from tvm_mobilenet.cli.tuner import boards_text
from tvm_mobilenet.tuning.board_health import FAILURES, BoardHealth

ONE, OTHER = "tracker://host:9190/pi (10.0.0.1:9090)", "tracker://host:9190/pi (10.0.0.2:9090)"


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_failures_in_a_row_are_left_alone_for_longer_and_longer() -> None:
    clock = Clock()
    health = BoardHealth(300.0, many=True, now=clock)
    health.answered(ONE)
    for _ in range(FAILURES - 1):
        health.failed(ONE, "lost", grave=False)
    assert health.alone() == []
    assert health.serving() == 0
    health.answered(ONE)  # from now on others count
    for _ in range(FAILURES):
        assert health.alone() == []
        health.failed(ONE, "lost", grave=False)
    assert health.alone() == [ONE]
    for pause in (300, 600, 1200, 2400, 3600, 3600):
        clock.now += pause - 1
        assert health.alone() == [ONE]
        clock.now += 1
        assert health.alone() == []
        health.failed(ONE, "lost", grave=False)
        assert health.alone() == [ONE]
    health.answered(ONE)
    assert health.alone() == []
    health.failed(ONE, "silent", grave=True)
    assert health.boards()[0].alone_s == 300.0


def test_the_only_board_is_waited_for() -> None:
    health = BoardHealth(300.0, many=False)
    for _ in range(9):
        health.failed("10.0.0.1:9090", "silent", grave=True)
    assert health.alone() == []
    (board,) = health.boards()
    assert (board.failures, board.why, board.alone_s) == (9, "silent", 0.0)


def test_what_is_said() -> None:
    clock = Clock()
    health = BoardHealth(300.0, many=True, now=clock)
    health.answered(ONE)
    health.answered(ONE)
    assert boards_text(health.boards()) == "1 of 1 measure"
    health.failed(OTHER, "it did not answer", grave=True)
    clock.now += 20
    said = "1 of 2 measure; 10.0.0.2:9090 left alone for 280 s: it did not answer"
    assert boards_text(health.boards()) == said
    clock.now += 300
    assert boards_text(health.boards()) == "1 of 2 measure; 10.0.0.2:9090: it did not answer"
    health.answered(OTHER)
    assert boards_text(health.boards()) == "2 of 2 measure"
    assert [(board.trials, board.failures) for board in health.boards()] == [(2, 0), (1, 1)]

"""A choice is answered by the rule, by a record, or at random; nothing is answered wrongly."""

from __future__ import annotations

import pytest
from not_a_number import works
from tvm_mobilenet.schedules.knobs import KnobError, Knobs, SeededKnobs
from tvm_mobilenet.schedules.tensorir.rules import CPU, schedule

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.errors import TvmMobilenetError
from tvm_mobilenet.machine import PRESETS
from tvm_mobilenet.operators.workload import WORKLOAD


def test_the_rule_answers_where_no_record_does() -> None:
    knobs = Knobs()
    assert knobs.choice("pixels", range(1, 15), 7) == 7
    assert knobs.choice("order", ["m", "n"], "n") == "n"
    assert knobs.source == "rule"
    assert knobs.chosen == {"pixels": 7, "order": "n"}
    knobs.finish()


def test_a_record_answers_and_the_rule_fills_in() -> None:
    knobs = Knobs({"pixels": 3})
    assert knobs.choice("pixels", range(1, 15), 7) == 3
    assert knobs.choice("vectors", [1, 2], 2) == 2
    assert knobs.source == "record"
    knobs.finish()


def test_a_value_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(KnobError, match=r"'pixels' is 99, but the schedule allows \[1, 2, 3\]"):
        Knobs({"pixels": 99}).choice("pixels", [1, 2, 3], 1)
    with pytest.raises(TvmMobilenetError, match="tune again"):
        Knobs({"order": 1}).choice("order", ["m", "n"], "m")


def test_a_knob_that_nobody_asked_for_is_refused() -> None:
    knobs = Knobs({"pixels": 1, "tile_q": 4, "unroll": 2})
    knobs.choice("pixels", [1, 2], 2)
    with pytest.raises(KnobError, match="has no knob 'tile_q', 'unroll'"):
        knobs.finish()


def test_seeds_repeat_and_differ() -> None:
    def draw(seed: int) -> list[int]:
        knobs = SeededKnobs(seed)
        return [knobs.choice(f"k{i}", range(100), 0) for i in range(8)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert SeededKnobs(1).source == "random"


def test_every_answer_is_drawn_sometime() -> None:
    drawn = {SeededKnobs(seed).choice("x", ["a", "b", "c"], "a") for seed in range(50)}
    assert drawn == {"a", "b", "c"}


WORKS = {work.operator: work for work in works(PRESETS["znver5"].lanes).values()}


@pytest.mark.parametrize("operator", list(CPU))
def test_a_schedule_refuses_records_of_another_version(operator: str) -> None:
    target = PRESETS["znver5"]
    with pytest.raises(KnobError, match="has no knob 'no_such_knob'"):
        schedule(prim_func(WORKS[operator]), target, Knobs({"no_such_knob": 1}))
    with pytest.raises(KnobError, match="'threads' is 'several'"):
        schedule(prim_func(WORKS[operator]), target, Knobs({"threads": "several"}))


@pytest.mark.parametrize("operator", list(CPU))
def test_schedules_say_who_they_are_and_what_they_chose(operator: str) -> None:
    knobs = Knobs()
    done = schedule(prim_func(WORKS[operator]), PRESETS["znver5"], knobs)
    assert done is not None
    assert done.schedule == f"cpu.{operator}"
    assert knobs.chosen["threads"] in ("all", "one")


def test_nobody_schedules_what_is_not_ours() -> None:
    stranger = prim_func(WORKS["pool"]).without_attr(WORKLOAD)
    assert schedule(stranger, PRESETS["znver5"], Knobs()) is None

"""What is tried next, and by whom: allowed, new, and where it promises most."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernels import workload
from tvm_mobilenet.schedules.knobs import Knobs, NearestKnobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet import machine as target
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.tuning.cost_model import LEAST, CostModel
from tvm_mobilenet.tuning.finals import choose
from tvm_mobilenet.tuning.local_measurer import LocalMeasurer
from tvm_mobilenet.tuning.proposer import Seen
from tvm_mobilenet.tuning.records import target_key
from tvm_mobilenet.tuning.sharing import Prospect, share_out
from tvm_mobilenet.tuning.space import Space, identity
from tvm_mobilenet.tuning.status import Status
from tvm_mobilenet.tuning.store import Store
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.template import TemplateProposer
from tvm_mobilenet.tuning.trials import Final, History, Trial, comparable, control_of, read_history
from tvm_mobilenet.tuning.tuner import Tuner

SPEC = target.parse("x86-64-v4", cores=2)
WORK = workload("pointwise", (64, 64), (14, 14), 16)
NONE = CostModel([])
FACTS: dict[str, Any] = {
    "operator": "pointwise", "workload": WORK.key, "target": "t", "threads": 2,
    "tuner": "template", "machine": "m", "date": "2026-01-01", "tvm": "0.27",
}  # fmt: skip


def proposer(work: Any = WORK) -> TemplateProposer:
    return TemplateProposer(Space(work, SPEC), random.Random(0))


def seen(ranked: Sequence[Mapping[str, int | str]], model: CostModel = NONE) -> Seen:
    """These ran, each slower than the one before."""
    return Seen([(knobs, 1e-6 * (at + 1)) for at, knobs in enumerate(ranked)], lambda: model)


def test_proposals_are_allowed_new_and_begin_with_the_rule() -> None:
    one = proposer()
    by_rule = Knobs()
    schedule(prim_func(WORK), SPEC, by_rule)
    ranked: list[Mapping[str, int | str]] = []
    known = set()
    for number in range(6):
        found = one.propose(8, seen(ranked))
        assert len(found) == 8
        if number == 0:
            assert found[0] == by_rule.chosen
        for one_of in found:
            assert identity(one_of) not in known
            known.add(identity(one_of))
            again = Knobs(one_of)  # refuses what the schedule does not allow
            assert schedule(prim_func(WORK), SPEC, again) is not None
            assert again.chosen == one_of
        ranked = [*found, *ranked]
    assert len(one.known) == 48


def test_a_candidate_of_an_earlier_run_is_not_proposed_again() -> None:
    everything = proposer(workload("pool", (64, 64), (7, 7), 16))
    found = everything.propose(8, seen([]))
    assert [sorted(k.values()) for k in found] in ([["one"], ["all"]], [["all"], ["one"]])
    assert everything.propose(8, seen(found)) == []
    assert everything.exhausted
    later = proposer(workload("pool", (64, 64), (7, 7), 16))
    later.known.update(map(identity, found))
    assert later.propose(8, seen([])) == []


def test_a_wish_that_is_not_allowed_becomes_the_nearest_that_is() -> None:
    wished = NearestKnobs({"vectors": 3, "pixels": 1000, "prefetch": "everything"})
    schedule(prim_func(WORK), SPEC, wished)
    by_rule = Knobs()
    schedule(prim_func(WORK), SPEC, by_rule)
    assert wished.chosen["vectors"] in (2, 4)
    largest = int(wished.chosen["pixels"])
    assert schedule(prim_func(WORK), SPEC, Knobs(wished.chosen))
    refused = NearestKnobs({**wished.chosen, "pixels": largest + 1})
    schedule(prim_func(WORK), SPEC, refused)
    assert refused.chosen["pixels"] == largest
    assert wished.chosen["prefetch"] == by_rule.chosen["prefetch"]


def test_the_model_learns_what_is_fast_and_proposals_follow_it() -> None:
    rng = random.Random(1)
    space = Space(WORK, SPEC)
    sampled = [k for k in (space.sample(rng) for _ in range(120)) if k]
    examples = [(WORK.key, k, 0.5 if k["prefetch"] == "input" else 1.0) for k in sampled]
    assert not CostModel(examples[: LEAST - 1]).knows
    model = CostModel(examples)
    assert model.knows
    guesses = model.guess(WORK.key, [{**sampled[0], "prefetch": p} for p in ("input", "none")])
    assert guesses[0] < guesses[1]
    # Of another size of the operator too: that is what reuse of old records means.
    other = workload("pointwise", (128, 128), (28, 28), 16).key
    guesses = model.guess(other, [{**sampled[0], "prefetch": p} for p in ("input", "none")])
    assert guesses[0] < guesses[1]
    found = proposer().propose(20, seen(sampled[:8], model))
    assert sum(k["prefetch"] == "input" for k in found) >= 12


def test_the_model_of_a_run_has_learnt_from_the_history_of_its_target(tmp_path: Path) -> None:
    """What another network's kernel of the same operator took, in a run before."""
    rng = random.Random(1)
    space = Space(WORK, SPEC)
    sampled = {identity(k): k for k in (space.sample(rng) for _ in range(60)) if k}
    facts = {**FACTS, "target": target_key(SPEC), "outcome": "ok", "control": 1e-3, "repeats": 9}
    seconds = {True: 1e-4, False: 2e-4}
    trials = [
        Trial(**facts, knobs=k, seconds=seconds[k["prefetch"] == "input"], spread=0.0, error=0.0)
        for k in sampled.values()
    ]
    other = workload("pointwise", (128, 128), (28, 28), 16)
    models: list[CostModel] = []

    def propose(count: int, seen: Seen) -> list[Any]:
        models.append(seen.model())
        return [space.rule]

    with Store(tmp_path).writing() as writer:
        history = History(tuple(trials), {}, ())
        measurer = LocalMeasurer(SPEC, settings := Settings(5))
        tuner = Tuner({other.key: (other, 1)}, SPEC, history, writer, settings, measurer)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(TemplateProposer, "propose", lambda self, *asked: propose(*asked))
            assert len(tuner._proposals(1)) == 1
    guesses = models[0].guess(
        other.key, [{**space.rule, "prefetch": prefetch} for prefetch in ("input", "none")]
    )
    assert guesses[0] < guesses[1] - 0.3


def test_a_failed_candidate_counts_as_slow() -> None:
    fast = [(WORK.key, {"pixels": n, "threads": "one"}, 1.0) for n in range(30)]
    dead = [(WORK.key, {"pixels": n, "threads": "all"}, None) for n in range(30)]
    model = CostModel([*fast, *dead])
    one, both = model.guess(WORK.key, [{"pixels": 5, "threads": t} for t in ("one", "all")])
    assert both > one + 1


def test_trials_go_first_to_everybody_and_then_where_the_network_spends_its_time() -> None:
    fresh = {name: Prospect(1, 1e-6, ()) for name in "abc"}
    assert share_out(3, fresh) == {"a": 1, "b": 1, "c": 1}
    tried = {
        "dear": Prospect(5, 10e-6, (20e-6,)),
        "cheap": Prospect(1, 1e-6, (2e-6,)),
        "perfect": Prospect(50, 10e-6, (10e-6,)),
    }
    shares = share_out(60, tried)
    assert sum(shares.values()) == 60
    assert shares["dear"] > 4 * shares.get("cheap", 0)
    assert shares["dear"] > 2 * shares.get("perfect", 0)
    # What gains is worth going on with; what failed throughout is not hammered.
    gaining = Prospect(1, 1e-6, (9e-6,) * 20 + (5e-6,))
    stuck = Prospect(1, 1e-6, (5e-6,) * 21)
    assert gaining.gain() > 1.5 * stuck.gain()
    assert Prospect(1, 1e-6, (float("inf"),) * 5).gain() < stuck.gain()
    assert share_out(5, {}) == {}


def test_the_history_survives_damage_and_keeps_to_its_target(tmp_path: Path) -> None:
    ok = Trial(
        **FACTS, knobs={"pixels": 7}, outcome="ok", seconds=1e-4, control=2e-3, repeats=9,
        spread=0.01, error=1e-7,
    )  # fmt: skip
    dead = Trial(**FACTS, knobs={"pixels": 8}, outcome="crashed", note="Segmentation fault")
    elsewhere = Trial(**{**FACTS, "threads": 1}, knobs={"pixels": 9}, outcome="hung")
    final = Final(
        workload=WORK.key, target="t", threads=2, candidates=[ok.knobs, {"pixels": 5}],
        seconds=[1e-4, 9e-5], chosen=1,
    )  # fmt: skip
    lines = [
        ok.to_line(), b"garbage", dead.to_line()[:50], elsewhere.to_line(), dead.to_line(),
        ok.to_line().replace(b'"version": 1', b'"version": 2'), final.to_line(),
        final.to_line().replace(b'"chosen": 1', b'"chosen": 7'), b"[1]",
        ok.to_line().replace(b'"ok"', b'"fine"'), json.dumps({"version": 1}).encode(),
    ]  # fmt: skip
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    history = read_history(path, "t", 2)
    assert history.trials == (ok, dead)
    assert history.finals == {WORK.key: final}
    assert [damage.line for damage in history.damaged] == [2, 3, 6, 8, 9, 10, 11]
    assert "line 2: the line is no JSON; skipped" in str(history.damaged[0])
    assert "of version 2" in history.damaged[2].why
    assert read_history(tmp_path / "none", "t", 2).trials == ()


def test_a_slower_clock_is_not_taken_for_slower_code() -> None:
    def trial(seconds: float, control: float) -> Trial:
        return Trial(
            **FACTS, knobs={}, outcome="ok", seconds=seconds, control=control, repeats=9,
            spread=0.0, error=0.0,
        )  # fmt: skip

    trials = [trial(1e-4, 1e-3), trial(1.0e-4, 1e-3), trial(1.5e-4, 1.5e-3)]
    control = control_of(trials)
    assert control == 1e-3
    assert comparable(trials[2], control) == pytest.approx(1e-4)
    assert comparable(trials[0], control) == pytest.approx(1e-4)
    assert control_of([]) == 0


def test_the_luckiest_does_not_replace_the_rule() -> None:
    rng = np.random.default_rng(0)
    noise = 1 + 0.05 * rng.standard_normal((4, 25))
    assert choose(1e-4 * noise) == 0
    faster = noise.copy()
    faster[2] *= 0.85
    assert choose(1e-4 * faster) == 2
    # Certainly faster, and by too little to matter in another build.
    exact = np.ones((2, 25))
    exact[1] = 0.995
    assert choose(exact) == 0


def test_a_status_counts_and_extrapolates() -> None:
    status = Status(30, 90, 20, 2e-3, 1e-3, 5e-4, {"hung": 1}, 40.0, 10.0, 20.0)
    assert status.rate == 0.5
    assert status.left_s == 120
    assert status.busy == 0.75
    assert Status(0, 9, 0, 0, 0, 0, {}, 0, 0, 0).left_s == 0

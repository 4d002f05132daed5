"""Strategies in the round loop: k of n sites are asked, and nothing is forgotten in a crash."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
from breaking_off import Death, Folder, Keeping, Killed
from builders import study_table
from standins import DECLARED, NAMES

from server import checkpoint, roster
from server.draw import drawn
from server.roster import Patience
from server.strategy import StrategyBroken
from tasks.strategy import STRATEGIES, StrategySpec
from tasks.study import Study

PATIENT = Patience(sites=4, seconds=3, again=0.02)
MANY = [f"site-{number}" for number in range(12)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(roster, "LOOK_SECONDS", 0.05)


def draw(round: int, names=MANY, *, most: int | None = 4, seed: int = 3, **keys) -> list[str]:
    return drawn(names, most=most, seed=seed, round=round, **keys)


def test_the_draw_rests_on_seed_round_and_names_alone():
    assert draw(5) == draw(5, list(reversed(MANY))) == sorted(draw(5))
    assert len(set(draw(5))) == 4
    assert draw(5) != draw(6)
    assert draw(5) != draw(5, seed=4)
    assert draw(5, most=None) == draw(5, most=99) == sorted(MANY)


def test_everybody_comes_as_often_as_everybody_else():
    times = Counter(name for number in range(3000) for name in draw(number))
    assert times.keys() == set(MANY)
    # Binomial, 3000 times one third: 1000 with a deviation of 26.
    assert all(abs(often - 1000) < 5 * 26 for often in times.values())


def test_where_one_goes_the_others_stay_drawn():
    for number in range(50):
        for gone in MANY:
            rest = draw(number, [name for name in MANY if name != gone])
            assert set(draw(number)) - {gone} <= set(rest)


def test_who_was_asked_before_a_crash_is_asked_again_first():
    asked = [name for name in MANY if name not in draw(7)][:2]
    again = draw(7, asked=asked)
    assert set(asked) < set(again)
    assert len(again) == 4
    assert draw(7, asked=MANY[:6]) == sorted(MANY[:6])  # more were asked, because some were silent


def test_others_are_asked_in_place_of_those_who_do_not_answer():
    asked = draw(7)
    others = draw(7, [name for name in MANY if name != asked[0]], asked=asked, good=1, again=True)
    assert len(others) == 3
    assert not set(others) & set(asked)
    few = draw(7, asked[1:], asked=asked, good=1, again=True)
    assert few == asked[1:]  # nobody else is there


def study_of(*, rounds: int = 6, private: bool = False, **strategy: object) -> Study:
    table = {"kind": "fedavg", "minimum_sites": 2, "sites_per_round": 2, **strategy}
    # Calibrating noise takes longer than all of a run.
    off = {} if private else {"privacy": {"kind": "off"}}
    return Study.parse_table(study_table(rounds=rounds, strategy=table, **off), where="few")


@pytest.fixture
def folder(tmp_path) -> Folder:
    study = study_of()
    return Folder(study, tmp_path, Keeping(study))


def test_a_round_asks_and_charges_those_drawn_and_the_end_asks_everybody(folder):
    weights = folder.run()
    expected = [draw(number, NAMES, most=2) for number in range(1, 7)]
    assert [event["sites"] for event in folder.events("asked")] == expected
    assert len({tuple(names) for names in expected}) > 2
    assert folder.sites.charged == Counter(
        (name, number) for number, names in enumerate(expected, 1) for name in names
    )
    assert {name for name, kind, _ in folder.sites.asked if kind == "evaluate"} == set(NAMES)
    last = expected[-1]
    mean = sum(DECLARED[name] * (NAMES.index(name) + 6) for name in last)
    for value in weights.values():
        np.testing.assert_allclose(value, mean / sum(DECLARED[n] for n in last), rtol=1e-6)


def test_metrics_are_those_of_the_sites_asked_and_epsilon_is_what_each_was_charged(tmp_path):
    study = study_of(rounds=3, private=True)
    folder = Folder(study, tmp_path, Keeping(study))
    folder.run()
    rounds = folder.events("round")
    asked = [event["sites"] for event in folder.events("asked")]
    assert [sorted(event["sites"]) for event in rounds] == [*asked, sorted(NAMES)]
    times = Counter(name for names in asked for name in names)
    spent = rounds[-1]["epsilons"]
    for one in NAMES:
        for other in NAMES:
            assert (times[one] < times[other]) <= (spent[one] < spent[other])
    assert min(spent.values()) < max(spent.values()) < 8  # what one asked in each round would have


def test_who_is_silent_is_replaced_by_others(folder):
    first = draw(1, NAMES, most=2)
    folder.sites.fails = {(first[0], 1): 9}
    folder.run(PATIENT)
    asked = [event["sites"] for event in folder.events("asked") if event["round"] == 1]
    assert asked[0] == first
    assert len(asked[1]) == 1
    assert not set(asked[1]) & set(first)
    assert folder.sites.charged[first[0], 1] == 1


@pytest.mark.parametrize("write", [13, 18, 40], ids=str)
def test_a_killed_study_asks_the_same_sites_again(folder, tmp_path, monkeypatch, write):
    expected = folder.run()
    study = folder.study
    killed = Folder(study, tmp_path / "killed", Keeping(study))
    with monkeypatch.context() as patch:
        Death(patch, write, before=True)
        with pytest.raises(Killed):
            killed.run()
    weights = killed.run()
    assert killed.sites.charged == folder.sites.charged
    for name, value in expected.items():
        assert weights[name].tobytes() == value.tobytes()


# What strategies keep from round to round


@pytest.mark.parametrize("kind", ["fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_a_study_killed_in_each_round_has_the_weights_of_one_that_was_not(
    kind, tmp_path, monkeypatch
):
    study = study_of(kind=kind, sites_per_round=3, rounds=4)
    whole = Folder(study, tmp_path / "whole", Keeping(study))
    expected = whole.run()
    folder = Folder(study, tmp_path / "killed", Keeping(study))
    for number in range(1, 5):
        after = f"round-{number:05d}.safetensors"
        with monkeypatch.context() as patch:
            _die_after(patch, after)
            with pytest.raises(Killed):
                folder.run()
    weights = folder.run()
    for name, value in expected.items():
        assert weights[name].tobytes() == value.tobytes()
    assert set(folder.sites.charged.values()) == {1}


def _die_after(patch, name: str) -> None:
    write = checkpoint._write

    def wrapper(path, *rest):
        write(path, *rest)
        if path.name == name:
            raise Killed

    patch.setattr(checkpoint, "_write", wrapper)


@pytest.mark.parametrize(
    ("keys", "said", "asked"),
    [
        ({"server_learning_rate": 1e7}, "made weights beyond", 1),
        ({"kind": "silent"}, "needs a method aggregate", 0),
    ],
    ids=["runs away", "does nothing"],
)
def test_a_broken_strategy_ends_the_study_and_says_why(keys, said, asked, tmp_path, monkeypatch):
    monkeypatch.setitem(STRATEGIES._ours, "silent", Silent)
    study = study_of(**keys)
    folder = Folder(study, tmp_path, Keeping(study))
    with pytest.raises(StrategyBroken, match=said):
        folder.run()
    (end,) = folder.events("end")
    assert said in end["reason"]
    assert len(folder.events("asked")) == asked


class Silent(StrategySpec):
    """Says not what it does."""

    kind: ClassVar[str] = "silent"

"""Strategies of other packages: one method on plain arrays, and what it returns is remembered."""

from __future__ import annotations

from importlib import metadata
from typing import ClassVar

import numpy as np
import pytest
from builders import study_table
from sent_updates import release, start

from server import strategy as strategies
from server.strategy import StrategyBroken
from tasks.strategy import STRATEGIES, Arrays, StrategySpec
from tasks.study import Study


class Slow(StrategySpec):
    """Goes a share of the way that shrinks from round to round, and remembers how far it went."""

    kind: ClassVar[str] = "slow"
    share: float = 0.5

    def aggregate(self, updates, *, round, weights, state) -> tuple[Arrays, Arrays]:
        went = state.get("went", np.zeros(1))
        after = {
            name: value + self.share**round * (updates[0].weights[name] - value)
            for name, value in weights.items()
        }
        return after, {"went": went + self.share**round}


class Silent(StrategySpec):
    """Says not what it does."""

    kind: ClassVar[str] = "silent"


class Other(Slow):
    """Makes weights of another shape."""

    kind: ClassVar[str] = "other"

    def aggregate(self, updates, **_) -> tuple[Arrays, Arrays]:
        return {"a": np.zeros(9)}, {}


@pytest.fixture
def installed(monkeypatch) -> None:
    """Two kinds as another package's entry points."""
    group = "fedward.strategies"
    points = [
        metadata.EntryPoint(cls.kind, f"{__name__}:{cls.__name__}", group) for cls in (Slow, Silent)
    ]
    classes = {cls.kind: cls for cls in (Slow, Silent)}
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda point: classes[point.name])
    found = {group: points}
    monkeypatch.setattr("privacy.spec.entry_points", lambda group: found.get(group, []))


def test_a_strategy_of_another_package_aggregates_and_remembers(installed):
    study = Study.parse_table(study_table(strategy={"kind": "slow", "share": 0.25}), where="x")
    assert Study.received(study.canonical()).strategy == Slow(share=0.25)
    weights, state = {"a": np.float32([8.0])}, {}
    for number, expected in ((1, 6.0), (2, 5.625)):
        came = [release(site, {"a": [value]}, 9) for site, value in ((2, 99), (1, 0))]
        weights, state = strategies.aggregate(
            study.strategy, came, round=number, weights=weights, state=state
        )
        assert weights["a"] == [expected]
        assert weights["a"].dtype == np.float32
    assert state["went"] == [0.3125]


def test_a_kind_that_says_not_what_it_does_is_named(installed):
    with pytest.raises(StrategyBroken, match=r"'silent' names: .*Silent needs a method aggregate"):
        strategies.check(STRATEGIES.parse({"kind": "silent"}))
    strategies.check(STRATEGIES.parse({"kind": "slow"}))


def test_weights_of_another_study_are_refused():
    with pytest.raises(StrategyBroken, match="other names or shapes"):
        strategies.aggregate(
            Other(), [release(1, {"a": [1]}, 9)], round=1, weights=start(), state={}
        )

"""Numbers that cannot be true together are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from privacy.release import Tally
from tasks import tallies
from tasks.plausible import implausible
from tasks.rollup import rollups

OUTPUTS, STAYS = 4, 30


def honest(seed: int = 0, stays: int = STAYS) -> dict[str, Tally]:
    numbers = np.random.default_rng(seed)
    logits = numbers.normal(0, 3, (stays, OUTPUTS)).astype(np.float32)
    truth = np.eye(OUTPUTS, dtype=bool)[numbers.integers(0, OUTPUTS, stays)]
    (of,) = rollups({"pairs": ("a", "a", "b", "b")})
    found = [
        *tallies.tune_tallies(logits, truth, patients=stays),
        *tallies.heldout_tallies(
            logits,
            truth,
            patients=stays,
            shown=np.array([True, True, True, False]),
            exclusive=True,
            levels=[(of, np.array([True, True]))],
        ),
    ]
    return dict(tallies.by_name(found))


@pytest.mark.parametrize("stays", [0, 1, STAYS])
def test_what_was_counted_is_plausible(stays):
    assert implausible(honest(stays=stays)) is None
    assert implausible({}) is None


CHANGES: dict[str, Any] = {
    "tune/labels": lambda sums: sums.__setitem__((1, 0, 7), sums[1, 0, 7] + 1),
    "heldout/labels": lambda sums: sums.__setitem__((0, 0, 900), sums[0, 0, 900] + 1),
    "heldout/scores": lambda sums: sums.__setitem__((1, 900), sums[1, 900] + 1),
    "heldout/ranks": lambda sums: sums.__setitem__(0, sums[1] + 0.5),
    "heldout/tops": lambda sums: sums.__setitem__(5, STAYS + 1.0),
    "heldout/sets": lambda sums: sums.__setitem__((1, 3), STAYS + 1.0),
    "heldout/confusion": lambda sums: sums.__setitem__((0, 1), sums[0, 1] + 1),
    "heldout/pairs/labels": lambda sums: sums.__setitem__((0, 1, 900), sums[0, 1, 900] + 1),
    "heldout/pairs/ranks": lambda sums: sums.__setitem__(2, sums[3] + 1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_number_that_does_not_go_with_the_others_is_found(name):
    found = honest()
    CHANGES[name](found[name].sums)
    assert implausible(found) is not None


def test_fewer_hits_among_more_outputs_are_found():
    found = honest()
    found["heldout/tops"].sums[3] -= 0.5
    assert implausible(found) == (
        "heldout/tops: more hits than coded stays, or fewer among more outputs"
    )


def test_an_output_with_other_stays_than_the_rest_is_found():
    found = honest()
    labels = found["heldout/labels"].sums
    labels[0, 0, 900] += 1
    labels[0, 1, np.flatnonzero(labels[0, 1])[0]] -= 1
    found.pop("heldout/scores")
    assert "other stays" in (implausible(found) or "")

"""Asking a site again is free only where the first answer was kept, and then nothing is new."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from builders import study_table
from ledgers import equal
from ready_sites import Ready, charges, events

from client import local
from privacy.errors import BudgetExhausted, StudyRefused
from privacy.ledger import Ledger
from tasks.study import Study


@pytest.fixture
def strict(study, prepare) -> Ready:
    """A site that is charged for no more rounds than the study has, but could pay for more."""
    return prepare(study, lifetime={"epsilon": 100.0}, spare_rounds=0)


def moved(study: Study) -> dict[str, np.ndarray]:
    """Weights that differ in one bit from those that the study starts with."""
    weights = {name: value.copy() for name, value in study.initial().items()}
    first = next(iter(weights.values()))
    first.view(np.int32).flat[0] ^= 1
    return weights


# Training


def test_the_same_round_asked_again_gets_the_same_release_for_nothing(study, ready, monkeypatch):
    site, request = ready
    first = local.train(site, study, request, study.initial())
    entries = site.open_ledger().entries()
    monkeypatch.setattr(local, "fit", lambda *_, **__: pytest.fail("trained again"))
    for _ in range(5):  # far more than the budget would pay for
        assert equal(local.train(site, study, request, study.initial()), first)
    assert site.open_ledger().entries() == entries
    assert charges(site) == [("train", 1), ("heldout", 1)]


def test_a_replay_is_told_in_the_audit_log(study, ready):
    site, request = ready
    local.train(site, study, request, study.initial())
    assert events(site) == ["prepared", "spend", "spend"]
    local.train(site, study, request, study.initial())
    assert events(site) == ["prepared", "spend", "spend", "replay"]
    line = site.open_log().lines()[-1]
    assert (line["study"], line["round"], line["kind"]) == (study.digest, 1, "train")


def test_other_weights_are_charged_again(study, ready):
    site, request = ready
    first = local.train(site, study, request, study.initial())
    second = local.train(site, study, request, moved(study))
    assert charges(site) == [("train", 1), ("heldout", 1)] * 2
    assert first.receipt.id != second.receipt.id
    assert (first.receipt.attempt, second.receipt.attempt) == (1, 2)
    with pytest.raises(BudgetExhausted):  # the budget pays for two rounds
        local.train(site, study, request.model_copy(update={"round": 2}), study.initial())
    # Both answers are kept beside each other.
    assert equal(local.train(site, study, request, study.initial()), first)
    assert equal(local.train(site, study, request, moved(study)), second)
    assert len(charges(site)) == 4


def test_a_second_attempt_draws_other_noise(study, ready):
    """With the same noise twice, the difference of two releases would hold none."""
    site, request = ready
    first = local.train(site, study, request, study.initial())
    site.open_releases().forget()
    second = local.train(site, study, request, study.initial())
    assert second.receipt.attempt == 2
    assert not equal(first, second)
    for name, value in first.update.items():
        assert not np.array_equal(value, second.update[name])


def test_the_next_round_is_another_question(study, ready):
    site, request = ready
    for number in (1, 2):
        asked = request.model_copy(update={"round": number})
        local.train(site, study, asked, study.initial())
    assert charges(site) == [("train", 1), ("heldout", 1), ("train", 2), ("heldout", 2)]


def test_a_released_round_is_not_given_by_a_site_whose_ledger_is_another(study, ready):
    site, request = ready
    local.train(site, study, request, study.initial())
    site.at(site.ledger).unlink()
    shutil.rmtree(site.at(site.mark).parent)
    site.at(site.audit_log).unlink()
    # With both gone the site would begin no other ledger: one is put there.
    Ledger(site.at(site.ledger), dataset=site.dataset, mark=site.at(site.mark))
    local.train(site, study, request, study.initial())
    assert charges(site) == [("train", 1), ("heldout", 1)]
    assert "replay" not in events(site)


def test_a_kept_round_is_given_on_a_day_that_sees_no_more_rounds(study, prepare):
    site, request = prepare(study, rounds_per_day=1)
    first = local.train(site, study, request, study.initial())
    with pytest.raises(StudyRefused, match=r"policy\.rounds_per_day allows 1"):
        local.train(site, study, request, moved(study))
    assert equal(local.train(site, study, request, study.initial()), first)
    assert charges(site) == [("train", 1), ("heldout", 1)]


def test_a_study_trains_no_more_rounds_than_it_has_and_may_be_broken_off(study, prepare):
    """The lifetime would pay for far more; what was approved is one study's price."""
    site, request = prepare(study, lifetime={"epsilon": 100.0}, spare_rounds=1)
    weights = study.initial()
    first = next(iter(weights))
    for number in range(study.rounds + 1):
        weights[first] = weights[first] + np.float32(number)
        local.train(site, study, request, weights)
    weights[first] = weights[first] + np.float32(99)
    with pytest.raises(BudgetExhausted, match=f"charged {study.rounds + 1} times"):
        local.train(site, study, request, weights)
    assert len(site.open_ledger().spends(study=study.digest)) == study.rounds + 1


def test_a_round_that_failed_is_charged_again(study, ready, monkeypatch):
    site, request = ready

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(local, "fit", fail)
    with pytest.raises(RuntimeError):
        local.train(site, study, request, study.initial())
    monkeypatch.undo()
    assert local.train(site, study, request, study.initial()).receipt.attempt == 2
    assert charges(site) == [("train", 1), ("heldout", 1)] * 2


# Evaluation


def test_an_evaluation_asked_twice_is_charged_once(study, ready):
    site, request = ready
    first = local.evaluate(site, study, request, study.initial())
    assert equal(local.evaluate(site, study, request, study.initial()), first)
    assert charges(site) == [("heldout", 1)]
    assert first.tallies


def test_noised_tallies_are_not_drawn_twice(study, prepare):
    """The mean of many draws would take the noise off."""
    site, request = prepare(study, metrics="noised", heldout={"epsilon": 1.0})
    first = local.evaluate(site, study, request, study.initial())
    assert first.tally_receipt.spend.noise_multiplier > 0
    for _ in range(3):
        assert equal(local.evaluate(site, study, request, study.initial()), first)
    assert charges(site) == [("heldout", 1)]


def test_noised_tallies_end_where_their_ceiling_is_and_training_goes_on(study, prepare):
    noised = {"metrics": "noised", "tally_noise": 5.0}
    site, request = prepare(study, heldout={"epsilon": 0.9}, **noised)  # one is 0.74, two 1.07
    assert local.evaluate(site, study, request, study.initial()).tallies
    assert not local.evaluate(site, study, request, moved(study)).tallies
    assert charges(site) == [("heldout", 1)]
    assert "lifetime epsilon is 0.9" in site.open_log().lines()[-1]["reason"]
    release = local.train(site, study, request, study.initial())
    assert release.update
    assert not release.tallies
    assert charges(site) == [("heldout", 1), ("train", 1)]


def test_a_study_is_tallied_no_more_often_than_it_needs(study, strict):
    site, request = strict
    weights = study.initial()
    first = next(iter(weights))
    found = []
    for number in range(2 * study.rounds + 3):
        weights[first] = weights[first] + np.float32(number)
        found.append(bool(local.evaluate(site, study, request, weights).tallies))
    assert found == [True] * (2 * study.rounds + 1) + [False] * 2
    assert "may be charged" in site.open_log().lines()[-1]["reason"]


@pytest.mark.parametrize("round", [3, 10**6])
def test_an_evaluation_of_a_round_that_is_not_there_is_refused(study, strict, round):
    site, request = strict
    asked = request.model_copy(update={"round": round})
    with pytest.raises(StudyRefused, match="rounds 0 to 2"):
        local.evaluate(site, study, asked, study.initial())
    assert charges(site) == []


def test_an_evaluation_is_another_question_than_a_round(study, ready):
    site, request = ready
    local.train(site, study, request, study.initial())
    release = local.evaluate(site, study, request, study.initial())
    assert not release.update
    assert charges(site) == [("train", 1), ("heldout", 1), ("heldout", 1)]


# A clip that is carried on


@pytest.fixture
def remembered(monkeypatch) -> list[dict[str, float]]:
    """What each training was told of the round before."""
    told = []
    fit = local.fit

    def spy(*arguments, memory, **more):
        told.append(dict(memory))
        return fit(*arguments, memory=memory, **more)

    monkeypatch.setattr(local, "fit", spy)
    return told


def test_an_adaptive_clip_goes_on_from_the_round_before(prepare, remembered):
    privacy = {"kind": "dp-sgd", "epsilon": 4.0, "clip": 0.5, "adaptive": {}}
    study = Study.parse_table(study_table(privacy=privacy), where="adaptive")
    site, request = prepare(study)
    second = request.model_copy(update={"round": 2})
    local.train(site, study, request, study.initial())
    clip = site.open_releases().memory(study.digest, before=2)["clip"]
    assert clip != 0.5
    local.train(site, study, second, study.initial())
    local.train(site, study, request, study.initial())  # kept: not trained
    local.train(site, study, request, moved(study))
    assert remembered == [{}, {"clip": clip}, {}]


def test_a_fixed_clip_remembers_nothing(study, ready, remembered):
    site, request = ready
    for number in (1, 2):
        asked = request.model_copy(update={"round": number})
        local.train(site, study, asked, study.initial())
    assert remembered == [{}, {}]

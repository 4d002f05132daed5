"""The audit: honest mechanisms pass, broken ones are called broken, nothing is learned twice."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import simulation_table

from experiments.audit import run as running
from experiments.audit.canaries import canaries, coins
from experiments.audit.run import (
    Audited,
    AuditResult,
    NoSuchSite,
    Plan,
    audit,
    declared,
    prepared,
    right_guesses,
)
from privacy import accounting
from privacy.closed_form import GaussianSums
from privacy.dp_sgd import DpSgd
from privacy.errors import BudgetExhausted, StudyRefused
from privacy.ledger import Ledger
from privacy.randomness import stream
from tasks.bags import PatientBag
from tasks.study import Study

# A study that leaves the attack its power: every patient in every step, many more trained
# numbers than canaries, a clip that every canary reaches.
STRONG: dict[str, Any] = {
    "rounds": 6,
    "steps": 1,
    "sample_rate": 1.0,
    "encoder": {"kind": "hashing", "dim": 1024},
    "bag": {"stays": 1, "chunks": 1},
    "head": {"kind": "linear", "scale": 4.0, "bias": 0.0},
}


def private(epsilon: float, **changes: Any) -> dict[str, Any]:
    return {"kind": "dp-sgd", "epsilon": epsilon, "clip": 0.1} | changes


@pytest.fixture
def at_site(study_file, tmp_path) -> Iterator[Callable[..., Audited]]:
    """Prepares the strong study at a simulated site; an optional class takes dp-sgd's place."""
    open_ones = []

    def make(
        mechanism: type[DpSgd | GaussianSums] | None = None, lifetime: float = 1e3, **changes: Any
    ) -> Audited:
        simulation = simulation_table(
            policy={
                "lifetime": {"epsilon": lifetime},
                "smallest_count": 0,
                "mechanisms": ["dp-sgd", "gaussian-sums"],
            }
        )
        path = study_file(simulation, **STRONG | changes)
        context = prepared(
            path, data=tmp_path, home=tmp_path / "home", site=None, progress=lambda *_: None
        )
        this = context.__enter__()
        open_ones.append(context)
        if mechanism is None:
            return this
        broken = mechanism.model_validate(this.study.privacy.model_dump())
        study = this.study.model_copy(update={"privacy": broken})
        return dataclasses.replace(this, study=study)

    yield make
    for context in open_ones:
        context.__exit__(None, None, None)


# --- honest ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("privacy", [private(8.0), private(8.0, adaptive={})], ids=str)
def test_an_honest_mechanism_is_consistent_and_the_attack_has_power(at_site, privacy):
    this = at_site(privacy=privacy)
    for seed in range(3):
        result = audit(this, Plan(seed=seed))
        assert not result.broken
        assert 7.5 < result.ledger_epsilon <= 8.0
        assert result.lower_bound > 1.0


@pytest.mark.slow
def test_an_honest_mechanism_at_little_epsilon_is_consistent(at_site):
    this = at_site(privacy=private(1.0))
    for seed in range(4):
        result = audit(this, Plan(seed=seed))
        assert not result.broken
        assert 0.9 < result.ledger_epsilon <= 1.0


SUMS: dict[str, Any] = {
    "head": {"kind": "ridge"},
    "encoder": {"kind": "hashing", "dim": 64},
    "rounds": 1,
    "steps": 1,
    "sample_rate": 1.0,
}


@pytest.mark.parametrize(("epsilon", "least", "most"), [(1.0, 25, 45), (8.0, 36, 50)])
def test_one_noisy_sum_is_attacked_by_what_each_canary_adds_to_it(at_site, epsilon, least, most):
    this = at_site(privacy={"kind": "gaussian-sums", "epsilon": epsilon}, **SUMS)
    result = audit(this, Plan(canaries=200, guesses=50))
    assert not result.broken
    assert epsilon * 0.9 < result.ledger_epsilon <= epsilon
    assert least <= result.correct <= most


def test_one_sum_without_noise_is_seen_through(at_site):
    class Quiet(GaussianSums):
        def _noisy(self, total, training, *, noise):
            return total

    this = at_site(privacy={"kind": "gaussian-sums", "epsilon": 0.5}, mechanism=Quiet, **SUMS)
    result = audit(this, Plan(canaries=200, guesses=50))
    assert result.broken


def test_the_same_seed_gives_the_same_audit_and_another_gives_another(at_site):
    this = at_site(privacy=private(8.0), encoder={"kind": "hashing", "dim": 64}, rounds=2)
    few = Plan(canaries=60, guesses=20)
    first = audit(this, few)
    assert audit(this, few) == first
    others = [audit(this, dataclasses.replace(few, seed=seed)).correct for seed in range(1, 5)]
    assert set(others) != {first.correct}


# --- broken on purpose -------------------------------------------------------------------------


class Silent(DpSgd):
    """Says in its receipt that it adds noise, and adds none."""

    def noises(self, noise: float) -> tuple[float, float]:
        return 0.0, math.inf


class PerStay(DpSgd):
    """Takes each stay for the unit: clips it on its own and samples it on its own."""

    def fit(self, head, patients, training):
        stays = [
            PatientBag((vectors,), (target,))
            for patient in patients
            for vectors, target in zip(patient.vectors, patient.targets, strict=True)
        ]
        return super().fit(head, stays, training)


class EachRoundAlone(DpSgd):
    """Calibrates its noise as if each round were the only one."""

    def spend(self, *, rounds: int, **rest: Any):
        return super().spend(rounds=1, **rest)


class FreshAccountant(Ledger):
    """Forgets, when it is asked, what was spent before the last round."""

    def epsilon(self, *, delta: float, cohort="train") -> float:
        return accounting.epsilon(self.spends(cohort=cohort)[-1:], delta=delta)


@pytest.mark.slow
def test_missing_noise_is_found(at_site):
    result = audit(at_site(Silent, privacy=private(1.0)), Plan())
    assert result.broken
    assert result.ledger_epsilon <= 1.0
    assert result.lower_bound > 3.0


@pytest.mark.slow
def test_the_stay_taken_for_the_unit_is_found(at_site):
    bag = {"stays": 8, "chunks": 1}
    result = audit(at_site(PerStay, privacy=private(1.0), bag=bag), Plan())
    assert result.broken
    assert result.ledger_epsilon <= 1.0
    honest = audit(at_site(privacy=private(1.0), bag=bag), Plan())
    assert not honest.broken


@pytest.mark.slow
def test_an_accountant_that_starts_anew_each_round_is_found(at_site, monkeypatch):
    this = at_site(EachRoundAlone, privacy=private(1.0), rounds=32)

    def fresh(path: Path) -> Ledger:
        return FreshAccountant(path, dataset="x", mark=path.with_name("mark"))

    monkeypatch.setattr(running, "open_ledger", fresh)
    result = audit(this, Plan())
    assert result.broken
    assert result.ledger_epsilon <= 1.0
    # The real ledger is not deceived by the same noise.
    monkeypatch.undo()
    assert audit(this, Plan(canaries=4, guesses=2)).ledger_epsilon > 5


# --- what the site is told and charged ---------------------------------------------------------


def test_every_round_is_charged_in_a_real_ledger_before_it_is_trained(at_site, monkeypatch):
    this = at_site(rounds=3, encoder={"kind": "hashing", "dim": 16})
    opened: list[Ledger] = []
    open_ledger = running.open_ledger
    fit, seen = running.local.fit, []

    def keep(path: Path) -> Ledger:
        opened.append(open_ledger(path))
        return opened[-1]

    def watch(study, head, patients, *, receipt, declared_patients, **rest):
        seen.append((opened[0].holds(receipt), len(opened[0].spends()), declared_patients))
        return fit(
            study, head, patients, receipt=receipt, declared_patients=declared_patients, **rest
        )

    monkeypatch.setattr(running, "open_ledger", keep)
    monkeypatch.setattr(running.local, "fit", watch)
    plan = Plan(canaries=21, guesses=4)
    result = audit(this, plan)
    # 40 are the site's own, 10.5 canaries are expected in; how many really are is not said.
    assert seen == [(True, number, 51) for number in (1, 2, 3)]
    assert declared(this.site, plan) == 51
    assert result.ledger_epsilon == accounting.epsilon(this.study.spends(), delta=result.delta)


def test_an_adaptive_clip_goes_on_from_round_to_round(at_site, monkeypatch):
    this = at_site(rounds=3, privacy=private(8.0, adaptive={}))
    fit, given = running.local.fit, []

    def watch(*args, memory, **rest):
        given.append(dict(memory or {}))
        return fit(*args, memory=memory, **rest)

    monkeypatch.setattr(running.local, "fit", watch)
    audit(this, Plan(canaries=20, guesses=4))
    assert given[0] == {}
    assert given[1]["clip"] != given[2]["clip"]


def test_the_sites_own_patients_are_trained_on_too(at_site, monkeypatch):
    this = at_site(rounds=1, encoder={"kind": "hashing", "dim": 16})
    trained: list[list[PatientBag]] = []
    fit = running.local.fit

    def watch(study, head, patients, **rest):
        trained.append(list(patients))
        return fit(study, head, patients, **rest)

    monkeypatch.setattr(running.local, "fit", watch)
    audit(this, Plan(canaries=100, guesses=4))
    (patients,) = trained
    own = len(this.bags.train)
    assert all(a is b for a, b in zip(patients, this.bags.train, strict=False))
    coin = coins(100, stream("audit/0/coins"))
    assert len(patients) - own == coin.sum() > 40


def test_a_site_that_cannot_bear_the_study_is_not_audited(at_site):
    this = at_site(lifetime=4.0, privacy=private(8.0))
    with pytest.raises(BudgetExhausted):
        audit(this, Plan(canaries=4, guesses=2))


def test_a_study_that_the_site_does_not_allow_is_refused(at_site):
    with pytest.raises(StudyRefused, match="mechanisms"):
        at_site(privacy={"kind": "off"})


def test_a_site_that_is_not_there_is_named_with_those_that_are(study_file, tmp_path):
    with (
        pytest.raises(NoSuchSite, match=r"no site 'elm'; its sites are ash, birch"),
        prepared(study_file(), data=tmp_path, home=tmp_path, site="elm", progress=lambda *_: None),
    ):
        pass


def test_a_second_site_can_be_audited_and_leaves_no_folder(study_file, tmp_path):
    with prepared(
        study_file(), data=tmp_path, home=tmp_path, site="birch", progress=lambda *_: None
    ) as this:
        assert this.site.name == "birch"
        folder = this.site.folder
        assert folder.exists()
    assert not folder.exists()


# --- canaries, coins, guesses ------------------------------------------------------------------


def test_canaries_fill_the_bag_with_one_direction_and_one_answer(study: Study):
    made = canaries(study, 50, stream("x"))
    for canary in made:
        assert len(canary.vectors) == study.bag.stays
        assert len(set(canary.targets)) == 1
        assert {stay.shape for stay in canary.vectors} == {(study.bag.chunks, study.encoder.dim)}
        rows = np.concatenate(canary.vectors)
        assert np.allclose(rows, rows[0])
        assert np.linalg.norm(rows[0]) == pytest.approx(1, abs=1e-6)
    directions = np.stack([canary.vectors[0][0] for canary in made])
    overlap = directions @ directions.T - np.eye(50)
    assert np.abs(overlap).mean() < 2 / study.encoder.dim**0.5
    carried = np.mean([len(canary.targets[0]) for canary in made]) / len(study.outputs)
    assert 0.4 < carried < 0.6


def test_coins_are_fair_and_know_nothing_of_the_canaries():
    coin = coins(10_000, stream("y"))
    assert 0.48 < coin.mean() < 0.52
    assert abs(np.corrcoef(coin[1:], coin[:-1])[0, 1]) < 0.03


def test_guesses_are_the_highest_in_and_the_lowest_out():
    coin = np.array([True, False, True, False, False, True])
    score = np.array([9.0, 1.0, 5.0, 4.0, 8.0, 2.0])
    assert right_guesses(score, coin, guesses=2) == 2
    assert right_guesses(score, coin, guesses=4) == 2
    assert right_guesses(-score, coin, guesses=2) == 0


def test_equal_scores_are_no_better_than_chance():
    coin = coins(100_000, stream("z"))
    found = right_guesses(np.zeros(len(coin)), coin, guesses=2000)
    assert 900 < found < 1100


@pytest.mark.parametrize(
    "numbers", [{"guesses": 3}, {"guesses": 0}, {"canaries": 98}, {"confidence": 1.0}]
)
def test_a_plan_that_makes_no_sense_is_refused(numbers):
    with pytest.raises(ValueError, match="must"):
        Plan(**numbers)


def test_a_claim_is_broken_only_above_a_finite_ledger():
    result = AuditResult(
        lower_bound=2.0,
        ledger_epsilon=1.9,
        delta=1e-5,
        canaries=1000,
        guesses=100,
        correct=95,
        confidence=0.95,
    )
    assert result.broken
    for ledger in (2.0, 3.0, None):
        assert not result.model_copy(update={"ledger_epsilon": ledger}).broken

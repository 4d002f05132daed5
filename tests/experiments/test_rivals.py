"""Rivals without rounds, and heads of a site's own: what they are on records made for it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from builders import CODES, study_table
from sklearn.linear_model import Ridge as Theirs
from torch.nn.functional import normalize

from client.local import Bags
from client.unreleased import build_head, tune_f1
from experiments import personal, rivals
from experiments.baselines import scored, without_privacy
from tasks.bags import PatientBag
from tasks.heads.head import Weights
from tasks.heads.questions import Questions
from tasks.study import Study

L, D = len(CODES), 64
STUDY = without_privacy(Study.parse_table(study_table(), where="here"), None)
TOPICS = normalize(torch.randn(L, D, generator=torch.Generator().manual_seed(5)), dim=1)


def people(count: int, *, seed: int, turned: bool = False) -> list[PatientBag]:
    """Patients of one chunk near the topics of their codes; turned ones carry the next code."""
    numbers = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        codes = numbers.choice(L, size=2, replace=False)
        vector = TOPICS[codes].sum(0).numpy() + 0.05 * numbers.normal(size=D)
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        target = tuple(sorted((int(code) + turned) % L for code in codes))
        found.append(PatientBag((vector[None],), (target,)))
    return found


def site(*, seed: int = 0, turned: bool = False) -> Bags:
    parts = [people(number, seed=seed + k, turned=turned) for k, number in enumerate((60, 30, 40))]
    return Bags(*parts, Questions.one_each(TOPICS))


def trained_weights(sites: Mapping[str, Bags]) -> Weights:
    """Linear weights that know the topics."""
    study = STUDY
    weights = study.initial()
    weights["out.weight"] = (TOPICS * 10).numpy().astype(np.float32)
    weights["out.bias"] = np.full(L, -20.0, np.float32)
    assert scored(study, sites, build_head(study, sites["ash"], weights)).whole.micro_f1 == 1
    return weights


def test_the_closed_form_is_ridge_on_everybodys_records_with_the_penalty_the_tune_patients_prefer():
    sites = {"ash": site(), "birch": site(seed=9)}
    found = rivals.closed_form(STUDY, sites)
    train = [bag for of in sites.values() for bag in of.train]
    x = np.concatenate([bag.vectors[0] for bag in train])
    y = np.zeros((len(train), L))
    for row, bag in enumerate(train):
        y[row, list(bag.targets[0])] = 1
    held = [bag for of in sites.values() for bag in of.heldout]
    truth = np.zeros((len(held), L), bool)
    for row, bag in enumerate(held):
        truth[row, list(bag.targets[0])] = True
    per_penalty = []
    for penalty in rivals.RIDGES:
        theirs = Theirs(alpha=penalty * 120).fit(x, y)
        said = theirs.predict(np.concatenate([bag.vectors[0] for bag in held]))
        per_penalty.append(float(np.mean(said[truth] > 0.5)))
    assert max(per_penalty) > 0.9
    assert (found.whole.micro_f1 or 0) > 0.95
    assert set(found.sites) == {"ash", "birch"}
    assert found.whole.patients == 80
    alone = rivals.closed_form(STUDY, {"ash": sites["ash"]})
    assert set(alone.sites) == {"ash"}


def test_meaning_without_training_finds_what_its_questions_are_about():
    sites = {"ash": site()}
    assert (rivals.untrained(STUDY, sites).whole.map or 0) > 0.99
    lost = Bags(**{name: getattr(sites["ash"], name) for name in ("train", "tune", "heldout")},
                questions=Questions.one_each(TOPICS.roll(1, 0)))  # fmt: skip
    assert (rivals.untrained(STUDY, {"ash": lost}).whole.map or 1) < 0.7


def test_studies_that_differ_in_what_rivals_do_not_ask_have_the_same_ones():
    other = STUDY.model_copy(update={"rounds": 9, "optimizer": STUDY.optimizer, "steps": 5})
    assert rivals.headless(other).digest == rivals.headless(STUDY).digest
    assert rivals.headless(other.model_copy(update={"seed": 4})).digest != other.digest


@pytest.mark.parametrize("make", [personal.fine_tuned, personal.mean_regularised])
def test_a_head_of_ones_own_beats_the_federations_where_the_site_differs(make):
    others = {"ash": site()}
    weights, own = trained_weights(others), site(seed=3, turned=True)
    head = build_head(STUDY, own, weights)
    threshold = scored(STUDY, others, build_head(STUDY, own, weights)).whole.threshold
    before = scored(STUDY, {"birch": own}, head, threshold=threshold).whole
    study = STUDY.model_copy(update={"steps": 60, "sample_rate": 0.5})
    found = make(study, "birch", own, start=weights, threshold=threshold).whole
    assert found.threshold == threshold
    assert (before.micro_f1 or 0) < 0.5
    assert (found.micro_f1 or 0) > (before.micro_f1 or 0) + 0.1


@pytest.mark.parametrize("make", [personal.fine_tuned, personal.mean_regularised])
def test_the_federations_head_is_kept_where_the_site_prefers_it(make):
    sites = {"ash": site()}
    weights = trained_weights(sites)
    threshold = scored(STUDY, sites, build_head(STUDY, sites["ash"], weights)).whole.threshold
    bad = Bags(people(60, seed=1, turned=True), sites["ash"].tune, sites["ash"].heldout,
               sites["ash"].questions)  # fmt: skip
    study = STUDY.model_copy(update={"steps": 60, "sample_rate": 0.5})
    found = make(study, "ash", bad, start=weights, threshold=threshold)
    assert found.whole.micro_f1 == 1


def test_tune_patients_are_scored_at_the_threshold_that_is_given():
    own = site()
    head = build_head(STUDY, own, trained_weights({"ash": own}))
    best = tune_f1(STUDY, head, own)
    assert best == 1
    # Where the logits of true codes lie, some are now missed.
    assert (tune_f1(STUDY, head, own, threshold=8.0) or 0) < 0.9


def test_baselines_that_would_read_other_texts_are_refused():
    from client.simulation import Recipe
    from tasks.heads.code_query import CodeQuery

    recipe = Recipe(rounds=1, steps=1, sample_rate=0.5, optimizer=STUDY.optimizer,
                    head=CodeQuery(terms="each"))  # fmt: skip
    with pytest.raises(ValueError, match=r"^simulation\.baseline\.head reads terms"):
        without_privacy(STUDY, recipe)


def test_without_tune_patients_the_federations_head_stays():
    own = site()
    weights = trained_weights({"ash": own})
    blind = Bags(people(60, seed=1, turned=True), [], own.heldout, own.questions)
    study = STUDY.model_copy(update={"steps": 60, "sample_rate": 0.5})
    found = personal.fine_tuned(study, "ash", blind, start=weights, threshold=0.0)
    same = scored(STUDY, {"ash": blind}, build_head(STUDY, own, weights), threshold=0.0)
    assert found.whole == same.whole


def test_a_head_that_diverged_is_never_preferred():
    own = site()
    weights = {name: np.full_like(value, np.nan) for name, value in STUDY.initial().items()}
    assert tune_f1(STUDY, build_head(STUDY, own, weights), own) == 0

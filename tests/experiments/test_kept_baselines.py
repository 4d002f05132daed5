"""Baselines that are kept: found again where nothing differs, and made anew where anything does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from client.local import Bags
from experiments import fingerprint, kept_baselines
from experiments.baselines import Detail, Scored, without_privacy
from experiments.kept_baselines import kept
from tasks.bags import PatientBag
from tasks.heads.questions import Questions
from tasks.metrics import Metrics
from tasks.per_output import OutputMetrics
from tasks.strategy import FedAvgSpec

SCORED = Scored(
    whole=Metrics(micro_f1=0.25, patients=3),
    sites={"ash": Metrics(micro_f1=0.5)},
    detail=Detail(),
    intervals={"micro_f1": (0.125, 0.375)},
    site_intervals={"ash": {"map": (0.0, 1.0)}},
    site_outputs={"ash": (OutputMetrics(output="I10", support=0),)},
    site_draws={"ash": (0.1, None, 1 / 3)},
    site_tune={"ash": None},
)


def bags(value: float = 1.0, target: int = 1, question: float = 0.0) -> Bags:
    bag = PatientBag((np.full((2, 4), value, np.float32),), ((target,),))
    questions = Questions.one_each(torch.full((8, 4), question))
    return Bags([bag], [bag], [bag], questions)


@pytest.fixture
def ask(tmp_path, study) -> Callable[..., bool]:
    """Asks for a baseline; whether it was trained for that."""

    def ask(what="alone", study=study, sites=None) -> bool:
        trained = []

        def train() -> Scored:
            trained.append(1)
            return SCORED

        assert kept(tmp_path, what, study, sites or {"ash": bags()}, train) == SCORED
        return bool(trained)

    return ask


def test_it_is_trained_once(ask):
    assert [ask(), ask(), ask()] == [True, False, False]


def test_other_code_makes_it_anew(ask, monkeypatch):
    ask()
    monkeypatch.setattr(kept_baselines, "results_fingerprint", lambda: "other")
    assert [ask(), ask()] == [True, False]


def test_code_that_scores_is_in_the_fingerprint_and_code_that_draws_is_not(monkeypatch, tmp_path):
    (tmp_path / "bootstrap.py").write_text("TIMES = 1000")
    (tmp_path / "compare").mkdir()
    monkeypatch.setattr(fingerprint, "__file__", str(tmp_path / "fingerprint.py"))
    found = [fingerprint.results_fingerprint.__wrapped__()]
    (tmp_path / "compare" / "display.py").write_text("")
    found.append(fingerprint.results_fingerprint.__wrapped__())
    (tmp_path / "bootstrap.py").write_text("TIMES = 1001")
    found.append(fingerprint.results_fingerprint.__wrapped__())
    assert found[0] == found[1] != found[2]


def test_the_name_of_a_study_changes_nothing(ask, study):
    ask()
    assert not ask(study=study.model_copy(update={"name": "other"}))


@pytest.mark.parametrize(
    "sites",
    [
        {"birch": bags()},
        {"ash": bags(value=1.5)},
        {"ash": bags(target=2)},
        {"ash": bags(question=1.0)},
        {"ash": bags(), "birch": bags()},
    ],
    ids=["name", "vectors", "answers", "questions", "sites"],
)
def test_other_patients_are_another_baseline(ask, sites):
    ask()
    assert ask(sites=sites)


def test_another_head_or_seed_or_way_is_another_baseline(ask, study):
    ask()
    assert ask(what="pooled")
    assert ask(study=study.model_copy(update={"seed": 4}))
    assert ask(study=study.model_copy(update={"rounds": 9}))


def test_a_damaged_file_is_made_again(ask, tmp_path):
    ask()
    [path] = tmp_path.glob("*.json")
    path.write_text(path.read_text()[:20])
    assert [ask(), ask()] == [True, False]


def test_what_the_baselines_train_knows_neither_privacy_nor_strategy(study):
    other = study.model_copy(update={"strategy": FedAvgSpec(minimum_sites=5, timeout=7)})
    assert without_privacy(other, None) == without_privacy(study, None)
    assert without_privacy(study, None).privacy.promise is None

"""Each output at each site: figures that scikit-learn gives too, and their means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from builders import CODES, study_table
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from torch.nn.functional import normalize

from client import counting
from client.local import Bags
from experiments import each_output
from experiments.baselines import build_head, scored, tune_f1, tune_score, without_privacy
from tasks.bags import PatientBag
from tasks.heads.questions import Questions
from tasks.per_output import OutputMetrics
from tasks.study import Study

L, D = len(CODES), 64
STUDY = without_privacy(Study.parse_table(study_table(), where="here"), None)


def people(count: int, *, seed: int, never: int = 0) -> list[PatientBag]:
    """Patients of one chunk; of nobody is the output `never` true."""
    numbers = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        target = tuple(n for n in range(L) if n != never and numbers.random() < 0.4)
        found.append(PatientBag((numbers.normal(size=(1, D)).astype(np.float32),), (target,)))
    return found


def site(seed: int, **options: int) -> Bags:
    parts = [people(number, seed=seed + k, **options) for k, number in enumerate((30, 40, 50))]
    return Bags(*parts, Questions.one_each(normalize(torch.ones(L, D), dim=1)))


@pytest.fixture(scope="module")
def sites() -> dict[str, Bags]:
    nobody = Bags(people(30, seed=7), [], [], site(0).questions)
    return {"ash": site(0), "birch": site(20, never=1), "cedar": nobody}


@pytest.fixture(scope="module")
def head(sites):
    weights = STUDY.initial()
    numbers = np.random.default_rng(3)
    weights["out.weight"] = numbers.normal(size=(L, D)).astype(np.float32) / 8
    return build_head(STUDY, sites["ash"], weights)


@pytest.fixture(scope="module")
def found(sites, head):
    return scored(STUDY, sites, head, threshold=0.25)


@pytest.mark.parametrize("name", ["ash", "birch"])
def test_a_sites_figures_of_each_output_are_scikit_learns(name, sites, head, found):
    logits, truth = counting.scores(STUDY, head, sites[name].heldout)
    assert [row.output for row in found.site_outputs[name]] == list(CODES)
    for number, row in enumerate(found.site_outputs[name]):
        true, score = truth[:, number], logits[:, number]
        assert row.support == true.sum()
        if not row.support:
            assert (row.auroc, row.auprc, row.recall) == (None, None, None)
            continue
        assert row.auroc == pytest.approx(roc_auc_score(true, score), abs=row.auroc_bound + 1e-9)
        assert row.auroc_bound < 2e-3
        assert row.auprc == pytest.approx(
            average_precision_score(true, score), abs=row.auprc_bound + 1e-9
        )
        assert row.f1 == pytest.approx(f1_score(true, score >= 0.25))
    without = [row.output for row in found.site_outputs[name] if not row.support]
    assert without == ([CODES[1]] if name == "birch" else [CODES[0]])


def test_a_site_without_held_out_patients_has_no_figures(found):
    for row in found.site_outputs["cedar"]:
        assert (row.support, row.auroc, row.auprc, row.recall) == (0, None, None, None)
    assert set(found.site_draws) == {"ash", "birch"}
    assert found.site_tune["cedar"] is None


def test_hundreds_of_outputs_are_not_told_at_sites(sites, head, monkeypatch):
    monkeypatch.setattr(each_output, "MOST", L - 1)
    assert scored(STUDY, sites, head, threshold=0.25).site_outputs == {}


def test_a_head_is_scored_on_the_tune_patients_as_they_are(sites, head, found):
    logits, truth = counting.scores(STUDY, head, sites["birch"].tune)
    each = [roc_auc_score(truth[:, n], logits[:, n]) for n in range(L) if n != 1]
    assert found.site_tune["birch"] == pytest.approx(np.mean(each), abs=6e-4)
    own = sites["birch"]
    at = tune_f1(STUDY, head, own, threshold=0.25)
    assert tune_score(STUDY, head, own, metric="micro_f1", threshold=0.25) == at
    weights = {name: np.full_like(value, np.nan) for name, value in STUDY.initial().items()}
    lost = build_head(STUDY, own, weights)
    assert tune_score(STUDY, lost, own, metric="auroc_macro", threshold=0.25) == 0


def test_a_head_has_the_same_draws_whether_its_site_is_scored_alone_or_with_others(
    sites, head, found
):
    """Otherwise a federation and a site alone would be no pairs."""
    alone = scored(STUDY, {"ash": sites["ash"]}, head, threshold=0.25)
    assert alone.site_draws["ash"] == pytest.approx(found.site_draws["ash"], abs=1e-9)
    assert len(alone.site_draws["ash"]) == 1000
    assert alone.site_outputs["ash"] == found.site_outputs["ash"]


def rows(*figures: tuple[int, float | None]) -> each_output.Outputs:
    return tuple(
        OutputMetrics(output=str(n), support=support, threshold=0.0, f1=0.0, auroc=auroc)
        for n, (support, auroc) in enumerate(figures)
    )


def test_the_mean_is_by_held_out_patients_and_of_sites_where_an_output_occurs():
    found = each_output.mean([(10, rows((4, 0.5), (0, None))), (30, rows((6, 0.75), (3, 1.0)))])
    assert [(row.support, row.auroc) for row in found] == [(10, 0.6875), (3, 1.0)]
    assert found[0].threshold is None
    assert each_output.mean([(10, rows((4, 0.5))), (0, ())])[0].auroc == 0.5
    assert each_output.mean([(1, rows((0, None)))])[0].f1 is None
    assert each_output.mean([]) == ()

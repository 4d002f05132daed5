"""Outcome tasks at a site: what is kept and dropped adds up, once; exclusive outputs train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import patient, study_table

from client import cohort, counting, local
from client.sources.source import Attrition
from privacy.ledger import Receipt
from privacy.randomness import Stream
from tasks.bags import PatientBag, collate
from tasks.study import Study

SUMMARY = "Chief Complaint:\nfever\n\nHospital Course:\nLATER {} expired\n\nAllergies:\n{}"


def line(number: int, *, died: bool | None = False, text: str = SUMMARY, days: int = 3):
    stay = patient(number)["stays"][0] | {
        "discharged": f"2024-01-{1 + days:02}T12:00:00Z",
        "died": died,
    }
    at = f"2024-01-{1 + days:02}T11:00:00Z"
    note = {"at": at, "kind": "discharge", "text": text.replace("{}", f"no {number}")}
    return patient(number, stays=[stay], notes=[note])


def study_of(**task: Any) -> Study:
    return Study.parse_table(study_table(task=task), where="tiny")


@pytest.fixture
def site_of(make_site, write_lines):
    def make(*lines: object):
        path: Path = write_lines(*lines)
        return make_site("ash", source={"kind": "jsonl", "paths": [str(path)]})

    return make


def test_the_deaths_are_not_read_and_each_stay_is_counted_once(site_of):
    site = site_of(
        line(1),
        line(2, died=True),
        line(3, died=None),
        line(4, text="went home"),
        line(5, died=True, text="Chief Complaint:\nchaplain called for death"),
        line(6, text="HPI:\nfever. Patient expired at 4. cough"),
    )
    counts = Attrition()
    chosen = list(cohort.select(site, study_of(kind="in-hospital-mortality"), counts))
    read = " ".join(text for one in chosen for texts, _ in one.stays for text in texts)
    assert "LATER" not in read
    assert "expired" not in read
    assert "cough" in read
    assert [target for one in chosen for _, target in one.stays] == [(), (0,), ()]
    assert counts.counts == {
        "stays kept": 3,
        "stays whose outcome the source does not say": 1,
        "discharge summaries without a section known at admission": 1,
        "stays without notes by the prediction time": 1,
        "stays whose notes give the answer away": 1,
        "patients without a labelled stay": 3,
        "stays that may be of a birth, the source does not say (kept)": 5,
    }


def test_stays_beyond_the_bag_are_counted(site_of):
    stays = [
        patient(0)["stays"][0]
        | {
            "id": str(n),
            "admitted": f"2024-0{n}-01T08:00:00Z",
            "discharged": f"2024-0{n}-02T08:00:00Z",
        }
        for n in (1, 2, 3)
    ]
    notes = [{"at": stay["discharged"], "kind": "discharge", "text": "x"} for stay in stays]
    counts = Attrition()
    study = Study.parse_table(study_table(), where="tiny")
    [chosen] = cohort.select(site_of(patient(1, stays=stays, notes=notes)), study, counts)
    assert len(chosen.stays) == study.bag.stays == 2
    assert counts.counts == {"stays kept": 2, "stays beyond the bag, the oldest": 1}


def test_preparing_counts_each_rule_once_though_the_source_is_read_twice(site_of):
    site = site_of(*(line(n, days=n) for n in range(1, 9)), line(9, text="nothing"))
    counts = cohort.prepare(site, study_of(kind="length-of-stay")).counts
    assert counts["stays kept"] == 8
    assert counts["stays without notes by the prediction time"] == 1


def test_the_tallies_of_an_exclusive_task_are_of_log_odds(site_of):
    site = site_of(*(line(n, days=n) for n in range(1, 20)))
    study = study_of(kind="length-of-stay", upper_days=[3, 7, 14])
    cohort.prepare(site, study)
    bags = local.load_bags(site, study).train
    assert bags
    head = study.head.build(dim=study.encoder.dim, outputs=4)
    for value in head.parameters():
        torch.nn.init.normal_(value, generator=torch.Generator().manual_seed(1))
    found, truth = counting.scores(study, head, bags)
    batch = collate(bags, dim=study.encoder.dim, outputs=4)
    with torch.no_grad():
        chances = head(batch.x, batch.chunks)[batch.stays].softmax(-1).numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), chances, rtol=1e-4)
    assert (truth.sum(1) == 1).all()


@pytest.mark.parametrize("exclusive", [True, False])
def test_what_is_trained_on_is_the_loss_of_the_task(exclusive: bool, monkeypatch):
    task = {"kind": "length-of-stay"} if exclusive else {"kind": "readmission"}
    study = study_of(**task)
    outputs = len(study.outputs)
    bag = PatientBag((np.ones((1, study.encoder.dim), np.float32),), ((0,),))
    head = study.head.build(dim=study.encoder.dim, outputs=outputs)
    found: list[float] = []

    def fit(self, head, patients, training):
        found.append(training.losses(head, patients).item())
        return {}

    monkeypatch.setattr(type(study.privacy), "fit", fit)
    receipt, numbers = Receipt(1, study.spends()[0]), Stream(b"1" * 32)
    local.fit(study, head, [bag], receipt=receipt, declared_patients=1, stream=numbers)
    batch = collate([bag], dim=study.encoder.dim, outputs=outputs)
    logits = head(batch.x, batch.chunks)[0, 0]
    softmax = torch.nn.functional.cross_entropy(logits, torch.tensor(0)).item()
    sigmoid = -torch.nn.functional.logsigmoid(logits).mean().item()
    assert found == [pytest.approx(softmax if exclusive else sigmoid, rel=1e-5)]

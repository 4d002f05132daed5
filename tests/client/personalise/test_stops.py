"""What stops a head of a site's own: no approval, no cohort, a withdrawal, a purge."""

from __future__ import annotations

import pytest
from builders import policy_table, study_table

from client import approval, cohort, own_heads, personal, purge
from client.personalise import personalise
from client.purge import purge_patient
from client.withdrawn import keyed_hash, withdraw
from embeddings.store_file import purge_file
from privacy.errors import SiteError, StoreBroken, StudyRefused
from privacy.files import locked
from tasks.study import Study


def test_a_study_that_the_site_does_not_take_gets_no_head(deployed, ended, study):
    approval.decide(ended, study, approve=False)
    with pytest.raises(StudyRefused, match="tiny was revoked"):
        personalise(ended, study.digest)
    with pytest.raises(SiteError, match="no study at ash"):
        personalise(ended, "0" * 64)
    strict = deployed(policy=policy_table(studies="approved"))
    new = study.model_copy(update={"name": "new"})
    approval.wait(strict, new)
    with pytest.raises(StudyRefused, match="new awaits approval at ash"):
        personalise(strict, new.digest)


def test_a_missing_or_damaged_cohort_says_what_to_do(ended, study):
    path = cohort.cohort_path(ended, study)
    whole = path.read_text()
    path.write_text(whole[:-20])
    with pytest.raises(SiteError, match=r"damaged .* prepare it again"):
        personalise(ended, study.digest)
    path.write_text(whole.replace('"format": 3', '"format": 2'))
    with pytest.raises(SiteError, match="another version"):
        personalise(ended, study.digest)
    path.unlink()
    with pytest.raises(SiteError, match="was not prepared at the site"):
        personalise(ended, study.digest)


def test_a_cohort_with_somebody_who_has_withdrawn_is_not_trained_on(ended, study):
    withdraw(ended, keyed_hash("p7", secret=ended.key("patient")))
    with pytest.raises(SiteError, match="a patient who has withdrawn"):
        personalise(ended, study.digest)


def test_a_head_that_follows_from_sums_has_no_steps_to_go_on_with(site):
    table = study_table(
        head={"kind": "ridge"}, rounds=1, steps=1, sample_rate=1.0,
        privacy={"kind": "gaussian-sums", "epsilon": 8.0, "clip": 1.0},
    )  # fmt: skip
    summed = Study.parse_table(table, where="summed")
    approval.keep(site, summed)
    with pytest.raises(SiteError, match=r"'ridge' .* follows from sums .* no steps to go on with"):
        personalise(site, summed.digest)


def test_a_purge_that_waits_goes_first(ended, study):
    begun: list[int] = []
    waits = locked(purge_file(ended.at(ended.vectors)), exclusive=True)
    with waits, pytest.raises(StoreBroken, match="a purge waits; no head was kept"):
        personalise(ended, study.digest, progress=lambda done, _: begun.append(done))
    assert not begun  # at once, not after hours of training
    assert not own_heads.files(ended)


def test_no_purge_goes_on_while_a_head_is_made(ended, study, monkeypatch):
    monkeypatch.setattr(purge, "WAIT_SECONDS", 0.1)
    refused = []

    def meanwhile(done: int, total: int) -> None:
        if done == 1:
            with pytest.raises(StoreBroken, match="vectors are in use"):
                purge_patient(ended, "p0")
            refused.append(total)

    personalise(ended, study.digest, progress=meanwhile)
    assert refused == [personal.tries(study)]
    assert not ended.at(ended.withdrawn).exists()

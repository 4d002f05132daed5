"""How a head of a site's own is kept, and how it goes with its patients."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from own_head_sites import PATIENTS, ask, made_by, prepare

from client import cohort, cohort_file, final_weights, own_heads
from client.personalise import personalise
from client.purge import find_study, purge_everything, purge_patient, purge_study
from client.withdrawn import keyed_hash
from privacy.errors import SiteError, StudyRefused


def test_its_files_are_the_users_alone_whatever_the_umask(site, study, start):
    prepare(site, study)
    before = os.umask(0)
    try:
        ask(site, study, start)
        assert personalise(site, study.digest).kept
    finally:
        os.umask(before)
    folder = site.at(site.heads)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    endings = ("federated.safetensors", "own.safetensors")
    assert found == {f"{study.digest}.{ending}": 0o600 for ending in endings}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_killed_while_it_writes_it_leaves_the_old_head(kept, study, monkeypatch):
    path = own_heads.path_of(kept, study.digest)
    old = path.read_bytes()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        personalise(kept, study.digest)
    assert path.read_bytes() == old


def test_a_patients_purge_takes_every_head_that_the_patient_made(kept, study):
    [name, *_] = made_by(kept, study)
    path = own_heads.path_of(kept, study.digest)
    hashed = keyed_hash(name, secret=kept.key("patient"))
    assert hashed in path.read_bytes()
    proof = purge_patient(kept, name)
    assert (proof.heads, proof.cohorts, proof.remaining) == (1, 1, 0)
    assert not path.exists()
    assert final_weights.kept_at(kept, study.digest).exists()
    assert final_weights.kept_at(kept, study.digest).name in proof.searched
    again = personalise(kept, study.digest)
    assert again.kept is not None
    assert hashed not in path.read_bytes()
    assert hashed not in own_heads.read(path).patients


def test_a_head_goes_with_its_patient_also_where_the_cohort_has_lost_the_patient(kept, study):
    """The export has dropped the patient since; the head has not."""
    [name, *_] = made_by(kept, study)
    hashed = keyed_hash(name, secret=kept.key("patient"))
    assert cohort_file.cut_out(cohort.cohort_path(kept, study), hashed)
    proof = purge_patient(kept, name)
    assert (proof.cohorts, proof.heads) == (0, 1)
    assert proof.found_before > 0


def test_a_held_out_patient_had_no_part_in_it(kept, study):
    everybody = {f"p{n}" for n in range(PATIENTS)}
    name = min(everybody - set(made_by(kept, study)))
    assert purge_patient(kept, name).heads == 0
    assert own_heads.path_of(kept, study.digest).exists()


def test_a_purge_that_leaves_a_head_gives_no_proof(kept, study, monkeypatch):
    [name, *_] = made_by(kept, study)
    with monkeypatch.context() as patch:
        patch.setattr(own_heads, "forget_patient", lambda *_: 0)
        with pytest.raises(SiteError, match=r"still in .*\.own\.safetensors"):
            purge_patient(kept, name)
    with monkeypatch.context() as patch:
        patch.setattr(own_heads, "forget", lambda *_: 0)
        with pytest.raises(SiteError, match=r"still in .*\.own\.safetensors"):
            purge_study(kept, study.digest)
    assert purge_patient(kept, name).heads == 1


def test_a_damaged_head_and_a_draft_go_with_any_patient(kept, study):
    path = own_heads.path_of(kept, study.digest)
    path.write_bytes(path.read_bytes()[:-10])
    draft = path.with_name(f"{path.name}.0badcafe.draft")
    draft.write_bytes(b"half a head")
    assert purge_patient(kept, "nobody").heads == 1
    assert not path.exists()
    assert not draft.exists()


def test_a_studys_purge_takes_its_heads_and_everything_takes_all(kept, study, start):
    other = study.model_copy(update={"name": "other"})
    prepare(kept, other)
    ask(kept, other, start)
    personalise(kept, other.digest)
    proof = purge_study(kept, find_study(kept, study.digest[:12]))
    assert (proof.heads, proof.remaining) == (1, 0)
    assert not list(kept.at(kept.heads).glob(f"{study.digest}*"))
    assert own_heads.path_of(kept, other.digest).exists()
    everything = purge_everything(kept)
    assert everything.heads == 1
    assert "heads/" in everything.searched
    assert not list(kept.at(kept.heads).iterdir())


def test_a_revoked_study_cannot_be_gone_on_with_after_its_purge(kept, study):
    purge_study(kept, study.digest)
    with pytest.raises(StudyRefused, match="revoked"):
        personalise(kept, study.digest)

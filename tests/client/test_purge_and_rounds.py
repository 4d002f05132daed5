"""A purge in the middle of a round, and the message that comes after it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from builders import patient, policy_table, study_table

from client import approval, cohort, local, purge
from client.purge import purge_everything, purge_patient, purge_study
from client.withdrawn import withdrawn
from privacy.errors import LedgerBroken, SiteError, StoreBroken, StudyRefused
from privacy.fingerprint import code_fingerprint
from privacy.release import RequestHeader
from tasks.study import Study


@pytest.fixture
def site(make_site, write_lines):
    path = write_lines(*(patient(n) for n in range(12)))
    source = {"kind": "jsonl", "paths": [str(path)]}
    return make_site("ash", source=source, policy=policy_table(lifetime={"epsilon": 20.0}))


@pytest.fixture
def other() -> Study:
    """Another study on the same notes: it shares their vectors."""
    return Study.parse_table(study_table(name="other", steps=4), where="other")


def records(site) -> set[bytes]:
    with closing(sqlite3.connect(site.at(site.vectors))) as database:
        return {key for (key,) in database.execute("SELECT key FROM record")}


def request(study: Study) -> RequestHeader:
    return RequestHeader(study=study.canonical(), code=code_fingerprint(), round=1)


def a_round(site, study: Study) -> None:
    said = local.hello(site, request(study))
    asked = request(study).model_copy(update={"encoder": said.encoder})
    local.train(site, study, asked, study.initial())


@contextmanager
def in_the_middle(site, study: Study, monkeypatch) -> Iterator[threading.Event]:
    """A round that has read its vectors, was charged, and trains until the event is set."""
    trains, goes_on, fit = threading.Event(), threading.Event(), local.fit

    def slow(*args: object, **options: object):
        trains.set()
        goes_on.wait(60)
        return fit(*args, **options)

    monkeypatch.setattr(local, "fit", slow)
    thread = threading.Thread(target=a_round, args=(site, study))
    thread.start()
    try:
        assert trains.wait(60)
        yield goes_on
    finally:
        goes_on.set()
        thread.join()


def test_no_purge_goes_on_in_the_middle_of_a_round(study, site, monkeypatch):
    monkeypatch.setattr(purge, "WAIT_SECONDS", 0.2)
    with in_the_middle(site, study, monkeypatch):
        before = records(site)
        for attempt in (
            lambda: purge_study(site, study.digest),
            lambda: purge_patient(site, "p0"),
            lambda: purge_everything(site),
        ):
            with pytest.raises(
                StoreBroken, match=r"^a round is running at ash\. Nothing was purged"
            ):
                attempt()
        assert records(site) == before
        assert withdrawn(site) == frozenset()
        assert site.at(site.store_key).exists()
        assert not any(entry.kind == "revoked" for entry in site.open_ledger().entries())
    assert purge_study(site, study.digest).releases == 1


def test_a_purge_waits_for_the_round_and_takes_its_release_too(study, site, monkeypatch):
    with in_the_middle(site, study, monkeypatch) as goes_on:
        later = threading.Timer(0.3, goes_on.set)
        later.start()
        proof = purge_study(site, study.digest)
        later.join()
    assert (proof.releases, proof.cohorts) == (1, 1)
    assert {"vectors.sqlite", "releases.sqlite"} <= set(proof.searched)
    with closing(sqlite3.connect(site.at(site.releases))) as database:
        assert database.execute("SELECT count(*) FROM release").fetchone() == (0,)
    assert study.digest.encode() not in site.at(site.releases).read_bytes()


def test_kept_releases_are_part_of_the_proof(study, other, site, monkeypatch):
    for each in (study, other):
        a_round(site, each)
    with monkeypatch.context() as patch:
        patch.setattr(purge, "_forget", lambda *_: 0)
        with pytest.raises(SiteError, match=r"still in releases\.sqlite"):
            purge_study(site, study.digest)
    proof = purge_study(site, study.digest)
    assert (proof.releases, proof.found_before) == (1, 1)  # what the store held went before
    assert purge_study(site, study.digest).found_before == 0
    assert other.digest.encode() in site.at(site.releases).read_bytes()
    everything = purge_everything(site)
    assert everything.releases == 1
    assert "releases.sqlite" in everything.searched
    assert not site.at(site.releases).exists()


@pytest.mark.parametrize("rule", ["any", "approved"])
def test_a_purged_study_is_not_taken_in_by_the_next_message(study, make_site, rule):
    site = make_site("ash", policy=policy_table(studies=rule))
    if rule == "approved":
        approval.decide(site, study, approve=True)
    a_round(site, study)
    proof = purge_study(site, study.digest)
    assert proof.revoked
    last = site.open_ledger().entries()[-1]
    assert (last.kind, last.body["study"]) == ("revoked", study.digest)
    assert site.open_log().lines()[-1]["event"] == "revoked"
    for attempt in (local.hello, local.admitted):
        with pytest.raises(StudyRefused, match=f"awaits approval .* approve {study.digest}"):
            attempt(site, request(study))
    assert records(site) == set()
    again = purge_study(site, study.digest)
    assert not again.revoked
    assert site.open_ledger().entries()[-1] == last
    approval.decide(site, approval.find(site, study.digest), approve=True)
    assert local.hello(site, request(study)).site == "ash"


def test_a_study_that_was_admitted_before_its_purge_is_not_prepared_after_it(
    study, site, monkeypatch
):
    opened = cohort.open_store

    def late(*args: object, **options: object):
        purge_study(site, study.digest)
        return opened(*args, **options)

    monkeypatch.setattr(cohort, "open_store", late)
    with pytest.raises(StudyRefused, match="study tiny was revoked"):
        local.hello(site, request(study))
    assert records(site) == set()
    assert not cohort.cohort_path(site, study).exists()


def test_a_study_whose_approval_cannot_be_taken_back_is_not_purged(study, site):
    cohort.prepare(site, study)
    before = records(site)
    site.at(site.ledger).unlink()
    with pytest.raises(LedgerBroken):
        purge_study(site, study.digest)
    assert records(site) == before
    assert purge_everything(site).records == len(before)

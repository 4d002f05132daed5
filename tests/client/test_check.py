"""`fedward site check`: each thing that a study needs, looked at where it really is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from builders import policy_table, study_table

from client import check as checking
from client.check import Finding, check
from tasks.study import Study


@pytest.fixture
def site(make_site, monkeypatch):
    """A site that could take part, were its coordinator there."""
    monkeypatch.setattr(checking, "trouble", lambda _: "nothing listens at 127.0.0.1:9")
    made = make_site("ash", policy=policy_table(studies="approved", metrics="noised"))
    made.key("split")  # makes site.key, as `site init` does
    return made.model_copy(update={"test_seed": None})


def states(site, **options: Any) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in check(site, **options):
        found.setdefault(finding.what, []).append(finding)
    return found


def said(findings: list[Finding], state: str) -> str:
    return "\n".join(finding.said for finding in findings if finding.state == state)


def test_a_whole_site_is_all_right_but_for_its_coordinator(site, study):
    found = states(site, study=study)
    wrong = {what for what, findings in found.items() if said(findings, "wrong")}
    assert wrong == {"coordinator"}
    assert said(found["coordinator"], "wrong") == "nothing listens at 127.0.0.1:9"
    assert "60 patients, about " in said(found["source"], "ok")
    assert "tiny keeps every rule" in said(found["policy"], "ok")
    fingerprint = study.encoder.fingerprint(site.settings())
    assert fingerprint[:16] in said(found["encoder"], "ok")
    assert "0 entries, the chain holds; epsilon 0.00 spent, of 8.00" in said(found["ledger"], "ok")


def test_progress_tells_of_every_patient(site):
    told: list[int] = []
    list(check(site, progress=told.append))
    assert told == list(range(1, 61))


def test_a_declared_number_far_off_is_said_and_one_nearby_is_not(site):
    assert "far from" not in said(states(site)["source"], "warning")
    far = site.model_copy(update={"declared_patients": 400})
    assert "declared_patients is 400, far from the" in said(states(far)["source"], "warning")


def test_a_key_that_others_may_read_is_wrong_and_the_rest_is_looked_at_all_the_same(site):
    site.at(site.secret).chmod(0o644)
    found = states(site)
    assert "site.key" in said(found["keys"], "wrong")
    assert said(found["disk"], "ok")


def test_a_lost_key_is_not_made_anew(site):
    site.at(site.secret).unlink()
    found = states(site)
    assert "site.key is missing; restore it" in said(found["keys"], "wrong")
    assert "not read" in said(found["source"], "warning")
    assert not site.at(site.secret).exists()


def test_a_lost_key_of_a_store_is_told_once_there_is_a_store(site):
    assert not said(states(site)["keys"], "wrong")
    site.at(site.vectors).write_bytes(b"")
    assert "store.key is missing" in said(states(site)["keys"], "wrong")


def test_a_test_seed_is_shouted(site):
    seeded = site.model_copy(update={"test_seed": 4})
    assert "test_seed IS SET" in said(states(seeded)["noise"], "wrong")


def test_a_broken_ledger_is_wrong(site, study):
    site.open_ledger().reserve(study.spend(1), lifetime=site.policy.lifetime)
    site.at(site.mark).unlink()
    assert "high-water mark is missing" in said(states(site)["ledger"], "wrong")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"metrics": "exact"}, "can compute note vectors"),
        ({"studies": "any"}, "nobody here has looked at"),
        ({"mechanisms": ["dp-sgd", "off"]}, "without any privacy"),
        ({"lifetime": {"epsilon": 1e9}}, "lifetime.epsilon is large"),
        ({"lifetime": {"epsilon": float("inf")}}, "lifetime.epsilon has no end"),
    ],
)
def test_a_lax_rule_is_told(site, rule, words):
    assert words not in said(states(site)["policy"], "warning")
    lax = site.policy.model_validate(site.policy.model_dump() | rule)
    found = states(site.model_copy(update={"policy": lax}))
    assert words in said(found["policy"], "warning")
    assert not said(found["policy"], "wrong")


def test_a_study_that_breaks_the_policy_is_wrong(site):
    study = Study.parse_table(study_table(head={"kind": "mlp", "hidden": [4]}), where="t")
    strict = site.policy.model_copy(update={"heads": ("linear",)})
    found = states(site.model_copy(update={"policy": strict}), study=study)
    assert "tiny: policy.heads allows linear" in said(found["policy"], "wrong")


def test_models_that_are_not_where_they_should_be_and_full_stores_are_told(site, tmp_path):
    encoders = site.encoders.model_copy(update={"paths": {"clinical": tmp_path / "gone"}})
    odd = site.model_copy(update={"encoders": encoders, "quota_gb": 1e-9})
    site.at(site.vectors).write_bytes(b"x" * 100)
    found = states(odd)
    assert "clinical is not at" in said(found["encoder"], "wrong")
    assert "nine tenths" in said(found["disk"], "warning")


def test_an_empty_source_is_wrong(make_site, monkeypatch, tmp_path):
    monkeypatch.setattr(checking, "trouble", lambda _: "")
    (tmp_path / "none.jsonl").write_text("")
    source = {"kind": "jsonl", "paths": [str(tmp_path / "none.jsonl")]}
    empty = make_site("ash", source=source)
    empty.key("split")
    assert "not one patient" in said(states(empty)["source"], "wrong")


def test_without_a_coordinator_it_says_how_to_get_one(make_site):
    found = states(make_site("ash"))["coordinator"]
    assert "no table [coordinator]; fedward site init" in said(found, "wrong")


def test_what_the_source_holds_is_counted_and_small_counts_are_hidden(site, study):
    found = said(states(site, study=study)["source"], "ok")
    assert "stays, begun " in found
    assert "notes by kind: " in found
    assert " icd-10-cm" in found
    assert "for icd-coding of tiny: " in found
    assert "few" not in found
    floored = site.policy.model_copy(update={"smallest_count": 10_000})
    hidden = said(states(site.model_copy(update={"policy": floored}))["source"], "ok")
    assert "few stays" in hidden
    assert "codes by system: few icd-10-cm" in hidden
    assert "few: fewer than 10000" in hidden


def test_few_patients_are_not_counted_and_those_trained_on_are_rounded(site):
    def under(floor: int) -> str:
        policy = site.policy.model_copy(update={"smallest_count": floor})
        return said(states(site.model_copy(update={"policy": policy}))["source"], "ok")

    # About 42 of 60, more or less with the site's key: the nearest multiple of 25 is one of two.
    assert re.search("60 patients, about (25|50) to train on", under(25))
    assert "few patients, about few to train on" in under(61)


def test_a_mistake_of_the_program_is_one_finding_without_its_text(site, monkeypatch):
    def broken(*_, **__):
        raise OverflowError("Zebulon Quagmire")

    monkeypatch.setattr(type(site.source), "patients", broken)
    found = states(site)
    assert "OverflowError" in said(found["source"], "wrong")
    assert "Zebulon" not in said(found["source"], "wrong")
    assert said(found["disk"], "ok")

"""Embedding apart from messages: who answers them waits for it, and nothing made is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import tomli_w
from builders import policy_table, study_table
from embedding_sites import (
    PREPARING,
    Kept,
    asked,
    hello,
    in_a_process,
    prepare_all,
    toml,
)

from client import approval, cohort, local, wanted
from client.embed import Embedder, due
from client.purge import purge_study
from embeddings.hashing import Hashing
from privacy.errors import SiteError, SourceBroken, StillPreparing, StudyRefused
from tasks.study import Study

# --- Hello ----------------------------------------------------------------------------------


def test_a_deployed_site_refuses_until_the_study_is_prepared_elsewhere(
    deployed, study, monkeypatch
):
    site = deployed()
    with monkeypatch.context() as patch:
        patch.setattr(cohort, "prepare", lambda *_, **__: pytest.fail("within a message"))
        assert hello(site, study) == PREPARING
        assert hello(site, study) == PREPARING
    assert list(wanted.wanted(site)) == [study.digest]
    assert not site.at(site.vectors).exists()
    (made,) = prepare_all(site)
    assert (made.reason, made.patients) == ("", 12)
    assert wanted.wanted(site) == {}
    monkeypatch.setattr(cohort, "prepare", lambda *_, **__: pytest.fail("within a message"))
    assert hello(site, study) == "ash"
    assert [line["event"] for line in site.open_log().lines()] == [
        *("request", "refused", "request", "refused", "prepared"),
        *("request", "admitted", "release"),
    ]


def test_a_site_without_a_coordinator_prepares_within_the_message(deployed, study):
    site = deployed(coordinator=None)
    assert hello(site, study) == "ash"
    assert not site.at(site.studies).exists()


def test_what_is_refused_is_not_marked(deployed, study):
    site = deployed(policy=policy_table(lifetime={"epsilon": 1.0}))
    with pytest.raises(StudyRefused):
        local.hello(site, asked(study))
    assert due(site) == []
    strict = deployed(policy=policy_table(studies="approved"))
    with pytest.raises(StudyRefused, match="awaits approval"):
        local.hello(strict, asked(study))
    assert due(strict) == []
    assert wanted.wanted(site) == {}


def test_an_approval_marks_the_study(deployed, study):
    site = deployed(policy=policy_table(studies="approved"))
    approval.decide(site, study, approve=True)
    assert list(wanted.wanted(site)) == due(site) == [study.digest]
    approval.decide(site, study, approve=False)
    assert due(site) == []
    assert wanted.wanted(site) == {}


def test_no_more_studies_wait_than_may(deployed, study, other, monkeypatch):
    monkeypatch.setattr(wanted, "MOST_WANTED", 1)
    site = deployed()
    assert hello(site, study) == hello(site, other) == hello(site, study) == PREPARING
    assert due(site) == [study.digest]
    assert len(list(site.at(site.studies).iterdir())) == 2
    prepare_all(site)
    assert hello(site, other) == PREPARING
    assert due(site) == [other.digest, study.digest]


def test_a_study_that_any_site_takes_awaits_no_decision(deployed, study):
    site = deployed()
    hello(site, study)
    assert approval.waiting(site) == []


@pytest.mark.parametrize("damage", ["cohort", "vector", "file of the cohort"])
def test_what_was_damaged_since_is_prepared_again(deployed, study, damage):
    site = deployed()
    Embedder(site, Kept()).prepare(study)
    assert hello(site, study) == "ash"
    if damage == "vector":
        with closing(sqlite3.connect(site.at(site.vectors))) as database, database:
            database.execute("UPDATE record SET sealed = zeroblob(9) WHERE id = 3")
    elif damage == "cohort":
        cohort.cohort_path(site, study).write_text("{}")
    else:
        cohort.cohort_path(site, study).unlink()
    assert hello(site, study) == PREPARING
    assert [made.reason for made in prepare_all(site)] == [""]
    assert hello(site, study) == "ash"


def test_a_split_that_changed_stops_the_site_also_where_all_is_prepared(deployed, study):
    Embedder(site := deployed(), Kept()).prepare(study)
    changed = deployed(split={"tune": 0.1, "heldout": 0.4})
    assert hello(changed, study).startswith("SiteError: the site cannot do what it was asked")
    assert hello(deployed(), study) == "ash"
    assert wanted.wanted(site) == {}


ANSWER = """
import sys
from pathlib import Path
from tasks.study import Study
from privacy.fingerprint import code_fingerprint
from privacy.release import Request, RequestHeader
from privacy import wire
from site_app import ask

site, study = sys.argv[1], Study.read(Path(sys.argv[2]))
header = RequestHeader(study=study.canonical(), code=code_fingerprint())
reply = ask(wire.pack_request(Request(header)), site=site)
try:
    said = wire.unpack_hello(reply.content)
    header = header.model_copy(update={"round": 1, "encoder": said.encoder})
    reply = ask(wire.pack_request(Request(header, study.initial())), "train", site=site)
    wire.unpack_release(reply.content, contract=study.contract())
    print("trained")
except Exception as error:
    print(error)
print(*({"sentence_transformers", "transformers", "tokenizers"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_who_answers_messages_never_loads_an_encoder(deployed, tmp_path):
    table = study_table(encoder={"kind": "sentence-transformer"}, sample_rate=1.0, rounds=1)
    file = tmp_path / "study.toml"
    file.write_text(tomli_w.dumps(table))
    site = deployed(policy=policy_table(lifetime={"epsilon": 20.0}))
    shown = in_a_process(ANSWER, toml(site), file)
    assert shown.stdout == f"{PREPARING}\n\n", shown.stderr
    (made,) = prepare_all(site)
    assert (made.notes, made.patients) == (12 + 8, 12), made.reason
    assert made.device in {"cpu", "cuda"}
    shown = in_a_process(ANSWER, toml(site), file)
    assert shown.stdout == "trained\n\n", shown.stderr


# --- Preparing ------------------------------------------------------------------------------


def test_an_encoder_is_loaded_once_for_all_studies(deployed, study, other, monkeypatch):
    loads = []
    load = Hashing.load
    monkeypatch.setattr(Hashing, "load", lambda *args: loads.append(1) or load(*args))
    site = deployed()
    hello(site, study), hello(site, other)
    approval.keep(
        site, wide := Study.parse_table(study_table(encoder={"kind": "hashing"}), where="")
    )
    made = prepare_all(site, screen := Kept())
    assert [one.study for one in made] == screen.begun == ["tiny", "other", "tiny"]
    assert made[0].notes == 12 + 8  # the notes, and what the outputs mean
    assert made[0].chunks >= made[0].notes
    assert (made[1].notes, made[1].device) == (1, "cpu")
    assert (made[2].notes, made[2].device) == (20, "cpu")
    assert (made[2].digest, len(loads)) == (wide.digest, 2)
    assert ("embedding", 20, 20) in screen.seen
    assert "20 notes embedded" in made[0].said
    assert "a second on cpu" in made[0].said


def test_a_study_that_fails_is_told_and_the_others_go_on(deployed, study, other, notes):
    site = deployed()
    hello(site, study)
    approval.keep(site, other)
    (site.at(site.studies) / f"{study.digest}.json").write_text("{}")
    first, second = prepare_all(site)
    assert (first.study, first.digest) == ("", study.digest)
    assert "could not be prepared: " in first.said
    assert (second.study, second.reason) == ("other", "")


def test_a_coordinator_is_told_of_a_failure_in_place_of_being_put_off(deployed, study, notes):
    site = deployed()
    hello(site, study)
    good = notes.read_text()
    notes.write_text(good + '{"id": "Zebulon"\n')
    (made,) = prepare_all(site)
    assert made.reason == "patients.jsonl line 13: is not JSON; mend or remove the line"
    with pytest.raises(SourceBroken, match=r"could not be prepared; see logs/embed\.log"):
        local.hello(site, asked(study))
    # It was marked anew, and may have been mended since.
    assert hello(site, study) == PREPARING
    prepare_all(site)
    assert hello(site, study) == (
        "SourceBroken: the site's source cannot be used; its operator sees why in the site's log"
    )
    notes.write_text(good)
    prepare_all(site)
    assert hello(site, study) == "ash"


def test_what_no_site_error_says_is_not_told(deployed, study, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("Zebulon Quagmire")

    monkeypatch.setattr(Hashing, "load", broken)
    site = deployed()
    hello(site, study)
    (made,) = prepare_all(site)
    assert made.reason.startswith("RuntimeError at test_embed.py:")
    assert "Zebulon" not in made.reason
    with pytest.raises(SiteError, match=r"could not be prepared \(RuntimeError\)") as error:
        local.hello(site, asked(study))
    assert error.value.aloud == SiteError.public


def test_a_study_that_breaks_the_policy_is_not_embedded(deployed, study):
    site = deployed(policy=policy_table(encoders=["sentence-transformer"]))
    made = Embedder(site, Kept()).prepare(study)
    assert "policy.encoders allows sentence-transformer" in made.reason
    assert not site.at(site.vectors).exists()


def test_a_study_may_be_embedded_before_it_is_approved(deployed, study):
    site = deployed(policy=policy_table(studies="approved"))
    assert Embedder(site, Kept()).prepare(study).reason == ""
    with pytest.raises(StudyRefused, match="awaits approval"):
        local.hello(site, asked(study))
    approval.decide(site, study, approve=True)
    assert hello(site, study) == "ash"
    assert purge_study(site, study.digest).records > 0
    assert "was revoked" in Embedder(site, Kept()).prepare(study).reason


def test_a_study_that_ran_to_its_end_is_left_alone(deployed, study):
    site = deployed(policy=policy_table(lifetime={"epsilon": 20.0}))
    hello(site, study)
    prepare_all(site)
    said = local.hello(site, asked(study))
    for number in range(1, study.rounds + 1):
        assert due(site) == [study.digest]
        header = asked(study).model_copy(update={"round": number, "encoder": said.encoder})
        local.train(site, study, header, study.initial())
    assert due(site) == []
    cohort.cohort_path(site, study).unlink()
    assert hello(site, study) == PREPARING
    assert due(site) == [study.digest]


def test_a_preparing_site_says_one_constant_sentence():
    assert StillPreparing("study 3f takes 61 patients").aloud == PREPARING.partition(": ")[2]

"""What a site says when it refuses: the same bytes, whoever its patients are."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import tomli_w
from builders import Tables, deployed_site_table, patient, policy_table, study_table
from flwr.app import RecordDict
from site_app import ask

from client.site import Site
from privacy import wire
from privacy.errors import SiteError
from privacy.fingerprint import code_fingerprint
from privacy.release import Request, RequestHeader
from tasks.study import Study

CANARY = "Zebulon Quagmire"


def hospital(folder: Path, *lines: object, **changes: object) -> Site:
    """A real site called ash with these lines as its records."""
    folder.mkdir(parents=True)
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "notes.jsonl").write_text(text + "\n", "utf-8")
    path = folder / "site.toml"
    path.write_text(tomli_w.dumps(deployed_site_table("ash", **changes)), "utf-8")
    return Site.read(path)


def people(count: int, **changes: object) -> list[Tables]:
    return [patient(number, **changes) for number in range(count)]


def answer(site: Site, study: Study, /, **changes: object) -> RecordDict:
    header = RequestHeader(study=study.canonical(), code=code_fingerprint())
    header = header.model_copy(update=changes)
    return ask(wire.pack_request(Request(header)), site=str(site.folder / "site.toml")).content


def reason(site: Site) -> str:
    """What the operator reads in the audit log."""
    return str(site.open_log().lines()[-1]["reason"])


def test_a_full_store_does_not_tell_how_many_patients_filled_it(study, tmp_path, caplog):
    sites = [hospital(tmp_path / str(count), *people(count), quota_gb=0.0004) for count in (60, 90)]
    with caplog.at_level(logging.WARNING):
        one, two = (answer(site, study) for site in sites)
    told = [reason(site) for site in sites]
    assert all("its quota (quota_gb in site.toml) is 0.0004 GB" in text for text in told)
    assert told[0] != told[1]
    assert all(text in caplog.text for text in told)
    assert one == two
    assert wire.digest(one) == wire.digest(two)
    with pytest.raises(SiteError) as error:
        wire.unpack_hello(one)
    assert str(error.value) == (
        "StoreFull: the site's embedding store has no room; its operator sees why in the site's log"
    )


BROKEN = {
    "not JSON": "no JSON",
    "no admission": patient(99, stays=[{"id": "s1", "admitted": "2024"}]),
    "an id twice": patient(0),
    "half a character": patient(99, notes=[{"at": "2024-01-05T11:00:00Z", "text": "\ud800"}]),
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
def test_a_broken_line_does_not_tell_where_it_stands(study, tmp_path, line):
    sites = [hospital(tmp_path / str(count), *people(count), line) for count in (12, 17)]
    one, two = (answer(site, study) for site in sites)
    assert "notes.jsonl line 13" in reason(sites[0])
    assert "notes.jsonl line 18" in reason(sites[1])
    assert one == two
    with pytest.raises(SiteError) as error:
        wire.unpack_hello(one)
    assert str(error.value) == (
        "SourceBroken: the site's source cannot be used; its operator sees why in the site's log"
    )


REFUSED: dict[str, tuple[Tables, Tables, Tables]] = {
    "policy": ({"privacy": {"kind": "off"}}, {}, {}),
    "budget": ({}, {"lifetime": {"epsilon": 4.0}}, {}),
    "approval": ({}, {"studies": "approved"}, {}),
    "cohort": ({}, {"smallest_cohort": 50}, {}),
    "code": ({}, {}, {"code": "0" * 64}),
    "study": ({}, {}, {"study": "{}"}),
}


@pytest.mark.parametrize(("study_", "policy", "asked"), REFUSED.values(), ids=REFUSED)
def test_refusals_depend_on_public_numbers_alone(tmp_path, study_, policy, asked):
    """Sites that share site.toml and nothing else refuse with the same bytes."""
    study = Study.parse_table(study_table(**study_), where="tiny")
    few, many = people(3), people(40, notes=[])
    sites = [
        hospital(tmp_path / name, *lines, policy=policy_table(**policy))
        for name, lines in (("few", few), ("many", many), ("broken", [CANARY]))
    ]
    answers = [answer(site, study, **asked) for site in sites]
    assert answers[0] == answers[1] == answers[2]
    with pytest.raises(SiteError, match=r"^(StudyRefused|BudgetExhausted|CodeDiffers): "):
        wire.unpack_hello(answers[0])
    assert CANARY not in str(answers)

"""A patient's part of the split is for good: also where the data bring the split along."""

from __future__ import annotations

import json
import logging
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
import tomli_w
from builders import Tables, deployed_site_table, patient, policy_table, study_table
from site_app import ask

from client import cohort, parts
from client.purge import purge_everything, purge_patient, purge_study
from client.site import Site
from client.withdrawn import keyed_hash
from privacy import wire
from privacy.errors import SiteError, SourceBroken
from privacy.fingerprint import code_fingerprint
from privacy.release import Request, RequestHeader
from tasks.study import Study

PART = {"column": "fold", "train": ["a"], "heldout": ["b"]}


def export(*held_out: int, count: int = 30, prefix: str = "p") -> list[Tables]:
    """What the hospital's records are exported as; a column fixes the split."""
    return [
        patient(n, id=f"{prefix}{n}") | {"fold": "b" if n in held_out else "a"}
        for n in range(count)
    ]


@pytest.fixture
def write(write_lines):
    return lambda *held_out, **options: write_lines(*export(*held_out, **options))


@pytest.fixture
def site(make_site, write) -> Site:
    source = {"kind": "jsonl", "paths": [str(write(1, 2, 3))], "part": PART}
    return make_site("ash", source=source, policy=policy_table(lifetime={"epsilon": 30.0}))


@pytest.fixture
def other() -> Study:
    return Study.parse_table(study_table(name="other", steps=4), where="other")


def test_the_parts_are_kept_by_keyed_hash_for_the_owner_alone(study, site):
    cohort.prepare(site, study)
    path = site.at(site.parts)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    name, *lines = path.read_text().splitlines()
    assert len(name) == 32
    assert len(lines) == 30
    hashed = keyed_hash("p2", secret=site.key("patient")).hex()
    assert f"{hashed} heldout" in lines
    before = path.read_bytes()
    cohort.prepare(site, study)
    assert path.read_bytes() == before


@pytest.mark.parametrize("held_out", [(1, 2, 3, 4), (1, 2), (2, 3, 5)])
def test_a_split_that_is_drawn_anew_stops_the_next_study(study, other, site, write, held_out):
    """To held out, to trained on, and both: each would be on two lines of the ledger."""
    cohort.prepare(site, study)
    files = {name: site.at(name).read_bytes() for name in (site.parts, site.vectors)}
    write(*held_out)
    for each in (study, other):
        with pytest.raises(SourceBroken, match="up to 10 patients into another part of the split"):
            cohort.prepare(site, each)
    assert not cohort.cohort_path(site, other).exists()
    assert site.at(site.parts).read_bytes() == files[site.parts]
    write(1, 2, 3)
    cohort.prepare(site, other)


@pytest.mark.parametrize("everything", [False, True])
def test_a_purge_does_not_forget_who_was_trained_on(study, other, site, write, everything):
    cohort.prepare(site, study)
    if everything:
        purge_everything(site)
    else:
        purge_study(site, study.digest)
    assert not cohort.cohort_path(site, study).exists()
    write(1, 2, 3, 4)
    with pytest.raises(SourceBroken, match="another part"):
        cohort.prepare(site, other)


def test_new_patients_come_in_and_others_may_be_left_out(study, other, site, write):
    cohort.prepare(site, study)
    write(1, 2, 3, 35, count=40)
    cohort.prepare(site, other)
    assert len(site.at(site.parts).read_text().splitlines()) == 41
    write(1, 2, count=3)
    cohort.prepare(site, other)
    assert len(site.at(site.parts).read_text().splitlines()) == 41
    write(2, 3, 35, count=40)  # who was left out for a while is remembered
    with pytest.raises(SourceBroken):
        cohort.prepare(site, other)


def test_patients_under_new_names_are_not_known_again(study, other, site, write):
    """As PRIVACY.md says: nothing at the site can tell that they are the same people."""
    cohort.prepare(site, study)
    write(4, 5, 6, prefix="q")
    cohort.prepare(site, other)


def test_a_withdrawn_patient_is_in_no_part(study, site, write):
    cohort.prepare(site, study)
    proof = purge_patient(site, "p1")
    assert "parts.txt" in proof.searched
    assert keyed_hash("p1", secret=site.key("patient")).hex() not in site.at(site.parts).read_text()
    assert len(site.at(site.parts).read_text().splitlines()) == 30
    write(2, 3)  # whatever the records say of p1 now
    cohort.prepare(site, study)


DAMAGE = [
    lambda t: t[1:],
    lambda t: t[:-1],
    lambda t: t + "x",
    lambda t: t + "\u00ff",
    lambda _: "",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_list_stops_the_site(study, site, damage):
    cohort.prepare(site, study)
    path = site.at(site.parts)
    path.write_text(damage(path.read_text()))
    for attempt in (lambda: cohort.prepare(site, study), lambda: purge_patient(site, "p1")):
        with pytest.raises(SiteError, match=r"parts\.txt\) is damaged: restore it"):
            attempt()


def test_a_lost_list_is_not_begun_anew(study, site):
    cohort.prepare(site, study)
    path = site.at(site.parts)
    whole = path.read_text()
    path.unlink()
    for _ in range(2):
        with pytest.raises(SiteError, match=r"parts\.txt\) is lost, or another's: restore it"):
            cohort.prepare(site, study)
        assert not path.exists()
    path.write_text("0" * 32 + whole[32:])
    with pytest.raises(SiteError, match="lost, or another's"):
        cohort.prepare(site, study)
    path.write_text(whole)
    cohort.prepare(site, study)


def test_a_list_that_was_begun_by_a_killed_prepare_is_gone_on_with(study, site, monkeypatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    site.open_ledger()  # as a prepare has, before
    with monkeypatch.context() as patch:
        patch.setattr("privacy.ledger.Ledger.settle", killed)
        with pytest.raises(KeyboardInterrupt):
            parts.keep(site, {b"x" * 32: "train"})
    (site.folder / "parts.txt.0badcafe.draft").write_text("left over")
    parts.keep(site, {b"x" * 32: "train"})
    with pytest.raises(SourceBroken):
        parts.keep(site, {b"x" * 32: "tune"})
    assert not list(site.folder.glob("*.draft"))


def test_two_studies_at_once_lose_nobody(site):
    def keep(number: int) -> None:
        parts.keep(site, {bytes([number]) * 32: "train"})

    site.open_ledger()  # as a prepare has, before
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep, range(12)))
    assert len(site.at(site.parts).read_text().splitlines()) == 13


def test_how_many_moved_does_not_leave(study, other, tmp_path, caplog):
    """Four or fourteen: one sentence at the coordinator, a rounded number in the site's log."""
    answers = []
    for name, held_out in (("few", range(4)), ("many", range(14))):
        folder = tmp_path / name
        folder.mkdir()
        source = {"kind": "jsonl", "paths": ["notes.jsonl"], "part": PART}
        toml = folder / "site.toml"
        toml.write_text(tomli_w.dumps(deployed_site_table("ash", source=source)), "utf-8")
        for lines, asked in ((export(), study), (export(*held_out), other)):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / "notes.jsonl").write_text(text, "utf-8")
            header = RequestHeader(study=asked.canonical(), code=code_fingerprint())
            with caplog.at_level(logging.WARNING):
                reply = ask(wire.pack_request(Request(header)), site=str(toml))
        answers.append(reply.content)
    assert answers[0] == answers[1]
    with pytest.raises(SiteError, match=r"^SourceBroken: the site's source cannot be used; its op"):
        wire.unpack_hello(answers[0])
    assert "up to 10 patients" in caplog.text
    assert "up to 20 patients" in caplog.text

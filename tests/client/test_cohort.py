"""Preparing a study: what heals, what is left behind, what is said."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from builders import patient, study_table

from client import cohort, local
from client.withdrawn import keyed_hash, withdraw, withdrawn
from embeddings.store_file import lock_file, size
from privacy.errors import SiteError, SourceBroken, StoreBroken, StoreFull
from privacy.files import locked
from tasks.study import Study


@pytest.fixture
def site(make_site, write_lines):
    path = write_lines(*(patient(n) for n in range(12)))
    return make_site("ash", source={"kind": "jsonl", "paths": [str(path)]})


def same(bags: local.Bags, others: local.Bags) -> bool:
    return all(
        np.array_equal(mine, theirs)
        for part in ("train", "tune", "heldout")
        for bag, other in zip(getattr(bags, part), getattr(others, part), strict=True)
        for mine, theirs in zip(bag.vectors, other.vectors, strict=True)
    )


def embedded(monkeypatch, study: Study) -> list[str]:
    """What the encoder is asked for from now on."""
    asked: list[str] = []
    load = type(study.encoder).load

    def spy(self, settings):
        encoder = load(self, settings)
        encode = encoder.encode
        encoder.encode = lambda texts: asked.extend(texts) or encode(texts)
        return encoder

    monkeypatch.setattr(type(study.encoder), "load", spy)
    return asked


# --- Damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["sealed", "key", "chunks"])
@pytest.mark.parametrize("number", [1, 5, 12])
def test_a_flipped_bit_stops_a_round_and_is_healed_by_preparing(
    study, site, monkeypatch, column, number
):
    cohort.prepare(site, study)
    whole = local.load_bags(site, study)
    flip(site, column, number)
    with pytest.raises(SiteError, match="prepare the study again"):
        local.load_bags(site, study)
    asked = embedded(monkeypatch, study)
    cohort.prepare(site, study)
    assert len([text for text in asked if "course number" in text]) == 1
    assert same(local.load_bags(site, study), whole)
    asked.clear()
    cohort.prepare(site, study)
    assert asked == []


def flip(site, column: str, number: int) -> None:
    """Flips a bit in the file, in the nth note of a patient."""
    path = site.at(site.vectors)
    with closing(sqlite3.connect(path)) as database:
        [[key, patient_hash, chunks, sealed]] = database.execute(
            "SELECT key, patient, chunks, sealed FROM record JOIN owner ON note = key"
            " WHERE patient != x'' ORDER BY record.id LIMIT 1 OFFSET ?",
            (number - 1,),
        )
        if column == "chunks":
            database.execute("UPDATE record SET chunks = ? WHERE key = ?", (chunks ^ 2, key))
            database.commit()
            return
    content = bytearray(path.read_bytes())
    if column == "sealed":
        places = [content.index(sealed[:60]) + 30]
    else:
        # In the index of the records: it stands in their table and with its owners too. The last
        # byte, or the index could lose its order and other notes with it.
        places = [
            place + len(key) - 1
            for place in range(len(content))
            if content.startswith(key, place)
            and not content.startswith(sealed[:20], place + 33)
            and not content.startswith(patient_hash, place + 32)
        ]
    assert places
    for place in places:
        content[place] ^= 1
    path.write_bytes(bytes(content))


def test_a_damaged_question_is_healed_too(make_site):
    described = Study.parse_table(study_table(head={"kind": "code-query"}), where="tiny")
    site = make_site("ash")
    cohort.prepare(site, described)
    with closing(sqlite3.connect(site.at(site.vectors))) as database:
        database.execute(
            "UPDATE record SET chunks = 9 WHERE key IN (SELECT note FROM owner WHERE patient = x'')"
        )
        database.commit()
    with pytest.raises(StoreBroken, match="damaged"):
        local.load_bags(site, described)
    cohort.prepare(site, described)
    assert local.load_bags(site, described).questions.outputs == 8


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-30],
        lambda text: text.replace('"train"', '"trian"', 1),
        lambda text: text.replace('"part"', '"prat"', 1),
        lambda text: "",
        lambda text: text.replace('"patient": "', '"patient": "x', 1),
        lambda text: "\u00ff" + text,
        lambda text: text.replace('"questions"', '"question"', 1),
    ],
)
def test_a_damaged_cohort_says_what_to_do_and_is_healed(study, site, damage):
    cohort.prepare(site, study)
    path = cohort.cohort_path(site, study)
    whole = path.read_text()
    path.write_text(damage(whole), "latin-1")
    with pytest.raises(SiteError, match="damaged on the site's disk; prepare it again"):
        local.load_bags(site, study)
    cohort.prepare(site, study)
    assert path.read_text() == whole


def test_a_cohort_of_another_version_says_so(study, site):
    cohort.prepare(site, study)
    path = cohort.cohort_path(site, study)
    path.write_text(path.read_text().replace('"format": 3', '"format": 2', 1))
    with pytest.raises(SiteError, match="another version; prepare it again"):
        cohort.load(site, study)


# --- Drafts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [SourceBroken("line 3"), KeyboardInterrupt(), StoreFull("full"), ValueError("x")]
)
def test_a_prepare_that_fails_leaves_no_draft_and_the_old_cohort(study, site, monkeypatch, error):
    cohort.prepare(site, study)
    before = cohort.cohort_path(site, study).read_bytes()

    def broken(*_: object, **__: object):
        yield from ()
        raise error

    monkeypatch.setattr(cohort, "select", broken)
    with pytest.raises(type(error)):
        cohort.prepare(site, study)
    assert [path.name for path in site.at(site.cohorts).iterdir()] == [f"{study.digest}.jsonl"]
    assert cohort.cohort_path(site, study).read_bytes() == before


def test_the_draft_of_a_killed_prepare_goes_at_the_next(study, site):
    cohort.prepare(site, study)
    stale = site.at(site.cohorts) / f"{'e' * 64}.jsonl.0badcafe.draft"
    stale.write_text("left over")
    with locked(lock_file(site.at(site.vectors)), exclusive=False, wait=0):
        cohort.prepare(site, study)
        assert stale.exists()  # somebody may be writing it
    cohort.prepare(site, study)
    assert not stale.exists()


def test_a_full_disk_is_said_while_the_cohort_is_written(study, site, monkeypatch):
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".draft":
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    site.key("split")
    cohort.prepare(site, study)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull, match="the disk of the site's store is full; make room"):
        cohort.prepare(site, study)
    assert [path.suffix for path in site.at(site.cohorts).iterdir()] == [".jsonl"]


# --- Quota ----------------------------------------------------------------------------------


def test_a_quota_stops_the_preparing_and_what_was_embedded_stays(
    study, make_site, write_lines, monkeypatch
):
    words = " ".join(f"w{n}" for n in range(400))
    lines = [patient(n) for n in range(300)]
    for number, line in enumerate(lines):
        line["notes"][0]["text"] = f"{number} {words}"
    source = {"kind": "jsonl", "paths": [str(write_lines(*lines))]}
    site = make_site("ash", source=source, quota_gb=600_000 / 1e9)
    with pytest.raises(StoreFull, match=r"its quota \(quota_gb in site\.toml\) is 0\.0006 GB"):
        cohort.prepare(site, study)
    assert size(site.at(site.vectors)) <= 600_000
    assert not cohort.cohort_path(site, study).exists()
    with pytest.raises(SiteError, match="was not prepared"):
        local.load_bags(site, study)
    asked = embedded(monkeypatch, study)
    cohort.prepare(make_site("ash", source=source, quota_gb=1.0), study)
    texts = {text.split()[0] for text in asked if text.split()[0].isdigit()}
    assert 0 < len(texts) < 300


# --- Who ------------------------------------------------------------------------------------


def test_who_is_withdrawn_is_taken_in_by_no_study(study, site):
    gone = keyed_hash("p3", secret=site.key("patient"))
    withdraw(site, gone)
    withdraw(site, gone)
    assert withdrawn(site) == {gone}
    assert site.at(site.withdrawn).stat().st_mode & 0o077 == 0
    assert "p3" not in site.at(site.withdrawn).read_text()
    counts = cohort.prepare(site, study).counts
    assert counts["patients withdrawn"] == 1
    assert sum(n for rule, n in counts.items() if rule.startswith("patients kept")) == 11
    assert gone.hex() not in cohort.cohort_path(site, study).read_text()


@pytest.mark.parametrize("content", ["zz\n", "ab\n", "ab" * 33, "\u00ff" * 64])
def test_a_damaged_list_of_the_withdrawn_stops_everything(study, site, content):
    withdraw(site, b"x" * 32)
    site.at(site.withdrawn).write_text(content, "latin-1")
    with pytest.raises(SiteError, match=r"withdrawn\.txt\) is damaged: restore it"):
        cohort.prepare(site, study)
    with pytest.raises(SiteError, match="is damaged"):
        withdraw(site, b"y" * 32)


def test_whose_notes_are_kept_is_on_disk_before_their_vectors(study, site, monkeypatch):
    def killed(*_: object, **__: object) -> None:
        with closing(sqlite3.connect(site.at(site.vectors))) as database:
            [[owners]] = database.execute("SELECT count(*) FROM owner")
            [[records]] = database.execute("SELECT count(*) FROM record")
        assert (owners > 12, records) == (True, 0)
        raise KeyboardInterrupt

    monkeypatch.setattr(cohort, "_embed", killed)
    with pytest.raises(KeyboardInterrupt):
        cohort.prepare(site, study)

"""Purging by study, by patient and everything, with the proof."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from builders import patient, study_table

from client import approval, cohort, local, purge
from client.purge import Proof, purge_everything, purge_patient, purge_study
from client.withdrawn import keyed_hash, withdrawn
from embeddings import store_file
from embeddings.store_file import lock_file, purge_waits
from privacy.errors import KeyBroken, SiteError, StoreBroken
from privacy.files import locked
from tasks.study import Study

ROOT = Path(__file__).parents[2]
SHARED = "Discharged home in good condition, follow-up with the family doctor."


@pytest.fixture
def site(make_site, write_lines):
    """Twelve patients, of whom the first two also have a note with the same words."""
    lines = [patient(n) for n in range(12)]
    for line in lines[:2]:
        line["notes"].append(line["notes"][0] | {"text": SHARED})
    source = {"kind": "jsonl", "paths": [str(write_lines(*lines))]}
    return make_site("ash", source=source)


@pytest.fixture
def other() -> Study:
    """Another study on the same notes: it shares their vectors."""
    return Study.parse_table(study_table(name="other", steps=4), where="other")


def records(site) -> set[bytes]:
    with closing(sqlite3.connect(site.at(site.vectors))) as database:
        return {key for (key,) in database.execute("SELECT key FROM record")}


def notes_of(site, study: Study, patient_id: str) -> set[bytes]:
    hashed = keyed_hash(patient_id, secret=site.key("patient")).hex()
    lines = cohort.cohort_path(site, study).read_text().splitlines()[1:]
    rows = [row for row in map(json.loads, lines) if row["patient"] == hashed]
    return {bytes.fromhex(note) for row in rows for notes, _ in row["stays"] for note in notes}


def on_disk(site) -> bytes:
    """Every byte in the site's folder, but for the source's."""
    return b"\0".join(path.read_bytes() for path in site.folder.rglob("*") if path.is_file())


def patients(site, study: Study) -> int:
    return sum(len(rows) for rows in cohort.load(site, study).members.values())


# --- A study --------------------------------------------------------------------------------


def test_a_studys_purge_removes_what_only_it_needs(study, site):
    cohort.prepare(site, study)
    gone = records(site)
    assert len(gone) > 12
    proof = purge_study(site, study.digest)
    assert proof.what == "study"
    assert (proof.study, proof.patient) == (study.digest, None)
    assert (proof.records, proof.kept, proof.cohorts) == (len(gone), 0, 1)
    assert proof.bytes_before > proof.bytes_after
    assert proof.needles >= 3 * len(gone)
    assert proof.found_before > 2 * len(gone)
    assert proof.searched == ("vectors.sqlite",)
    assert not proof.key_destroyed
    content = on_disk(site)
    assert not any(key in content or key.hex().encode() in content for key in gone)
    with pytest.raises(SiteError, match="was not prepared"):
        local.load_bags(site, study)
    approval.decide(site, study, approve=True)
    cohort.prepare(site, study)
    assert records(site) == gone


def test_what_another_study_needs_stays_and_that_study_goes_on(study, other, site):
    cohort.prepare(site, study)
    cohort.prepare(site, other)
    before = records(site)
    proof = purge_study(site, study.digest)
    assert (proof.records, proof.kept) == (0, len(before))
    assert records(site) == before
    assert len(local.load_bags(site, other).train) > 0
    assert purge_study(site, other.digest).records == len(before)
    assert records(site) == set()


def test_a_study_that_was_never_prepared_is_purged_as_nothing(study, other, site):
    cohort.prepare(site, study)
    proof = purge_study(site, other.digest)
    assert (proof.records, proof.kept, proof.cohorts, proof.remaining) == (0, 0, 0, 0)
    assert len(local.load_bags(site, study).train) > 0


@pytest.mark.parametrize("digest", ["", "../site", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n"])
def test_what_is_no_digest_is_refused(site, digest):
    with pytest.raises(ValueError, match="64 hex digits"):
        purge_study(site, digest)


# --- A patient ------------------------------------------------------------------------------


def test_a_patients_purge_removes_the_patient_from_every_study(study, other, site):
    for each in (study, other):
        cohort.prepare(site, each)
    notes = notes_of(site, study, "p0")
    shared = notes & notes_of(site, study, "p1")
    assert (len(notes), len(shared)) == (2, 1)
    hashed = keyed_hash("p0", secret=site.key("patient"))
    before = records(site)
    proof = purge_patient(site, "p0")
    assert (proof.what, proof.patient, proof.study) == ("patient", hashed.hex(), None)
    assert (proof.records, proof.kept, proof.cohorts) == (1, 1, 2)
    assert "withdrawn.txt" not in proof.searched
    assert set(proof.searched) == {
        "vectors.sqlite",
        f"{study.digest}.jsonl",
        f"{other.digest}.jsonl",
        "parts.txt",
    }
    assert records(site) == before - (notes - shared)
    [note] = notes - shared
    site.at(site.withdrawn).unlink()  # the one place where the hash must still be
    content = on_disk(site)
    assert not any(value in content for value in (note, note.hex().encode()))
    assert not any(value in content for value in (hashed, hashed.hex().encode()))
    for each in (study, other):
        assert patients(site, each) == 11
        local.load_bags(site, each)


def test_a_note_of_two_patients_goes_with_the_second(study, site):
    cohort.prepare(site, study)
    [shared] = notes_of(site, study, "p0") & notes_of(site, study, "p1")
    purge_patient(site, "p0")
    assert shared in records(site)
    assert purge_patient(site, "p1").records == 2
    assert shared not in records(site)
    assert shared not in on_disk(site)


def test_a_purged_patient_is_never_taken_in_again(study, other, site):
    cohort.prepare(site, study)
    [note] = notes_of(site, study, "p5")
    purge_patient(site, "p5")
    for each in (study, other):
        assert cohort.prepare(site, each).counts["patients withdrawn"] == 1
        assert patients(site, each) == 11
    assert note not in records(site)
    purge_everything(site)
    assert cohort.prepare(site, study).counts["patients withdrawn"] == 1
    assert note not in records(site)


def test_a_patient_whom_nobody_knows_is_withdrawn_and_the_proof_counts_nothing(study, site):
    cohort.prepare(site, study)
    proof = purge_patient(site, "misspelt")
    assert (proof.records, proof.kept, proof.cohorts, proof.found_before) == (0, 0, 0, 0)
    assert withdrawn(site) == {keyed_hash("misspelt", secret=site.key("patient"))}
    assert patients(site, study) == 12


def test_a_patient_can_be_purged_before_any_study(site):
    site.key("split")
    assert purge_patient(site, "p1").records == 0
    assert not site.at(site.vectors).exists()
    assert len(withdrawn(site)) == 1


def test_no_id_is_in_a_proof_or_on_the_disk(study, make_site, write_lines):
    lines = [patient(n) | {"id": f"MRN-4711-{n}"} for n in range(12)]
    site = make_site("ash", source={"kind": "jsonl", "paths": [str(write_lines(*lines))]})
    cohort.prepare(site, study)
    proof = purge_patient(site, "MRN-4711-7")
    assert proof.records == 1
    assert "4711" not in proof.canonical()
    assert b"4711" not in on_disk(site)
    assert Proof.model_validate(json.loads(proof.canonical())) == proof
    assert proof.at.utcoffset().total_seconds() == 0


def test_without_the_sites_key_no_patient_can_be_purged(study, site):
    cohort.prepare(site, study)
    before = records(site)
    site.at(site.secret).unlink()
    for attempt in (lambda: purge_patient(site, "p0"), lambda: purge_study(site, study.digest)):
        with pytest.raises(KeyBroken, match=r"site\.key is missing.*Restore it"):
            attempt()
    assert not site.at(site.secret).exists()
    assert records(site) == before


@pytest.mark.parametrize("content", ["", "{}\n", "no JSON", '{"format": 1}\n{"part": "train"}\n'])
def test_a_cohort_that_cannot_be_read_goes_whole(study, other, site, content):
    cohort.prepare(site, study)
    cohort.prepare(site, other)
    cohort.cohort_path(site, other).write_text(content)
    assert purge_patient(site, "p0").cohorts == 2
    assert not cohort.cohort_path(site, other).exists()
    assert patients(site, study) == 11


# --- Everything -----------------------------------------------------------------------------


def test_everything_goes_and_the_list_of_the_withdrawn_stays(study, other, site):
    for each in (study, other):
        cohort.prepare(site, each)
    purge_patient(site, "p0")
    count, key = len(records(site)), site.at(site.store_key).read_bytes()
    (site.at(site.cohorts) / "x.jsonl.0badcafe.draft").write_text("left over")
    names = ("site.key", "withdrawn.txt", "parts.txt")
    kept = {name: (site.folder / name).read_bytes() for name in names}
    proof = purge_everything(site)
    assert (proof.what, proof.records, proof.cohorts) == ("everything", count, 2)
    assert proof.key_destroyed
    assert proof.bytes_after == 0 < proof.bytes_before
    assert {"store.key", "vectors.sqlite", "vectors.sqlite-wal", "cohorts/"} <= set(proof.searched)
    left = {path.name for path in site.folder.rglob("*") if path.is_file()}
    assert left == {
        "site.toml",
        "site.key",
        "withdrawn.txt",
        "parts.txt",
        "parts.txt.lock",
        "ledger.sqlite",
        "high-water.sqlite",
        "site.lock",
        "vectors.sqlite.lock",
        "vectors.sqlite.purge",
    }
    assert {name: (site.folder / name).read_bytes() for name in kept} == kept
    cohort.prepare(site, study)
    assert patients(site, study) == 11
    assert site.at(site.store_key).read_bytes() != key


def test_everything_can_be_purged_where_nothing_else_helps(study, site):
    cohort.prepare(site, study)
    site.at(site.store_key).unlink()
    with pytest.raises(StoreBroken, match=r"store\.key is missing.*purge everything"):
        cohort.prepare(site, study)
    assert purge_everything(site).records > 0
    cohort.prepare(site, study)
    site.at(site.vectors).write_bytes(b"x" * 4096)
    with pytest.raises(StoreBroken, match="damaged: purge everything"):
        cohort.prepare(site, study)
    assert purge_everything(site).records is None
    cohort.prepare(site, study)
    assert len(local.load_bags(site, study).train) > 0


def test_the_key_is_destroyed_before_anything_else_is_touched(study, site, monkeypatch):
    cohort.prepare(site, study)
    before = records(site)

    def killed(path: Path) -> None:
        assert not site.at(site.store_key).exists()
        assert records(site) == before
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(purge, "erase_all", killed)
        with pytest.raises(KeyboardInterrupt):
            purge_everything(site)
    with pytest.raises(StoreBroken, match=r"store\.key is missing"):
        local.load_bags(site, study)
    assert purge_everything(site).records == len(before)


def test_everything_of_nothing_is_proven_too(site):
    proof = purge_everything(site)
    assert (proof.records, proof.cohorts, proof.bytes_before, proof.bytes_after) == (0, 0, 0, 0)


# --- The proof can fail ---------------------------------------------------------------------


@pytest.mark.parametrize("what", ["key", "hex", "sealed", "hash"])
def test_what_is_still_somewhere_gives_no_proof(study, site, monkeypatch, what):
    cohort.prepare(site, study)
    [note] = notes_of(site, study, "p4")
    with closing(sqlite3.connect(site.at(site.vectors))) as database:
        [[sealed]] = database.execute("SELECT sealed FROM record WHERE key = ?", (note,))
    hashed = keyed_hash("p4", secret=site.key("patient"))
    copy = {"key": note, "hex": note.hex().encode(), "sealed": sealed, "hash": hashed}[what]
    erase = purge.erase

    def leaky(*args: object, **options: object):
        erased = erase(*args, **options)
        with site.at(site.vectors).open("ab") as file:
            file.write(copy)
        return erased

    monkeypatch.setattr(purge, "erase", leaky)
    with pytest.raises(SiteError, match=r"still in vectors\.sqlite; purge again"):
        purge_patient(site, "p4")


# --- Others at work -------------------------------------------------------------------------

ROUND = """
import sys
from pathlib import Path
from client import cohort, local
from client.site import Site
from tasks.study import Study

site, study = Site.read(Path(sys.argv[1])), Study.read(Path(sys.argv[2]))
bags = cohort.bags
def slow(*args, **options):
    print("reading", flush=True)
    sys.stdin.readline()
    return bags(*args, **options)
cohort.bags = slow
print(len(local.load_bags(site, study).train), flush=True)
cohort.bags = bags
sys.stdin.readline()
try:
    local.load_bags(site, study)
except Exception as error:
    print(error, flush=True)
"""


def test_a_round_that_reads_is_not_disturbed_and_the_next_one_is_told(
    study, site, tmp_path, monkeypatch
):
    import tomli_w

    cohort.prepare(site, study)
    trained = len(local.load_bags(site, study).train)
    file = tmp_path / "study.toml"
    file.write_text(tomli_w.dumps(study_table()))
    process = subprocess.Popen(
        [sys.executable, "-c", ROUND, str(site.folder / "site.toml"), str(file)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        # Their files are there from now on.
        site.one_at_a_time().acquire().lock.release()
        assert not purge_waits(site.at(site.vectors))
        before = on_disk(site)
        monkeypatch.setattr(purge, "WAIT_SECONDS", 0.2)
        for attempt in (
            lambda: purge_study(site, study.digest),
            lambda: purge_patient(site, "p0"),
            lambda: purge_everything(site),
        ):
            with pytest.raises(StoreBroken, match=r"vectors are in use.* Nothing was purged"):
                attempt()
        assert on_disk(site) == before
        for _ in range(3):  # each part is read
            process.stdin.write("go\n")
            process.stdin.flush()
            line = process.stdout.readline()
        assert line == f"{trained}\n"
        assert purge_everything(site).records > 0
        said, _ = process.communicate("again\n", timeout=300)
        assert "this study was not prepared at the site" in said
    finally:
        process.kill()
        process.wait()


def test_while_a_purge_goes_on_rounds_and_preparing_are_told(study, site, monkeypatch):
    cohort.prepare(site, study)
    in_use = store_file.in_use
    monkeypatch.setattr("embeddings.store.in_use", lambda path, wait: in_use(path, wait=0.1))
    with locked(lock_file(site.at(site.vectors)), exclusive=True, wait=0):
        for attempt in (local.load_bags, cohort.prepare):
            with pytest.raises(StoreBroken, match="is being purged; try again"):
                attempt(site, study)
    assert len(local.load_bags(site, study).train) > 0

"""Erasing: who goes, who stays, and what is left of it in the raw bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embeddings import erasure
from embeddings.erasure import Owners, erase, erase_all, search
from embeddings.store import NOBODY, VectorStore
from embeddings.store_file import parts
from privacy.errors import StoreBroken, StoreFull

SECRET = b"s" * 32
STUDY, OTHER = "ab" * 32, "cd" * 32
ANN, BEN = b"A" * 32, b"B" * 32
NOTES = {name: (name.encode() * 32)[:32] for name in ("ann", "both", "ben", "asked")}


def vectors(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(40, 8)).astype(np.float32)


def opened(folder: Path) -> VectorStore:
    return VectorStore(
        folder / "vectors.sqlite",
        key_file=folder / "store.key",
        identity="f" * 64,
        dim=8,
        secret=SECRET,
    )


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Ann and Ben in one study, Ann in another as well; one note they share."""
    with opened(tmp_path) as store:
        rows = [("ann", ANN), ("both", ANN), ("both", BEN), ("ben", BEN), ("asked", NOBODY)]
        store.own([(NOTES[note], patient) for note, patient in rows], study=STUDY)
        store.own([(NOTES["ann"], ANN)], study=OTHER)
        store.put({key: vectors(n) for n, key in enumerate(NOTES.values())})
    return tmp_path / "vectors.sqlite"


def left(path: Path) -> set[str]:
    """The notes that open and are what they were."""
    found = set()
    with opened(path.parent) as store:
        for number, (name, key) in enumerate(NOTES.items()):
            if key in store:
                np.testing.assert_array_equal(store.get(key), vectors(number))
                found.add(name)
    return found


@pytest.mark.parametrize(
    ("owners", "gone", "kept"),
    [
        (Owners(study=bytes.fromhex(STUDY)), {"both", "ben", "asked"}, 1),
        (Owners(study=bytes.fromhex(OTHER)), set(), 1),
        (Owners(patient=ANN), {"ann"}, 1),
        (Owners(patient=BEN), {"ben"}, 1),
        (Owners(patient=b"C" * 32), set(), 0),
    ],
)
def test_what_nobody_else_owns_goes_and_the_rest_stays(path, owners, gone, kept):
    before = {name: raw(path, NOTES[name]) for name in NOTES}
    erased = erase(path, owners, secret=SECRET)
    assert (erased.records, erased.kept) == (len(gone), kept)
    assert left(path) == NOTES.keys() - gone
    assert all(before.values())
    assert {name for name in NOTES if raw(path, NOTES[name])} == NOTES.keys() - gone
    assert search(parts(path), erased.needles) == set()
    assert erased.found_before >= 3 * len(gone)
    # Again: nothing is left to do, and nothing else goes.
    again = erase(path, owners, secret=SECRET)
    assert (again.records, again.kept, again.found_before) == (0, 0, 0)
    assert left(path) == NOTES.keys() - gone


def raw(path: Path, wanted: bytes) -> bool:
    return any(wanted in part.read_bytes() for part in parts(path) if part.exists())


def test_a_note_goes_with_its_last_owner(path: Path):
    assert erase(path, Owners(patient=ANN), secret=SECRET).records == 1
    assert "both" in left(path)
    assert erase(path, Owners(patient=BEN), secret=SECRET).records == 2
    assert left(path) == {"asked"}


def test_no_sealed_byte_of_what_went_is_in_the_files(path: Path):
    with closing(sqlite3.connect(path)) as database:
        sealed = dict(database.execute("SELECT key, sealed FROM record"))
    before = len(path.read_bytes())
    erase(path, Owners(patient=BEN), secret=SECRET)
    content = b"".join(part.read_bytes() for part in parts(path) if part.exists())
    pieces = [sealed[NOTES["ben"]][start : start + 12] for start in range(0, 1200, 12)]
    assert all(piece not in content for piece in pieces)
    assert sealed[NOTES["ann"]][:12] in content
    assert len(content) < before


def test_what_nobody_owns_goes_with_any_purge(path: Path):
    with opened(path.parent) as store:
        store.put({b"orphan" * 5: vectors(9)})
    erase(path, Owners(patient=b"C" * 32), secret=SECRET)
    assert not raw(path, b"orphan" * 5)
    assert left(path) == NOTES.keys()


@pytest.mark.parametrize("column", ["note", "patient", "study", "tag"])
@pytest.mark.parametrize("which", ["table", "index"])
def test_a_flipped_bit_in_who_owns_a_note_hides_nothing_from_a_purge(path, column, which):
    with closing(sqlite3.connect(path)) as database:
        row = database.execute(
            "SELECT note, patient, study, tag FROM owner WHERE patient = ? AND note = ?",
            (BEN, NOTES["ben"]),
        ).fetchone()
    content = bytearray(path.read_bytes())
    # note, patient, study stand in the table, then the tag; in the index without it.
    rows = [n for n in range(len(content)) if content.startswith(b"".join(row[:3]), n)]
    tagged = [n for n in rows if content.startswith(row[3], n + 96)]
    place = tagged[0] if which == "table" else next(n for n in rows if n not in tagged)
    offset = {"note": 5, "patient": 37, "study": 69, "tag": 99}[column]
    content[place + offset] ^= 4
    path.write_bytes(bytes(content))
    erase(path, Owners(patient=BEN), secret=SECRET)
    assert "ben" not in left(path)
    assert not raw(path, NOTES["ben"])
    assert not raw(path, BEN)


def test_a_damaged_record_is_erased_like_any_other(path: Path):
    content = bytearray(path.read_bytes())
    for place in (content.find(NOTES["ben"]), content.rfind(NOTES["ben"])):
        damaged = bytearray(content)
        damaged[place + 3] ^= 1
        path.write_bytes(bytes(damaged))
        erase(path, Owners(patient=BEN), secret=SECRET)
        assert not raw(path, NOTES["ben"])
        assert not raw(path, bytes(damaged[place : place + 32]))
        assert left(path) == {"ann", "both", "asked"}


def test_under_another_key_of_the_sites_nothing_is_erased(path: Path):
    with pytest.raises(StoreBroken, match=r"another site\.key: restore"):
        erase(path, Owners(patient=ANN), secret=b"t" * 32)
    assert left(path) == NOTES.keys()


def test_where_there_is_no_store_nothing_is_made(tmp_path: Path):
    path = tmp_path / "vectors.sqlite"
    assert erase(path, Owners(patient=ANN), secret=SECRET) == erasure.Erased()
    assert erase_all(path) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_for_the_new_file_says_so_and_what_went_is_gone(path, monkeypatch):
    class Full:
        def __init__(self, database):
            self._database = database

        def __getattr__(self, name):
            return getattr(self._database, name)

        def execute(self, sql, *rest):
            if sql == "VACUUM":
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return self._database.execute(sql, *rest)

    with monkeypatch.context() as patch:
        real = erasure._rewrite
        patch.setattr(erasure, "_rewrite", lambda database: real(Full(database)))
        with pytest.raises(StoreFull, match=r"overwritten, but .* make room and purge again"):
            erase(path, Owners(patient=BEN), secret=SECRET)
    assert not raw(path, NOTES["ben"])
    assert erase(path, Owners(patient=BEN), secret=SECRET).records == 0


def test_owners_are_of_one_sort():
    for wrong in ({}, {"study": b"x", "patient": b"y"}, {"patient": NOBODY}):
        with pytest.raises(ValueError, match="of a study or of a patient"):
            Owners(**wrong)


def test_everything_is_removed_also_what_cannot_be_read(path: Path):
    assert erase_all(path) == 4
    assert not any(part.exists() for part in parts(path))
    path.write_bytes(b"x" * 4096)
    for part in parts(path)[1:]:
        part.write_bytes(b"left over")
    assert erase_all(path) is None
    assert not any(part.exists() for part in parts(path))


@pytest.mark.parametrize("block", [1, 3, 16, 33, 64, 1 << 24])
def test_the_search_finds_what_is_there_and_nothing_else(tmp_path, monkeypatch, block):
    monkeypatch.setattr(erasure, "BLOCK_BYTES", block)
    random = np.random.default_rng(0)
    content = random.bytes(600)
    there = {content[:8], content[100:132], content[-20:], content[250:260], content[92:132]}
    near = {content[100:131] + b"\0", content[:7] + b"\0", random.bytes(32), content[-8:] + b"\0"}
    (tmp_path / "a").write_bytes(content)
    files = [tmp_path / "missing", tmp_path / "a"]
    assert search(files, there | near) == there
    assert search(files, set()) == set()
    (tmp_path / "a").write_bytes(b"")
    assert search(files, there) == set()

"""The store's file and its key: lost, damaged, full, in use."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from embeddings.sealing import Seal
from embeddings.store import VectorStore
from embeddings.store_file import lock_file, size
from privacy.errors import KeyBroken, StoreBroken, StoreFull
from privacy.files import locked

ONES = np.ones((3, 8), np.float32)
STUDY = "ab" * 32


def opened(folder: Path, **more: object) -> VectorStore:
    options = {"identity": "f" * 64, "dim": 8, "secret": b"s" * 32, "wait": 0.1} | more
    return VectorStore(folder / "vectors.sqlite", key_file=folder / "store.key", **options)


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Path]:
    """A folder with a store of 20 notes, closed."""
    with opened(tmp_path) as store:
        store.put({b"note %04d" % n: ONES * n for n in range(20)})
    return tmp_path


# --- The key --------------------------------------------------------------------------------


def test_the_key_is_the_stores_own_and_made_with_it(tmp_path: Path):
    opened(tmp_path).close()
    key = tmp_path / "store.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 32
    opened(tmp_path / "other").close()
    assert (tmp_path / "other" / "store.key").read_bytes() != key.read_bytes()


def test_a_lost_key_is_said_and_never_made_anew(filled: Path):
    key = filled / "store.key"
    content = key.read_bytes()
    key.unlink()
    for _ in range(2):
        with pytest.raises(
            StoreBroken, match=r"store\.key is missing.*restore it.*purge everything and prepare"
        ):
            opened(filled)
        assert not key.exists()
    key.write_bytes(content)
    key.chmod(0o600)
    with opened(filled) as store:
        assert b"note 0007" in store


def test_another_key_is_refused_and_writes_nothing(filled: Path):
    (filled / "store.key").write_bytes(b"x" * 32)
    with pytest.raises(StoreBroken, match=r"store\.key is not the key .* restore the right one"):
        opened(filled)
    assert (filled / "store.key").read_bytes() == b"x" * 32


def test_an_empty_store_takes_a_new_key(tmp_path: Path):
    opened(tmp_path).close()
    (tmp_path / "store.key").unlink()
    with opened(tmp_path) as store:
        store.put({b"note": ONES})
    with opened(tmp_path) as store:
        assert b"note" in store


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_open_to_others_opens_nothing(filled: Path, mode: int):
    (filled / "store.key").chmod(mode)
    with pytest.raises(KeyBroken, match=r"chmod 600 store\.key"):
        opened(filled)


def test_a_store_that_does_not_open_holds_no_lock(filled: Path):
    (filled / "store.key").chmod(0o644)
    with pytest.raises(KeyBroken):
        opened(filled)
    with locked(lock_file(filled / "vectors.sqlite"), exclusive=True, wait=0):
        pass


def test_the_vectors_are_not_in_the_files(tmp_path: Path):
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype("<f4")
    store = opened(tmp_path)
    store.put({b"the key of a note": vectors})
    content = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
    store.close()
    content += (tmp_path / "vectors.sqlite").read_bytes()
    assert b"the key of a note" in content  # what is searched is what is kept
    assert all(row.tobytes() not in content for row in vectors)
    assert vectors[0, :2].tobytes() not in content


def test_plain_vectors_of_older_versions_are_removed(tmp_path: Path):
    path = tmp_path / "vectors.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE note (key BLOB PRIMARY KEY, chunks INTEGER, vectors BLOB)")
        database.executemany(
            "INSERT INTO note VALUES (?, 9, ?)",
            [(bytes([n]), b"plain vectors" * 99) for n in b"xyz"],
        )
        database.commit()
    assert b"plain vectors" in path.read_bytes()
    with opened(tmp_path) as store:
        store.put({b"note": ONES})
        assert b"note" in store
    for found in tmp_path.iterdir():
        assert b"plain vectors" not in found.read_bytes()


# --- Damage ---------------------------------------------------------------------------------


def places(content: bytes, wanted: bytes) -> list[int]:
    found, place = [], content.find(wanted)
    while place >= 0:
        found.append(place)
        place = content.find(wanted, place + 1)
    return found


def test_a_flipped_bit_in_a_record_is_found_wherever_it_is(filled: Path):
    path = filled / "vectors.sqlite"
    whole = path.read_bytes()
    with closing(sqlite3.connect(path)) as database:
        [[sealed]] = database.execute("SELECT sealed FROM record WHERE key = ?", (b"note 0007",))
    [start] = places(whole, sealed)
    for place in (0, 11, 12, 60, len(sealed) - 16, len(sealed) - 1):
        path.write_bytes(whole)
        flip(path, start + place)
        with opened(filled) as store:
            assert b"note 0007" not in store
            with pytest.raises(StoreBroken, match=r"damaged .* prepare the study again"):
                store.get(b"note 0007")
            assert all(b"note %04d" % n in store for n in range(20) if n != 7)
            store.put({b"note 0007": ONES * 7})
            np.testing.assert_array_equal(store.get(b"note 0007"), ONES * 7)


def flip(path: Path, place: int, bit: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("also_damaged", [False, True])
def test_a_flipped_bit_in_a_key_gives_no_other_notes_vectors(
    filled: Path, which: int, also_damaged: bool
):
    # A key stands in the table and in its index.
    path = filled / "vectors.sqlite"
    found = places(path.read_bytes(), b"note 0007")
    assert len(found) == 2
    if also_damaged:
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE record SET chunks = 2 WHERE key = ?", (b"note 0007",))
            database.commit()
    flip(path, found[which] + 8)
    with opened(filled) as store:
        for number in range(20):
            key = b"note %04d" % number
            if key in store:
                np.testing.assert_array_equal(store.get(key), ONES * number)
            else:
                store.put({key: ONES * number})
                np.testing.assert_array_equal(store.get(key), ONES * number)
        store.put({b"note 0006": ONES, b"note 0007": ONES})
        np.testing.assert_array_equal(store.get(b"note 0007"), ONES)


@pytest.mark.parametrize("value", [0, 2, 4, 3 + 2**32, -3, None, "3", b"\3", 3.0])
def test_a_changed_number_of_chunks_is_found(filled: Path, value: object):
    with closing(sqlite3.connect(filled / "vectors.sqlite")) as database:
        # As a flipped bit would: past the checks of the table.
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "UPDATE sqlite_master SET sql = replace(replace(sql, ') STRICT', ')'),"
            " 'chunks INTEGER NOT NULL', 'chunks') WHERE name = 'record'"
        )
        database.commit()
    with closing(sqlite3.connect(filled / "vectors.sqlite")) as database:
        database.execute("UPDATE record SET chunks = ? WHERE key = ?", (value, b"note 0007"))
        database.commit()
    with opened(filled) as store:
        assert b"note 0007" not in store
        with pytest.raises(StoreBroken, match="damaged"):
            store.get(b"note 0007")
        assert b"note 0008" in store


def test_records_that_change_places_are_found(filled: Path):
    with closing(sqlite3.connect(filled / "vectors.sqlite")) as database:
        seven, eight = b"note 0007", b"note 0008"
        rows = dict(database.execute("SELECT key, sealed FROM record"))
        for key, other in ((seven, eight), (eight, seven)):
            database.execute("UPDATE record SET sealed = ? WHERE key = ?", (rows[other], key))
        database.commit()
    with opened(filled) as store:
        assert seven not in store
        assert eight not in store
        assert b"note 0009" in store


def test_a_file_that_is_no_database_says_what_to_do(filled: Path):
    path = filled / "vectors.sqlite"
    path.write_bytes(b"x" * 4096)
    with pytest.raises(StoreBroken, match="is damaged: purge everything and prepare"):
        opened(filled)
    path.write_bytes(b"")
    (filled / "store.key").unlink()
    opened(filled).close()  # a file that was made and never written is as good as none


def test_a_damaged_page_says_what_to_do(filled: Path):
    path = filled / "vectors.sqlite"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(StoreBroken, match="is damaged: purge everything and prepare"):
        opened(filled)


# --- Room -----------------------------------------------------------------------------------


@pytest.mark.parametrize("quota", [60_000, 100_000, 300_000])
@pytest.mark.parametrize(("chunks", "at_once"), [(1, 1), (1, 40), (40, 1), (40, 5), (0, 3)])
def test_nothing_is_written_beyond_the_quota(tmp_path: Path, quota: int, chunks: int, at_once: int):
    path, put = tmp_path / "vectors.sqlite", 0
    with opened(tmp_path) as store:
        empty = size(path)
    with opened(tmp_path, quota=max(quota, empty)) as store:

        def fill() -> None:
            nonlocal put
            while True:
                keys = [b"%d/%d" % (put, n) for n in range(at_once)]
                store.own([(key, b"p" * 32) for key in keys], study=STUDY)
                assert size(path) <= quota or put == 0
                store.put(dict.fromkeys(keys, np.ones((chunks, 8), np.float32)))
                put += 1
                assert size(path) <= quota

        with pytest.raises(
            StoreFull, match=r"takes .* GB and its quota \(quota_gb in site\.toml\) is .* purge a"
        ):
            fill()
        kept = [b"%d/%d" % (batch, n) for batch in range(put) for n in range(at_once)]
        assert all(key in store for key in kept)
        before = size(path)
        with pytest.raises(StoreFull):
            store.put(dict.fromkeys(map(str.encode, "abcdefgh"), np.ones((500, 8), np.float32)))
        assert size(path) <= before
    with opened(tmp_path, quota=10 * quota) as store:
        store.put({b"more": ONES})


def test_a_quota_is_used_and_not_only_kept(tmp_path: Path):
    with opened(tmp_path, quota=10**6) as store:
        with suppress(StoreFull):
            for number in range(10_000):
                store.put({b"%d" % number: np.ones((40, 8), np.float32)})
        assert 0.6 * 10**6 < size(tmp_path / "vectors.sqlite") <= 10**6


def test_who_owns_what_takes_no_room_twice(tmp_path: Path):
    with opened(tmp_path) as store:
        notes = [(b"%d" % n, b"p" * 32) for n in range(100)]
        for _ in range(3):
            store.own(notes, study=STUDY)
        [[count]] = store._database.execute("SELECT count(*) FROM owner")
        assert count == 100
        changes = store._database.total_changes
    with opened(tmp_path, quota=1) as store:
        store.own(notes, study=STUDY)
        assert store._database.total_changes == 0 < changes
        with pytest.raises(StoreFull):
            store.own([(b"new", b"p" * 32)], study=STUDY)


# --- In use ---------------------------------------------------------------------------------


def test_a_purge_keeps_the_store_shut_and_an_open_store_keeps_purges_away(filled: Path):
    lock = lock_file(filled / "vectors.sqlite")
    assert lock.exists()
    with (
        locked(lock, exclusive=True, wait=0),
        pytest.raises(StoreBroken, match="is being purged; try again"),
    ):
        opened(filled)
    with (
        opened(filled),
        opened(filled),
        pytest.raises(TimeoutError),
        locked(lock, exclusive=True, wait=0.05),
    ):
        pass
    with locked(lock, exclusive=True, wait=0):
        pass


def test_what_a_seal_says_is_what_the_store_writes(filled: Path):
    with closing(sqlite3.connect(filled / "vectors.sqlite")) as database:
        [[sealed]] = database.execute("SELECT sealed FROM record WHERE key = ?", (b"note 0005",))
    seal = Seal((filled / "store.key").read_bytes(), identity="f" * 64, dim=8)
    np.testing.assert_array_equal(seal.open(b"note 0005", 3, sealed), ONES * 5)

"""Hash chains, marks that only rise, and the files that they stand in."""

from __future__ import annotations

import sqlite3
import stat
import time

import pytest
from ledgers import sql

from privacy import files
from privacy.chain import START, Height, Mark, fault, link
from privacy.errors import LedgerBroken
from privacy.files import connect, make_private


@pytest.fixture
def mark(tmp_path) -> Mark:
    return Mark(tmp_path / "far" / "mark.sqlite", chain="ledger")


def test_a_link_covers_its_content_and_the_one_before():
    first = link(START, [1, "a"])
    assert first == link(START, [1, "a"])
    assert len({first, link(START, [1, "b"]), link(first, [1, "a"]), link(START, ["1", "a"])}) == 4


def test_a_link_does_not_depend_on_the_order_of_keys():
    assert link(START, {"a": 1, "b": 2}) == link(START, {"b": 2, "a": 1})


def test_a_link_has_no_room_between_hash_and_content():
    assert link("ab", ["c"]) != link("a", ["bc"])
    assert link('ab",["c', "x") != link("ab", 'c","x')


def test_a_link_of_what_json_cannot_say_is_an_error():
    with pytest.raises(ValueError, match="JSON compliant"):
        link(START, float("nan"))


# The mark


def test_there_is_no_mark_until_one_is_begun(mark):
    assert mark.read() is None
    assert not mark.path.exists()
    mark.begin(Height())
    assert mark.read() == Height(0, START)
    assert stat.S_IMODE(mark.path.stat().st_mode) == 0o600


def test_a_mark_only_rises(mark):
    mark.begin(Height())
    for length, expected in ((3, 3), (2, 3), (3, 3), (7, 7), (0, 7)):
        mark.rise(Height(length, f"head {length} {expected}"))
        assert mark.read().length == expected
    assert mark.read() == Height(7, "head 7 7")


def test_the_same_height_with_another_head_is_no_rise(mark):
    mark.begin(Height(3, "first"))
    mark.rise(Height(3, "second"))
    assert mark.read() == Height(3, "first")


def test_a_mark_that_is_there_is_not_begun_again(mark):
    mark.begin(Height(3, "first"))
    mark.begin(Height())
    assert mark.read() == Height(3, "first")


def test_chains_have_marks_of_their_own_in_one_file(mark):
    other = Mark(mark.path, chain="audit-log")
    mark.begin(Height(3, "first"))
    assert other.read() is None
    other.begin(Height())
    other.rise(Height(9, "second"))
    assert (mark.read(), other.read()) == (Height(3, "first"), Height(9, "second"))


def test_a_mark_is_on_disk_before_rise_returns(mark, monkeypatch):
    """Each commit of the file waits for the disk."""
    mark.begin(Height())
    with mark._open() as database:
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_what_was_lost_is_not_raised(mark):
    with pytest.raises(LedgerBroken, match=r"mark\.sqlite was lost meanwhile"):
        mark.rise(Height(1, "head"))
    assert not mark.path.exists()
    Mark(mark.path, chain="audit-log").begin(Height())
    with pytest.raises(LedgerBroken, match=r"mark\.sqlite was lost meanwhile"):
        mark.rise(Height(1, "head"))


def test_a_mark_is_renewed_only_where_there_is_none(mark):
    assert mark.renew(["one", "two"]) == mark.read() == Height(2, "two")
    with pytest.raises(LedgerBroken, match="nothing to begin"):
        mark.renew(["one", "two", "three"])
    assert mark.read() == Height(2, "two")
    assert Mark(mark.path, chain="audit-log").renew([]) == Height(0, START)


@pytest.mark.parametrize("act", ["read", "rise", "begin"])
def test_a_mark_that_cannot_be_read_says_what_to_do(mark, act):
    make_private(mark.path)
    mark.path.write_bytes(b"garbage " * 600)
    with pytest.raises(LedgerBroken, match=r"cannot be used: .*; restore it, or move it away"):
        getattr(mark, act)(*() if act == "read" else (Height(),))


@pytest.mark.parametrize("table", ["TABLE mark (chain TEXT)", "VIEW mark AS SELECT 1"])
def test_a_mark_of_another_table_says_what_to_do(mark, table):
    make_private(mark.path)
    sql(mark.path, f"CREATE {table}")
    with pytest.raises(LedgerBroken, match="cannot be used: "):
        mark.read()


@pytest.mark.parametrize(
    ("hashes", "mark", "expected"),
    [
        ([], None, None),
        (["a"], None, "its high-water mark is missing"),
        ([], Height(), None),
        (["a", "b"], Height(), None),
        (["a", "b"], Height(1, "a"), None),
        (["a", "b"], Height(2, "b"), None),
        (["a", "b"], Height(2, "a"), "entry 2 is not the one that its high-water mark saw"),
        (["a", "b"], Height(1, "b"), "entry 1 is not the one that its high-water mark saw"),
        (["a", "b"], Height(3, "c"), "it has 2 entries, its high-water mark says 3"),
        ([], Height(1, "a"), "it has 0 entries, its high-water mark says 1"),
    ],
)
def test_what_a_mark_says_is_wrong_with_a_chain(hashes, mark, expected):
    assert fault(hashes, mark) == expected


# Files


def test_a_private_file_is_for_its_owner_and_never_emptied(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    make_private(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"content")
    make_private(path)
    assert path.read_bytes() == b"content"


def test_the_name_of_a_new_file_is_on_disk_too(tmp_path, monkeypatch):
    synced = []
    fsync = files.os.fsync
    monkeypatch.setattr(
        files.os, "fsync", lambda file: (synced.append(files.os.fstat(file).st_ino), fsync(file))
    )
    make_private(tmp_path / "file")
    assert synced == [tmp_path.stat().st_ino]


def test_what_is_no_database_is_an_error_at_once(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"garbage " * 600)
    before = time.monotonic()
    with pytest.raises(sqlite3.DatabaseError):
        connect(path)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        connect(tmp_path)
    assert time.monotonic() - before < 5


def test_a_busy_file_is_waited_for_but_not_for_ever(tmp_path, monkeypatch):
    path = tmp_path / "file"
    with sqlite3.connect(path, isolation_level=None) as holder:
        holder.execute("CREATE TABLE t (x)")
        holder.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(files, "WAIT_SECONDS", 0.3)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            connect(path)
        holder.execute("ROLLBACK")
    holder.close()
    found = connect(path)
    assert found.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    found.close()

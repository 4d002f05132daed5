"""A ledger or a mark that was cut, rolled back, lost or damaged is seen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import (
    NO_CEILING,
    height,
    open_ledger,
    refused,
    spend,
    sql,
    unguarded,
)

from privacy.chain import Height, Mark
from privacy.errors import LedgerBroken

CUT = (
    r"it has {} entries, its high-water mark says {}\. Nothing is trained until it is restored "
    r"from where it was moved or backed up; if only the mark is lost, `fedward site ledger "
    r"--new-mark` begins another"
)
LOST = r"its high-water mark is missing\. Nothing is trained until .* `fedward site ledger --new-m"
UNREADABLE = r"cannot be (read|used): .* Nothing is trained until"


@pytest.fixture
def mark(folder) -> Path:
    return folder / "mark" / "mark.sqlite"


# Cuts and rollbacks


@pytest.mark.parametrize("left", range(6))
def test_a_ledger_that_was_cut_is_refused(folder, path, left):
    unguarded(path)
    sql(path, ("DELETE FROM entry WHERE id > ?", (left,)))
    refused(folder, CUT.format(left, 6))


def test_an_older_copy_is_refused(folder, path, tmp_path):
    shutil.copy(path, tmp_path / "backup")
    open_ledger(folder).reserve(spend(round=3), lifetime=NO_CEILING)
    now = path.read_bytes()
    shutil.copy(tmp_path / "backup", path)
    refused(folder, CUT.format(6, 7))
    path.write_bytes(now)
    open_ledger(folder).reserve(spend(round=4), lifetime=NO_CEILING)


def test_an_older_copy_that_went_on_elsewhere_is_refused(folder, path, tmp_path):
    """It is as long as the ledger was, and longer."""
    other = shutil.copytree(folder, tmp_path / "elsewhere")
    open_ledger(folder).reserve(spend(round=3), lifetime=NO_CEILING)
    for number in (4, 5):
        open_ledger(other).reserve(spend(500, round=number), lifetime=NO_CEILING)
        shutil.copy(other / "ledger.sqlite", path)
        refused(folder, "entry 7 is not the one that its high-water mark saw")


def test_a_lost_ledger_is_refused(folder, path):
    path.unlink()
    refused(folder, CUT.format(0, 6))


def test_an_empty_file_in_its_place_is_refused(folder, path):
    path.write_bytes(b"")
    refused(folder, CUT.format(0, 6))


def test_a_new_ledger_in_its_place_is_refused(folder, path, tmp_path):
    ledger = open_ledger(tmp_path / "new")
    shutil.copy(ledger.path, path)
    refused(folder, CUT.format(0, 6))
    for number in range(1, 8):
        ledger.reserve(spend(500, round=number), lifetime=NO_CEILING)
    shutil.copy(ledger.path, path)
    refused(folder, "entry 6 is not the one that its high-water mark saw")


@pytest.mark.parametrize(
    "content",
    [b"\0" * 8192, b"no database at all " * 500, b"SQLite format 3\0" + b"\xff" * 9000],
    ids=["zeros", "text", "header"],
)
def test_garbage_in_its_place_is_refused(folder, path, content):
    path.write_bytes(content)
    refused(folder, UNREADABLE)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_garbage_in_the_middle_of_the_file_is_seen_or_harmless(made, tmp_path_factory, data):
    """Every page is hit somewhere; what is read is then all there was, or nothing."""
    before = open_ledger(made).entries()
    damaged = shutil.copytree(made, tmp_path_factory.mktemp("garbage") / "site")
    path = damaged / "ledger.sqlite"
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 64))
    content[place : place + 64] = data.draw(st.binary(min_size=64, max_size=64))
    path.write_bytes(content)
    try:
        entries = open_ledger(damaged).entries()
    except LedgerBroken:
        pass
    else:
        assert entries == before


@pytest.mark.parametrize("size", [50, 100, 4095, 4096, 5000, 8191])
def test_a_file_cut_short_is_refused(folder, path, size):
    content = path.read_bytes()
    assert len(content) > size
    path.write_bytes(content[:size])
    refused(folder, "Nothing is trained until")


# The mark


def test_a_lost_mark_is_seen_until_the_operator_begins_another(folder, mark):
    mark.unlink()
    refused(folder, LOST)
    assert not mark.exists(), "looking for it must not make it"
    ledger = open_ledger(folder)
    assert ledger.new_mark() == Height(6, ledger_head(folder))
    assert ledger.reserve(spend(round=9), lifetime=NO_CEILING).id == 7
    assert height(folder).length == 7


def ledger_head(folder: Path) -> str:
    ((head,),) = sql(folder / "ledger.sqlite", "SELECT hash FROM entry ORDER BY id DESC LIMIT 1")
    return head


def test_an_empty_file_in_the_marks_place_is_refused(folder, mark):
    mark.write_bytes(b"")
    refused(folder, LOST)
    open_ledger(folder).new_mark()
    open_ledger(folder).reserve(spend(round=9), lifetime=NO_CEILING)


def test_garbage_in_the_marks_place_is_refused(folder, mark):
    mark.write_bytes(b"no database at all " * 500)
    text = (
        r"high-water mark at mark\.sqlite cannot be used: .* restore it, or move it away and begin"
    )
    refused(folder, text)
    with pytest.raises(LedgerBroken, match=text):
        open_ledger(folder).new_mark()
    mark.unlink()
    open_ledger(folder).new_mark()
    open_ledger(folder).reserve(spend(round=9), lifetime=NO_CEILING)


def test_there_is_no_new_mark_where_there_is_one(folder):
    with pytest.raises(LedgerBroken, match="there is a high-water mark"):
        open_ledger(folder).new_mark()


def test_there_is_no_new_mark_over_a_chain_that_does_not_hold(folder, path, mark):
    mark.unlink()
    unguarded(path)
    sql(path, "UPDATE entry SET at = '2020-01-01T00:00:00+00:00' WHERE id = 3")
    with pytest.raises(LedgerBroken, match="entry 3 was edited"):
        open_ledger(folder).new_mark()
    assert not mark.exists()


def test_a_mark_of_another_chain_in_the_same_file_is_none(folder, mark):
    sql(mark, "UPDATE mark SET chain = 'audit-log'")
    refused(folder, LOST)


def test_another_ledgers_mark_is_refused(folder, mark, tmp_path):
    for number in range(1, 4):
        open_ledger(tmp_path / "other").reserve(spend(round=number), lifetime=NO_CEILING)
    shutil.copy(tmp_path / "other" / "mark" / "mark.sqlite", mark)
    refused(folder, "entry 3 is not the one that its high-water mark saw")


def test_a_mark_that_was_lowered_is_raised_by_the_next_charge(folder, mark):
    """By itself it shows nothing; who can do it can forge both, as `privacy.chain` says."""
    first = open_ledger(folder).entries()[0].hash
    sql(mark, ("UPDATE mark SET length = 1, head = ?", (first,)))
    open_ledger(folder).reserve(spend(round=9), lifetime=NO_CEILING)
    assert height(folder) == Height(7, ledger_head(folder))


def test_a_mark_that_is_lost_while_a_charge_is_written_is_not_made_anew(folder, mark, monkeypatch):
    rise = Mark.rise

    def lost(self: Mark, to: Height) -> None:
        mark.unlink()
        rise(self, to)

    monkeypatch.setattr(Mark, "rise", lost)
    with pytest.raises(LedgerBroken, match="was lost meanwhile"):
        open_ledger(folder).reserve(spend(round=9), lifetime=NO_CEILING)
    monkeypatch.undo()
    assert not mark.exists()
    refused(folder, LOST)


def test_an_empty_ledger_without_a_mark_has_lost_nothing(tmp_path):
    for number in (1, 2):
        ledger = open_ledger(tmp_path / "new")
        assert ledger.entries() == ()
        (tmp_path / "new" / "mark" / "mark.sqlite").unlink(missing_ok=True)
        receipt = ledger.reserve(spend(round=number), lifetime=NO_CEILING)
        assert height(tmp_path / "new").length == receipt.id == 1
        ledger.path.unlink()
        (tmp_path / "new" / "mark" / "mark.sqlite").unlink()

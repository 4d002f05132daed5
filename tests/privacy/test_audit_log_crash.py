"""The audit log under kill -9 at every point of its writing, and under many writers at once."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from forks import Forks
from ledgers import height

from privacy.audit_log import AuditLog
from privacy.chain import Height

CODE = """
from privacy.audit_log import AuditLog
log = AuditLog(folder / "audit.jsonl", site="ash", mark=folder / "mark" / "mark.sqlite")
"""

WRITE = """
for what in ("fourth", "fifth"):
    log.write("request", what=what)
    say(what)
"""


def open_log(folder: Path) -> AuditLog:
    return AuditLog(folder / "audit.jsonl", site="ash", mark=folder / "mark" / "mark.sqlite")


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks("import privacy.audit_log") as program:
        yield program


@pytest.fixture
def start(tmp_path) -> Path:
    """A folder with a log of three lines."""
    for what in ("first", "second", "third"):
        open_log(tmp_path / "start").write("request", what=what)
    return tmp_path / "start"


def told(folder: Path) -> list[str]:
    """What the lines of a log tell, without the repairs of torn ones."""
    return [line["what"] for line in open_log(folder).lines() if line["event"] != "torn"]


@pytest.mark.parametrize("new", [True, False], ids=["a new log", "three lines"])
def test_a_kill_anywhere_loses_nothing_that_was_said(forks, start, tmp_path, new):
    if new:
        start = tmp_path / "new"
        start.mkdir()
    before = [] if new else ["first", "second", "third"]
    torn = 0
    for folder, run in forks.killed_everywhere(CODE + WRITE, start):
        now = told(folder)  # a crash is not tampering
        assert now[: len(before)] == before
        assert run.said == now[len(before) :][: len(run.said)]
        assert len(before) + len(run.said) <= len(now) <= len(before) + len(run.said) + 1
        marked = height(folder, chain="audit-log") or Height()
        assert len(before) + len(run.said) <= marked.length <= len(now)

        path = folder / "audit.jsonl"
        cut_short = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size
        open_log(folder).write("request", what="after")
        lines = open_log(folder).lines()
        assert told(folder) == [*now, "after"]
        assert [line["event"] for line in lines].count("torn") == bool(cut_short)
        assert height(folder, chain="audit-log") == Height(len(lines), lines[-1]["hash"])
        torn += bool(cut_short)
    assert torn >= 2, "no write was cut in its middle"


def test_a_kill_anywhere_while_a_torn_line_is_set_right_loses_nothing_more(forks, start):
    with (start / "audit.jsonl").open("ab") as file:
        file.write(b'{"number": 4, "at": "20')
    for folder, run in forks.killed_everywhere(CODE + WRITE, start):
        now = told(folder)
        assert now == ["first", "second", "third", "fourth", "fifth"][: len(now)]
        assert 3 + len(run.said) <= len(now) <= 3 + len(run.said) + 1
        open_log(folder).write("request", what="after")
        assert told(folder) == [*now, "after"]


def test_a_line_torn_at_any_byte_is_set_right_and_told_of(start):
    log, mark = open_log(start), start / "mark" / "mark.sqlite"
    before, marked = log.path.read_bytes(), mark.read_bytes()
    log.write("request", what="torn")
    line = log.path.read_bytes()[len(before) :]
    for length in range(1, len(line)):
        mark.write_bytes(marked)
        log.path.write_bytes(before + line[:length])
        assert told(start) == ["first", "second", "third"]
        if length % 16 == 1 or length == len(line) - 1:
            log.write("request", what="after")
            assert told(start) == ["first", "second", "third", "after"]
            told_of = log.lines()[3]
            assert (told_of["event"], told_of["bytes"]) == ("torn", length)
            assert told_of["severity"] == "warning"


def test_a_disk_that_fills_up_is_an_error_and_tears_no_more_than_one_line(start, monkeypatch):
    log, write = open_log(start), os.write
    room = 100

    def full(file: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "no space left")
        done = write(file, data[:room])
        room -= done
        return done

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="no space left"):
        log.write("request", what="lost")
    monkeypatch.undo()
    assert told(start) == ["first", "second", "third"]
    log.write("request", what="after")
    assert told(start) == ["first", "second", "third", "after"]
    assert [line.get("bytes") for line in log.lines()][3] == 100


def test_a_line_is_on_disk_before_its_mark_rises(start, monkeypatch):
    log, order = open_log(start), []
    fsync, rise = os.fsync, log._mark.rise
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("disk"), fsync(file)))
    monkeypatch.setattr(type(log._mark), "rise", lambda _, to: (order.append("mark"), rise(to)))
    log.write("request")
    assert order == ["disk", "mark"]


def test_eight_processes_at_once_write_one_chain(forks, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    many = """
for turn in range(5):
    log.write("request", what=f"{number}/{turn}")
    say(len(log.lines()))
"""
    runs = forks.run(CODE + many, folder, times=8)
    for run in runs:  # each saw its own lines in the log that it read back
        assert len(run.said) == 5
        assert run.said == sorted(set(run.said))
    lines = open_log(folder).lines()
    assert [line["number"] for line in lines] == list(range(1, 41))
    assert sorted(told(folder)) == sorted(f"{a}/{b}" for a in range(8) for b in range(5))
    for process in range(8):
        own = [what for what in told(folder) if what.startswith(f"{process}/")]
        assert own == [f"{process}/{turn}" for turn in range(5)]
    assert height(folder, chain="audit-log") == Height(40, lines[-1]["hash"])

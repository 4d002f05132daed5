"""The audit log: one honest line for each event, whatever it holds, and no way to unsay it."""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
import threading
from datetime import datetime
from pathlib import Path

import pytest
from ledgers import height, open_ledger

from privacy import audit_log
from privacy.audit_log import LONGEST, AuditLog
from privacy.chain import START, Height, Mark, link
from privacy.errors import LedgerBroken


def open_log(folder: Path) -> AuditLog:
    return AuditLog(folder / "audit.jsonl", site="ash", mark=folder / "mark" / "mark.sqlite")


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def log(folder) -> AuditLog:
    return open_log(folder)


@pytest.fixture
def three(log) -> AuditLog:
    """A log of three lines."""
    log.write("request", what="train", bytes=12)
    log.write("spend", receipt=1, noise_multiplier=2.5)
    log.write("release", study="a" * 64)
    return log


def rows(log: AuditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def remade(lines: list[dict[str, object]]) -> bytes:
    """Lines with every hash made anew, as one can who knows how."""
    made, previous = [], START
    for line in lines:
        content = {key: value for key, value in line.items() if key != "hash"}
        previous = link(previous, content)
        made.append(json.dumps(content | {"hash": previous}) + "\n")
    return "".join(made).encode()


# What a line is


def test_an_event_is_one_line_with_its_time_site_and_number(three):
    found = [json.loads(row) for row in rows(three)]
    assert [line["number"] for line in found] == [1, 2, 3]
    assert [line["event"] for line in found] == ["request", "spend", "release"]
    assert {line["site"] for line in found} == {"ash"}
    assert found[0]["what"] == "train"
    assert (found[1]["receipt"], found[1]["noise_multiplier"]) == (1, 2.5)
    for line in found:
        assert datetime.fromisoformat(line["at"]).utcoffset().total_seconds() == 0
    assert three.lines() == found


def test_each_line_is_linked_to_the_one_before_and_the_last_is_marked(three, folder):
    previous = START
    for line in three.lines():
        claimed = line.pop("hash")
        assert claimed == link(previous, line)
        previous = claimed
    assert height(folder, chain="audit-log") == Height(3, previous)


def test_refusals_and_repairs_are_warnings(log):
    for event in ("request", "refused", "release", "mark"):
        log.write(event)
    assert [line["severity"] for line in log.lines()] == ["info", "warning", "info", "warning"]


def test_only_the_owner_reads_the_log(log):
    before = os.umask(0)
    try:
        log.write("request")
    finally:
        os.umask(before)
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "two\nlines",
        "\r\n\x85\u2028\0\x1b[31m",
        "Zürich 漢字 😀",
        "\ud800",
        '"}\n{"event": "forged"}\n',
    ],
)
def test_any_text_stays_in_one_line_of_ascii(log, text):
    log.write("refused", reason=text)
    log.write("request")
    assert len(rows(log)) == 2
    assert all(0x20 <= byte < 0x7F for row in rows(log) for byte in row[:-1])
    assert log.lines()[0]["reason"] == text


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_json_lacks_is_written_as_text(log, value):
    log.write("spend", epsilon=value)
    assert log.lines()[0]["epsilon"] == str(value)


def test_values_come_back_as_they_were(log):
    values = {"a": 1, "b": 0.1, "c": True, "d": None, "e": "text", "f": -(10**15), "g": 1e300}
    log.write("spend", **values)
    assert log.lines()[0].items() >= values.items()


@pytest.mark.parametrize("char", ["x", '"', "\n", "\0", "é", "😀", "\ud800"])
def test_long_texts_are_cut_so_that_two_fit_into_a_line(log, char):
    log.write("refused", what=char * 5000, error="StudyRefused", reason=char * 5000)
    (row,) = rows(log)
    assert len(row) <= LONGEST
    (line,) = log.lines()
    for text in (line["what"], line["reason"]):
        assert text[-1] == "~"
        assert set(text[:-1]) <= {char}
        assert 600 < len(json.dumps(text)) <= 702


def test_a_text_that_just_fits_is_whole(log):
    log.write("refused", reason="x" * 699, what="x" * 700)
    (line,) = log.lines()
    assert line["reason"] == "x" * 699
    assert line["what"] == "x" * 699 + "~"


def test_a_line_that_would_be_too_long_is_not_written(log):
    log.write("request")
    with pytest.raises(ValueError, match=r"a line of the audit log would have \d{4} bytes"):
        log.write("request", **{f"key{n}": "x" * 600 for n in range(4)})
    log.write("request")
    assert [line["number"] for line in log.lines()] == [1, 2]


def test_the_longest_line_there_may_be_is_written_and_followed(log):
    log.write("request", a="x" * 650, b="x" * 650)
    room = LONGEST - len(rows(log)[0])
    for extra in (0, 1):
        fits = not extra
        key = "x" * (room - len(', "": 1') + extra)
        if fits:
            log.path.unlink()
            (log.path.parent / "mark" / "mark.sqlite").unlink()
            log.write("request", a="x" * 650, b="x" * 650, **{key: 1})
            assert len(rows(log)[0]) == LONGEST
            log.write("request")
            assert len(log.lines()) == 2
        else:
            with pytest.raises(ValueError, match="would have 2049 bytes"):
                log.write("request", a="x" * 650, b="x" * 650, **{key: 1})


@pytest.mark.parametrize("key", ["number", "at", "severity", "site", "hash"])
def test_no_value_can_take_the_place_of_what_the_log_says_itself(log, key):
    with pytest.raises(ValueError, match="a key twice"):
        log.write("request", **{key: "forged"})
    assert log.lines() == []


# Reading


def test_a_log_that_was_never_written_has_no_lines(log, folder):
    assert log.lines() == []
    open_ledger(folder).record("approved", {"study": "a" * 64})  # a mark file, of another chain
    assert log.lines() == []


def test_a_log_that_is_gone_is_seen(three):
    three.path.unlink()
    with pytest.raises(LedgerBroken, match="it has 0 entries, its high-water mark says 3"):
        three.lines()
    with pytest.raises(LedgerBroken, match="its end is not line 3, which its high-water mark saw"):
        three.write("request")


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"info"', b'"debug"'),
        (b'"ash"', b'"oak"'),
        (b'"number": ', b'"number": 1'),
        (b'"hash": "', b'"hash": "0'),
        (b'{"number"', b'{"event": "refused", "number"'),  # the reader's choice of two
        (b", ", b",  "),
        (b'"info"', b'"inf\\u006f"'),
        (b'"info"', b"NaN"),
        (b'"info"', b"1e999"),
        (b'"info"', b"[" * 9000),
        (b"{", b"[{"),
        (b"}\n", b"}x\n"),
        (b"}\n", b"\n"),
        (b"}\n", b"}\n\n"),
        (b'"info"', b"\xff"),
    ],
    ids=str,
)
def test_no_line_can_be_edited(three, number, old, new):
    found = rows(three)
    assert found[number - 1].count(old)
    found[number - 1] = found[number - 1].replace(old, new, 1)
    three.path.write_bytes(b"".join(found))
    with pytest.raises(LedgerBroken, match=r"line \d was edited, taken out or put in\. Nothing is"):
        three.lines()


def test_no_byte_can_be_changed(three):
    content = three.path.read_bytes()
    for place, byte in enumerate(content):
        for other in {byte ^ 1, ord(" "), ord("\n")} - {byte}:
            three.path.write_bytes(content[:place] + bytes([other]) + content[place + 1 :])
            with pytest.raises(LedgerBroken):
                three.lines()


@pytest.mark.parametrize(
    "order", [(1, 2), (0, 2), (1, 0, 2), (0, 0, 1, 2), (0, 2, 1), (0, 1, 2, 2)]
)
def test_no_line_can_be_taken_out_put_in_or_moved(three, order):
    found = rows(three)
    three.path.write_bytes(b"".join(found[number] for number in order))
    with pytest.raises(LedgerBroken, match=r"line \d was edited, taken out or put in"):
        three.lines()


def test_an_edit_with_a_chain_made_anew_is_seen(three):
    lines = three.lines()
    lines[0]["what"] = "evaluate"
    three.path.write_bytes(remade(lines))
    with pytest.raises(LedgerBroken, match="entry 3 is not the one that its high-water mark saw"):
        three.lines()
    with pytest.raises(LedgerBroken, match="its end is not line 3"):
        three.write("request")
    three.path.write_bytes(remade([*lines, lines[0]]))  # and longer
    with pytest.raises(LedgerBroken, match="entry 3 is not the one that its high-water mark saw"):
        three.lines()


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_log_that_was_cut_is_seen_by_reader_and_writer(three, left):
    cut = b"".join(rows(three)[:left])
    three.path.write_bytes(cut)
    with pytest.raises(LedgerBroken, match=f"it has {left} entries, its high-water mark says 3"):
        three.lines()
    with pytest.raises(LedgerBroken, match=r"its end is not line 3.* restore it from"):
        three.write("request")
    assert three.path.read_bytes() == cut


def test_an_older_copy_is_seen(three, folder):
    shutil.copy(three.path, folder / "backup")
    three.write("request")
    now = three.path.read_bytes()
    shutil.copy(folder / "backup", three.path)
    for act in (three.lines, lambda: three.write("request")):
        with pytest.raises(LedgerBroken, match="high-water mark s"):
            act()
    three.path.write_bytes(now)
    three.write("request")
    assert len(three.lines()) == 5


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_marked_line_that_lost_its_end_is_no_torn_one(three, cut):
    content = three.path.read_bytes()[:-cut]
    three.path.write_bytes(content)
    for act in (three.lines, lambda: three.write("request")):
        with pytest.raises(LedgerBroken):
            act()
    assert three.path.read_bytes() == content, "evidence is not cut away"


@pytest.mark.parametrize(
    "tail", [b"x" * 2 * LONGEST, b"x" * 3 * LONGEST, b"not a line\n", b"{}\n", b'{"number": 1}\n']
)
def test_nothing_is_written_after_what_is_no_line(three, tail):
    content = three.path.read_bytes() + tail
    three.path.write_bytes(content)
    with pytest.raises(LedgerBroken, match=r"its last line was edited|its end is not line 3"):
        three.write("request")
    assert three.path.read_bytes() == content


# The mark


def test_a_lost_mark_is_seen_until_the_operator_begins_another(three, folder):
    (folder / "mark" / "mark.sqlite").unlink()
    for act in (three.lines, lambda: three.write("request")):
        with pytest.raises(LedgerBroken, match=r"mark is missing.* `fedward site ledger --new-"):
            act()
    assert three.new_mark().length == 3
    three.write("mark")
    assert len(three.lines()) == 4
    assert height(folder, chain="audit-log").length == 4


def test_there_is_no_new_mark_where_there_is_one_or_the_chain_does_not_hold(three, folder):
    with pytest.raises(LedgerBroken, match="there is a high-water mark"):
        three.new_mark()
    (folder / "mark" / "mark.sqlite").unlink()
    three.path.write_bytes(b"".join(rows(three)[1:]))
    with pytest.raises(LedgerBroken, match="line 1 was edited"):
        three.new_mark()
    assert height(folder, chain="audit-log") is None


def test_a_line_that_comes_while_one_reads_is_no_cut(three, monkeypatch):
    """Its mark must not be held against lines that were read before it."""
    whole, read = audit_log._whole, Mark.read
    writer = threading.Thread(target=lambda: three.write("request"))

    def then_write(file):
        content = whole(file)
        writer.start()
        return content

    def late(self):
        if writer.is_alive() and threading.current_thread() is not writer:
            writer.join()
        return read(self)

    monkeypatch.setattr(audit_log, "_whole", then_write)
    monkeypatch.setattr(Mark, "read", late)
    assert len(three.lines()) == 3
    writer.join()
    monkeypatch.undo()
    assert len(three.lines()) == 4

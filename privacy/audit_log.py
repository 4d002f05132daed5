"""The site's audit log: every request, decision, spend and release, for whoever must answer.

One JSON object a line, ASCII, at most 2,048 bytes, with a time, a severity and an event: what a
syslog collector takes as it is (RFC 5424, section 6.1 asks receivers for that many).

Guarantees:
    - Append-only; each line's hash covers its content and the line before (`privacy.chain`), and
      the last hash is kept apart as a high-water mark, so that edits and cuts are found: those of
      the end by the next write, which refuses to go on, all others by `lines`.
    - A line is on disk (fsync) before `write` returns, and before what it tells of leaves.
    - Lines hold names, numbers and digests that fedward made, and the text of `SiteError`s, which
      is written for the site's operator: no patient's word.
    - A line that a crash cut short is set right by the next write, which says so.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from privacy import chain
from privacy.chain import Height, Mark
from privacy.errors import LedgerBroken
from privacy.files import make_private

Event = Literal[
    "request",
    "admitted",
    "refused",
    "prepared",
    "spend",
    "replay",
    "release",
    "approved",
    "revoked",
    "purged",
    "personalised",
    "mark",
    "torn",
]
SEVERITY: dict[str, str] = {"refused": "warning", "torn": "warning", "mark": "warning"}

LONGEST = 2048
_TEXT = 700

Value = str | int | float | bool | None


class AuditLog:
    """The log of one site.

    Args:
        path: Made with mode 0600 at the first write.
        site: The site's name, in every line.
        mark: File of the high-water mark; best on another disk.
    """

    def __init__(self, path: Path, *, site: str, mark: Path) -> None:
        self.path = path
        self.site = site
        self._mark = Mark(mark, chain="audit-log")

    def write(self, event: Event, **what: Value) -> None:
        """Appends a line, on disk before it returns.

        Args:
            event: What happened.
            **what: Names, numbers, digests; long texts are cut.

        Raises:
            LedgerBroken: The log does not end where it did.
        """
        make_private(self.path)
        with self._locked() as file:
            height, torn = self._end(file)
            if torn:
                os.ftruncate(file, os.lseek(file, 0, os.SEEK_END) - torn)
                height = self._line(file, height, "torn", {"bytes": torn})
            height = self._line(file, height, event, dict(what))
            os.fsync(file)
            self._mark.rise(height)

    def lines(self) -> list[dict[str, Any]]:
        """Every line, after checking that the chain and its mark hold.

        Raises:
            LedgerBroken: Says which line does not follow, or that the end is missing.
        """
        mark, found = self._read()
        wrong = chain.fault([line["hash"] for line in found], mark)
        if wrong is not None:
            raise self._broken(wrong)
        return found

    @property
    def mark_is_lost(self) -> bool:
        """Whether there is no mark, be it that there never was one."""
        return self._mark.lost

    def new_mark(self) -> Height:
        """Begins a mark where it was lost; the operator's own decision.

        Raises:
            LedgerBroken: The chain itself does not hold, or there is a mark.
        """
        _, found = self._read()
        return self._mark.renew([line["hash"] for line in found])

    def _read(self) -> tuple[Height | None, list[dict[str, Any]]]:
        """The mark and every line, each following from the one before."""
        if not self.path.exists():
            return self._mark.read(), []
        with self._locked() as file:
            # Under the lock, or another process could raise the mark beyond what was read.
            mark, content = self._mark.read(), _whole(file)
        found: list[dict[str, Any]] = []
        previous = chain.START
        # What follows the last end of line was cut short by a crash; the next write says so.
        *rows, _ = content.split(b"\n")
        for number, row in enumerate(rows, 1):
            line = _parsed(row)
            claimed = line.pop("hash", None) if line is not None else None
            if line is None or claimed != chain.link(previous, line):
                raise self._broken(f"line {number} was edited, taken out or put in")
            previous = str(claimed)
            found.append({**line, "hash": claimed})
        return mark, found

    def _line(self, file: int, after: Height, event: str, what: dict[str, Value]) -> Height:
        own: dict[str, Value] = {
            "number": after.length + 1,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "severity": SEVERITY.get(event, "info"),
            "site": self.site,
            "event": event,
        }
        if not what.keys().isdisjoint({*own, "hash"}):
            raise ValueError("a line of the audit log has a key twice")
        line = own | {key: _short(value) for key, value in what.items()}
        made = chain.link(after.head, line)
        text = json.dumps({**line, "hash": made}) + "\n"
        if len(text) > LONGEST:
            raise ValueError(f"a line of the audit log would have {len(text)} bytes")
        left = text.encode("ascii")
        while left:  # on a full disk fewer bytes are written, and only then is it an error
            left = left[os.write(file, left) :]
        return Height(after.length + 1, made)

    def _end(self, file: int) -> tuple[Height, int]:
        """Where the last line left the chain, and the bytes after it that a crash cut short.

        Lines before the last are checked by `lines`.
        """
        size = os.lseek(file, 0, os.SEEK_END)
        tail = os.pread(file, 2 * LONGEST, max(0, size - 2 * LONGEST))
        whole, _, torn = tail.rpartition(b"\n")
        height = Height()
        if len(torn) < size:
            last = _parsed(whole.rpartition(b"\n")[2])
            if last is None or not isinstance(last.get("number"), int) or "hash" not in last:
                raise self._broken("its last line was edited")
            height = Height(last["number"], str(last["hash"]))
        mark = self._mark.read()
        if mark is None and height.length == 0:
            # Before the first line: a log with lines and no mark has lost it.
            self._mark.begin(Height())
        elif mark is None:
            raise self._broken("its high-water mark is missing")
        elif height.length < mark.length or (height.length == mark.length and height != mark):
            raise self._broken(f"its end is not line {mark.length}, which its high-water mark saw")
        return height, len(torn)

    def _broken(self, what: str) -> LedgerBroken:
        return LedgerBroken(
            f"{self.path.name}: {what}. Nothing is done that cannot be logged: restore it from "
            "where it was moved or backed up; if only the mark is lost, `fedward site ledger "
            "--new-mark` begins another"
        )

    @contextmanager
    def _locked(self) -> Iterator[int]:
        file = os.open(self.path, os.O_RDWR | os.O_APPEND)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)


def _whole(file: int) -> bytes:
    return os.pread(file, os.lseek(file, 0, os.SEEK_END), 0)


def _parsed(row: bytes) -> dict[str, Any] | None:
    """A line, if it is byte by byte what `write` writes: JSON has many ways to say the same, and
    readers that take another one of two equal keys.
    """
    try:
        line = json.loads(row)
        same = json.dumps(line, allow_nan=False).encode() == row
    except (ValueError, RecursionError):
        return None
    return line if same and isinstance(line, dict) else None


def _short(value: Value) -> Value:
    """A value as it stands in a line; texts are cut by what they take there."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, str):
        return value
    used = 0
    for kept, char in enumerate(value):
        used += len(json.dumps(char)) - 2
        if used >= _TEXT:
            return value[:kept] + "~"
    return value

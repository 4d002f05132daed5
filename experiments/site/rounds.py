"""What went on at a site, from its audit log: figures since its first line, and events.

The log is followed, not read anew: each line is read once. Nothing is verified here; that is for
`AuditLog.lines`. A node answers one message at a time; where two ever overlapped, as at a node that
was killed and its successor, the seconds of one of them may be counted from the other's request.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Literal

from experiments.said import Event, Value
from privacy.spec import printable

Kind = Literal["hello", "train", "evaluate", "other"]

ASKED: dict[str, Kind] = {"query.hello": "hello", "train": "train", "evaluate": "evaluate"}
"""By what a request calls itself. A coordinator could call one anything: that is `other`."""
LEFT: dict[str, Kind] = {"hello": "hello", "update and tallies": "train", "tallies": "evaluate"}
"""By what a release is called in the log."""

DAY = timedelta(days=1)
BLOCK = 1 << 20
BOUNDS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Seconds, of a histogram's bins."""


class Seconds:
    """How long something took, in bins."""

    def __init__(self) -> None:
        self.sum = 0.0
        self._bins = [0] * (len(BOUNDS) + 1)

    def add(self, seconds: float) -> None:
        """Counts one."""
        self.sum += seconds
        self._bins[bisect_left(BOUNDS, seconds)] += 1

    def cumulative(self) -> list[tuple[str, float]]:
        """For each bound, how many took no longer; the last bound is +Inf."""
        found, total = [], 0
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], self._bins, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


@dataclass
class Figures:
    """What the lines so far add up to.

    Attributes:
        messages: Seconds from a request to its answer, be it a refusal, by kind.
        training: Seconds from the charge of a round to its release.
        trained: Rounds that were charged, trained and released.
        replays: Requests that a kept release answered.
        refusals: By class of error.
        withheld: Rounds whose tallies were withheld because nothing was left to charge.
        refused: When what was refused in the last 24 hours before the latest line.
        request: When the last request came.
        release: When the last release left.
        study: Digest of the study that was let in last.
        round: Its round that was asked for last; 0 where it was only introduced.
    """

    messages: dict[Kind, Seconds] = field(default_factory=dict)
    training: Seconds = field(default_factory=Seconds)
    trained: int = 0
    replays: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    withheld: int = 0
    refused: deque[tuple[datetime, str]] = field(default_factory=deque)
    request: datetime | None = None
    release: datetime | None = None
    study: str | None = None
    round: int = 0

    def refused_since(self, since: datetime) -> dict[str, int]:
        """Refusals and withheld tallies by kind; `since` at most 24 hours ago."""
        return dict(Counter(what for at, what in self.refused if at > since))


WITHHELD = "tallies withheld"


@dataclass
class _Open:
    """A request that has no answer yet."""

    kind: Kind
    at: datetime
    charged: datetime | None = None
    replay: bool = False


class Rounds:
    """Follows a site's audit log.

    Args:
        path: The log, whether it is there yet or not.
        name: A study's name by its digest; empty where it is not known.
    """

    def __init__(self, path: Path, *, name: Callable[[str], str] = lambda _: "") -> None:
        self.figures = Figures()
        self.began_again = 0
        self._path = path
        self._name = name
        self._inode = 0
        self._offset = 0
        self._open: _Open | None = None
        self._takes: dict[str, Callable[[dict[str, Any], datetime], Iterator[Event]]] = {
            "request": self._request,
            "admitted": self._admitted,
            "spend": self._spend,
            "replay": self._replay,
            "refused": self._refused,
            "release": self._release,
            "torn": self._torn,
        }

    def follow(self) -> list[Event]:
        """Takes the lines that are new; what they tell.

        A log that is shorter than it was, or another file, is counted from its beginning, and
        nothing of it is told.
        """
        try:
            with self._path.open("rb") as file:
                return self._taken(file)
        except OSError:
            return []  # not there yet, or not to be read: `AuditLog.lines` says so

    def _taken(self, file: BinaryIO) -> list[Event]:
        state = os.fstat(file.fileno())
        again = self._inode not in {0, state.st_ino} or state.st_size < self._offset
        if again:
            self.figures, self._open, self._offset = Figures(), None, 0
            self.began_again += 1
        self._inode = state.st_ino
        file.seek(self._offset)
        told = [event for row in self._rows(file) for event in self._told(row)]
        return [] if again else told

    def _rows(self, file: BinaryIO) -> Iterator[bytes]:
        """Whole lines; what follows the last end of line may not be written yet."""
        rest = b""
        while block := file.read(BLOCK):
            *rows, rest = (rest + block).split(b"\n")
            for row in rows:
                self._offset += len(row) + 1
                yield row

    def _told(self, row: bytes) -> list[Event]:
        """What a line tells. `AuditLog.lines` says what is wrong with one that cannot be read."""
        try:
            line = json.loads(row)
            take = self._takes.get(line["event"])
            at = datetime.fromisoformat(line["at"]).astimezone(UTC)
            return [] if take is None else list(take(line, at))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return []

    def _request(self, line: dict[str, Any], at: datetime) -> Iterator[Event]:
        kind = ASKED.get(str(line.get("what")), "other")
        self._open = _Open(kind, at)
        self.figures.request = at
        yield _event(f"asked: {kind}, {line['bytes']:,} bytes", "request", line, "bytes", what=kind)

    def _admitted(self, line: dict[str, Any], _at: datetime) -> Iterator[Event]:
        self.figures.study, self.figures.round = str(line.get("study")), int(line.get("round", 0))
        yield from ()

    def _spend(self, line: dict[str, Any], at: datetime) -> Iterator[Event]:
        if self._open is not None and line.get("cohort") == "train":
            self._open.charged = at
        yield from ()

    def _replay(self, line: dict[str, Any], _at: datetime) -> Iterator[Event]:
        self.figures.replays += 1
        if self._open is not None:
            self._open.replay = True
        text = f"{self._which(line)}: asked again; the kept answer leaves"
        yield _event(text, "replay", line, "study", "round")

    def _refused(self, line: dict[str, Any], at: datetime) -> Iterator[Event]:
        reason = printable(str(line.get("reason", "")), 700)
        if line.get("what") == "tallies":  # of a message that goes on
            self.figures.withheld += 1
            self._remember(at, WITHHELD)
            text = f"{self._which(line)}: {WITHHELD}: {reason}"
            yield _event(text, "withheld", line, "study", "round", "reason")
            return
        kind, error = ASKED.get(str(line.get("what")), "other"), _class(line.get("error"))
        self.figures.refusals[error] += 1
        self._remember(at, error)
        took = self._answered(kind, at)
        text = f"refused ({kind}): {error}: {reason}"
        yield _event(text, "refused", line, "reason", what=kind, error=error, seconds=took)

    def _release(self, line: dict[str, Any], at: datetime) -> Iterator[Event]:
        kind = LEFT.get(str(line.get("what")), "other")
        asked, took = self._open, self._answered(kind, at)
        self.figures.release = at
        done = {"hello": "taken in", "train": "trained", "evaluate": "evaluated"}.get(kind, kind)
        if asked is not None and asked.replay:
            done = "answered again"
        elif asked is not None and asked.kind == kind == "train" and asked.charged is not None:
            self.figures.trained += 1
            self.figures.training.add(_between(asked.charged, at))
        about = line if "study" in line else {"study": self.figures.study or ""}
        seconds = "" if took is None else f", {took:.1f} s"
        text = f"{self._which(about)}: {done}{seconds}"
        given = {key: value for key, value in about.items() if key in {"study", "round"}}
        yield _event(text, "release", line, "bytes", what=kind, seconds=took, **given)

    def _torn(self, line: dict[str, Any], _at: datetime) -> Iterator[Event]:
        text = "audit log: a crash had cut a line short; it was set right"
        yield _event(text, "torn", line, "bytes")

    def _answered(self, kind: Kind, at: datetime) -> float | None:
        """Counts the open request as answered; its seconds, where it was of this kind."""
        asked, self._open = self._open, None
        if asked is None or asked.kind != kind:
            return None
        took = _between(asked.at, at)
        self.figures.messages.setdefault(kind, Seconds()).add(took)
        return round(took, 3)

    def _remember(self, at: datetime, what: str) -> None:
        refused = self.figures.refused
        refused.append((at, what))
        while refused and refused[0][0] < at - DAY:
            refused.popleft()

    def _which(self, line: dict[str, Any]) -> str:
        digest = str(line.get("study", ""))
        study = printable(self._name(digest) or digest[:12], 100)
        number = line.get("round")
        return f"study {study}" if number is None else f"round {number} of study {study}"


def _event(text: str, name: str, line: dict[str, Any], *keys: str, **more: Value) -> Event:
    """An event with these fields of a line."""
    level: Any = "warning" if line.get("severity") == "warning" else "info"
    fields: dict[str, Value] = {key: line[key] for key in keys if key in line}
    return Event(text, name, level=level, **(fields | more))


def _between(first: datetime, then: datetime) -> float:
    """Seconds; 0 where the clock was set back."""
    return max(0.0, (then - first).total_seconds())


def _class(error: object) -> str:
    """The name of an error's class; nothing else may become a label."""
    return error if isinstance(error, str) and error.isidentifier() else "other"

"""What a daemon says: one event a line, as a sentence for people or as JSON for a journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal, Self

import typer

Level = Literal["info", "warning", "error"]
Value = str | int | float | bool | None
Say = Callable[[str], None]

OWN = frozenset({"time", "level", "event", "text"})
"""Keys that every line of JSON has."""


class LogFormat(StrEnum):
    """How events are printed."""

    text = "text"
    json = "json"


class Event(str):
    """A sentence that also has a name, a level and fields.

    It is a text, so that whoever takes events as lines need not know more of them.

    Args:
        text: For people, one line.
        name: What happened, such as `started`.
        level: How bad it is.
        **fields: Names, numbers, digests; nothing of a patient.
    """

    __slots__ = ("fields", "level", "name")

    name: str
    level: Level
    fields: Mapping[str, Value]

    def __new__(cls, text: str, name: str, *, level: Level = "info", **fields: Value) -> Self:
        """Makes it."""
        if not OWN.isdisjoint(fields):
            raise ValueError("an event has a key twice")
        made = super().__new__(cls, text)
        made.name, made.level, made.fields = name, level, fields
        return made


def printer(form: LogFormat) -> Say:
    """Prints each event in one line, at once; any other text is an event named `said`."""
    shape = _text if form is LogFormat.text else _json

    def say(event: str) -> None:
        typer.echo(shape(event, datetime.now(UTC)))  # which also flushes

    return say


def _text(event: str, now: datetime) -> str:
    return f"{now:%Y-%m-%d %H:%M:%S} {event}"


def _json(event: str, now: datetime) -> str:
    said = event if isinstance(event, Event) else Event(event, "said")
    own = {"time": now.isoformat(timespec="milliseconds"), "level": said.level, "event": said.name}
    return json.dumps(own | dict(said.fields) | {"text": str(said)})

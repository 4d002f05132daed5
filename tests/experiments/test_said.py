"""What a daemon prints: sentences as they always were, or one JSON object a line."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from experiments.said import Event, LogFormat, printer

STARTED = Event("node started, process 7", "started", child="node", process=7)


def test_an_event_is_a_text_to_whoever_knows_no_more():
    assert STARTED == "node started, process 7"
    assert [STARTED] == ["node started, process 7"]
    assert (STARTED.name, STARTED.level, STARTED.fields["process"]) == ("started", "info", 7)


def test_in_text_mode_only_the_sentence_is_printed(capsys):
    printer(LogFormat.text)(STARTED)
    date, time, rest = capsys.readouterr().out.split(" ", 2)
    datetime.fromisoformat(f"{date} {time}")
    assert rest == "node started, process 7\n"


def test_in_json_mode_each_event_is_an_object_on_a_line(capsys):
    say = printer(LogFormat.json)
    say(STARTED)
    say("two\nlines, and \x1b[31mcolour")
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    at = datetime.fromisoformat(first.pop("time"))
    assert at.utcoffset() == timedelta()
    assert first == {"level": "info", "event": "started", "child": "node", "process": 7,
                     "text": "node started, process 7"}  # fmt: skip
    assert (second["event"], second["text"]) == ("said", "two\nlines, and \x1b[31mcolour")


@pytest.mark.parametrize("key", ["time", "event"])
def test_a_field_cannot_stand_in_for_what_every_line_has(key):
    with pytest.raises(ValueError, match="a key twice"):
        Event("it", "it", **{key: "x"})

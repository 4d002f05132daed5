"""A site's rounds as its audit log tells them: each line once, and only what it says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from builders import study_table
from watched import Asking, real_site

from experiments.said import Event
from experiments.site.rounds import BOUNDS, WITHHELD, Rounds, Seconds
from tasks.study import Study


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A site that was asked for two rounds, one of them twice, and for nonsense."""
    site = real_site(tmp_path_factory.mktemp("rounds") / "ash")
    asking = Asking(site, Study.parse_table(study_table(), where="tiny"))
    asking.rounds()
    return asking


def log_of(*lines: dict[str, object]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def at(seconds: float) -> str:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    return (begin + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def test_the_figures_are_those_of_the_log_and_of_the_ledger(asked):
    rounds = Rounds(asked.site.at(asked.site.audit_log))
    rounds.follow()
    figures = rounds.figures
    assert figures.trained == len(asked.site.open_ledger().spends()) == 2
    assert (figures.replays, figures.withheld) == (1, 0)
    assert dict(figures.refusals) == {"ReleaseBlocked": 1}
    counts = {kind: seconds.cumulative()[-1][1] for kind, seconds in figures.messages.items()}
    assert counts == {"hello": 1, "train": 4}
    lines = asked.site.open_log().lines()
    times = {event: [line["at"] for line in lines if line["event"] == event][-1]
             for event in ("request", "release")}  # fmt: skip
    assert figures.request == datetime.fromisoformat(times["request"])
    assert figures.release == datetime.fromisoformat(times["release"])
    assert (figures.study, figures.round) == (asked.study.digest, 2)


def test_each_message_is_told_in_words(asked):
    rounds = Rounds(asked.site.at(asked.site.audit_log), name=lambda _: "tiny")
    told = rounds.follow()
    assert all(isinstance(event, Event) for event in told)
    ends = [event.split(", ")[0] for event in told if event.name != "request"]
    assert ends == [
        "study tiny: taken in",
        "round 1 of study tiny: trained",
        "round 2 of study tiny: trained",
        "round 2 of study tiny: asked again; the kept answer leaves",
        "round 2 of study tiny: answered again",
        "refused (train): ReleaseBlocked: a message must hold exactly ['header'",
    ]
    assert [event.level for event in told] == ["info"] * (len(told) - 1) + ["warning"]
    trained = [event for event in told if event.endswith(" s") and "trained" in event]
    assert [event.fields["round"] for event in trained] == [1, 2]
    assert {event.fields["study"] for event in trained} == {asked.study.digest}


def test_each_line_is_read_once_and_half_a_line_waits(tmp_path):
    path = tmp_path / "audit.jsonl"
    rounds = Rounds(path)
    assert rounds.follow() == []
    request = log_of({"at": at(0), "event": "request", "what": "train", "bytes": 9})
    refused = log_of({"at": at(2), "event": "refused", "what": "train", "error": "StudyRefused"})
    path.write_text(request + refused[:20])
    assert [event.name for event in rounds.follow()] == ["request"]
    assert rounds.follow() == []
    with path.open("a") as file:
        file.write(refused[20:])
    (event,) = rounds.follow()
    assert (event.name, event.fields["seconds"]) == ("refused", 2.0)
    assert rounds.follow() == []
    with path.open("a") as file:
        file.write(refused * 500)
    assert len(rounds.follow()) == 500
    assert rounds.follow() == []
    assert rounds.figures.refusals["StudyRefused"] == 501


def test_a_log_that_was_put_back_is_counted_anew_and_not_told_again(tmp_path):
    path = tmp_path / "audit.jsonl"
    request = {"at": at(0), "event": "request", "what": "train", "bytes": 9}
    refused = {"at": at(1), "event": "refused", "what": "train", "error": "StudyRefused"}
    path.write_text(log_of(request, refused, request, refused))
    rounds = Rounds(path)
    rounds.follow()
    assert (rounds.figures.refusals["StudyRefused"], rounds.began_again) == (2, 0)
    path.write_text(log_of(request, refused))
    assert rounds.follow() == []
    assert (rounds.figures.refusals["StudyRefused"], rounds.began_again) == (1, 1)
    other = tmp_path / "other"
    other.write_text(log_of(*[request, refused] * 3))
    other.replace(path)
    assert rounds.follow() == []
    assert (rounds.figures.refusals["StudyRefused"], rounds.began_again) == (3, 2)


def test_what_a_coordinator_calls_a_message_is_no_label(tmp_path):
    path = tmp_path / "audit.jsonl"
    what = "query.\x1b[31mErika Mustermann"
    path.write_text(
        log_of(
            {"at": at(0), "event": "request", "what": what, "bytes": 9},
            {"at": at(1), "event": "refused", "what": what, "error": "a b\n", "reason": "x\ny\x1b"},
        )
    )
    rounds = Rounds(path)
    told = rounds.follow()
    assert told == ["asked: other, 9 bytes", "refused (other): other: x y "]
    assert set(rounds.figures.messages) == {"other"}
    assert dict(rounds.figures.refusals) == {"other": 1}


def test_tallies_that_are_withheld_are_no_refusal_of_the_round(tmp_path):
    path = tmp_path / "audit.jsonl"
    study = {"study": "a" * 64, "round": 1}
    path.write_text(
        log_of(
            {"at": at(0), "event": "request", "what": "train", "bytes": 9},
            {"at": at(1), "event": "admitted", **study},
            {"at": at(2), "event": "spend", "cohort": "train", **study},
            {"at": at(3), "event": "refused", "what": "tallies", "reason": "no epsilon", **study},
            {"at": at(7), "event": "release", "what": "update and tallies", "bytes": 1, **study},
        )
    )
    rounds = Rounds(path)
    told = rounds.follow()
    assert told[-2:] == [
        "round 1 of study aaaaaaaaaaaa: tallies withheld: no epsilon",
        "round 1 of study aaaaaaaaaaaa: trained, 7.0 s",
    ]
    figures = rounds.figures
    assert (figures.trained, figures.withheld, figures.training.sum) == (1, 1, 5.0)
    assert not figures.refusals
    assert figures.refused_since(datetime(2025, 12, 31, tzinfo=UTC)) == {WITHHELD: 1}


def test_a_round_that_was_broken_off_is_not_trained(tmp_path):
    path = tmp_path / "audit.jsonl"
    study = {"study": "a" * 64, "round": 1}
    path.write_text(
        log_of(
            {"at": at(0), "event": "request", "what": "train", "bytes": 9},
            {"at": at(1), "event": "spend", "cohort": "train", **study},
            {"at": at(60), "event": "request", "what": "train", "bytes": 9},
            {"at": at(63), "event": "refused", "what": "train", "error": "StudyRefused"},
        )
    )
    rounds = Rounds(path)
    rounds.follow()
    assert rounds.figures.trained == 0
    assert rounds.figures.messages["train"].sum == 3.0


def test_only_the_last_24_hours_are_remembered_one_by_one(tmp_path):
    path = tmp_path / "audit.jsonl"
    hours = [0, 10, 30]
    path.write_text(
        log_of(
            *(
                {"at": at(3600 * hour), "event": "refused", "what": "train", "error": "E"}
                for hour in hours
            )
        )
    )
    rounds = Rounds(path)
    rounds.follow()
    assert len(rounds.figures.refused) == 2
    since = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert rounds.figures.refused_since(since) == {"E": 1}
    assert rounds.figures.refusals["E"] == 3


@pytest.mark.parametrize(
    "row",
    ["", "{", "[]", "null", '{"event": "refused"}', '{"at": 3, "event": "request"}',
     '{"at": "2026-01-01T00:00:00Z", "event": []}', "[" * 100_000,
     '{"at": "2026-01-01T00:00:00Z", "event": "admitted", "round": "x"}',
     '{"at": "2026-01-01T00:00:00Z", "event": "request"}'],
)  # fmt: skip
def test_a_line_that_was_tampered_with_stops_nothing(tmp_path, row):
    path = tmp_path / "audit.jsonl"
    good = {"at": at(0), "event": "refused", "what": "train", "error": "E"}
    path.write_text(f"{row}\n" + log_of(good))
    rounds = Rounds(path)
    assert [event.name for event in rounds.follow()] == ["refused"]


def test_the_bins_of_seconds_hold_their_upper_bound():
    seconds = Seconds()
    for value in (0.0, BOUNDS[0], BOUNDS[0] + 1e-6, 1e9):
        seconds.add(value)
    counts = dict(seconds.cumulative())
    assert (counts["0.5"], counts["1.0"], counts["3600.0"], counts["+Inf"]) == (2, 3, 3, 4)

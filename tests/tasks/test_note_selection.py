"""The law of `notes_for`: a prediction never reads the future, but for what was known before."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.icd_coding import IcdCoding
from tasks.records import Note, Patient, Stay, icd10cm
from tasks.task import Label, notes_for

START = datetime(2021, 1, 1, tzinfo=UTC)
KINDS = ("discharge", "nursing", "radiology")

# Few distinct minutes, so that equal times and times at the borders are common; several zones,
# so that wall-clock comparison would go wrong.
zones = st.sampled_from([UTC, timezone(timedelta(hours=-8)), timezone(timedelta(hours=9))])
times = st.builds(
    lambda minute, zone: (START + timedelta(minutes=minute)).astimezone(zone),
    st.integers(0, 12),
    zones,
)
notes = st.lists(st.builds(Note, times, st.sampled_from(KINDS), st.text(max_size=3)), max_size=12)
kinds = st.none() | st.frozensets(st.sampled_from(KINDS))


def selected(found: list[Note], label: Label) -> list[Note]:
    return notes_for(Patient("patient", (), tuple(found)), label)


@given(notes, times, st.none() | times, kinds)
def test_only_allowed_notes_are_given(
    found: list[Note], at: datetime, since: datetime | None, only: frozenset[str] | None
):
    given_ = selected(found, Label(at, frozenset(), since, only))
    assert all(note.at <= at for note in given_)
    assert since is None or all(note.at >= since for note in given_)
    assert only is None or all(note.kind in only for note in given_)


@given(notes, times, st.none() | times, kinds)
def test_every_allowed_note_is_given_once(
    found: list[Note], at: datetime, since: datetime | None, only: frozenset[str] | None
):
    given_ = selected(found, Label(at, frozenset(), since, only))
    allowed = [
        id(note)
        for note in found
        if not note.at > at
        and not (since is not None and note.at < since)
        and not (only is not None and note.kind not in only)
    ]
    assert sorted(map(id, given_)) == sorted(allowed)


@given(notes, times)
def test_newest_notes_come_first(found: list[Note], at: datetime):
    given_ = selected(found, Label(at, frozenset()))
    assert [note.at for note in given_] == sorted((note.at for note in given_), reverse=True)


def test_notes_written_at_the_very_border_are_read():
    label = Label(START + timedelta(hours=1), frozenset(), since=START)
    found = [
        Note(START - timedelta(microseconds=1), "x", "before"),
        Note(START, "x", "first"),
        Note(START + timedelta(hours=1), "x", "last"),
        Note(START + timedelta(hours=1, microseconds=1), "x", "after"),
    ]
    assert [note.text for note in selected(found, label)] == ["last", "first"]


@given(notes, st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), max_size=4))
@settings(deadline=None)  # the first example loads the code table
def test_no_label_of_icd_coding_reads_beyond_its_time(
    found: list[Note], minutes: list[tuple[int, int]]
):
    stays = tuple(
        Stay("s", START + timedelta(minutes=a), START + timedelta(minutes=a + b), icd10cm(["I10"]))
        for a, b in sorted(minutes)
    )
    patient = Patient("patient", stays, tuple(found))
    labels = list(
        IcdCoding(codes=("I10",), hours_after_discharge=0).labels(patient, lambda _: None)
    )
    assert len(labels) == len(stays)
    for stay, label in zip(stays, labels, strict=True):
        assert all(
            stay.admitted <= note.at <= stay.discharged for note in notes_for(patient, label)
        )


# --- Summaries of a stay that has not begun ---------------------------------------------------

ADMITTED = START + timedelta(days=10)
STAY = Stay("s", ADMITTED, ADMITTED + timedelta(days=4))
OTHER = Stay("t", START, START + timedelta(days=3))
SUMMARY = "Chief Complaint:\nfever\n\nHospital Course:\nLATER\n\nAllergies:\nnone"
AT_ADMISSION = Label(ADMITTED, frozenset(), stay="s", summary_of="s")


def summary(after: timedelta, text: str = SUMMARY, stay: str | None = "s") -> Note:
    return Note(ADMITTED + after, "discharge", text, stay)


def counted(label: Label, *found: Note) -> tuple[list[Note], Counter[str]]:
    rules: Counter[str] = Counter()
    patient = Patient("patient", (OTHER, STAY), found)
    return notes_for(patient, label, lambda rule: rules.update([rule])), rules


def test_where_nothing_was_written_the_summary_tells_what_was_known():
    [note], rules = counted(AT_ADMISSION, summary(timedelta(days=4)))
    assert note.text == "Chief Complaint:\nfever\n\nAllergies:\nnone"
    assert note.at == ADMITTED
    assert note.kind == "discharge"
    assert not rules


def test_where_something_was_written_the_summary_is_not_read():
    early = Note(ADMITTED, "nursing", "early", "s")
    given_, _ = counted(AT_ADMISSION, early, summary(timedelta(days=4)))
    assert given_ == [early]


def test_a_note_of_no_stay_that_was_written_in_this_one_is_one_of_it():
    early = Note(ADMITTED, "admission", "early")
    given_, _ = counted(AT_ADMISSION, early, summary(timedelta(days=4)))
    assert given_ == [early]


def test_older_notes_of_no_stay_are_read_beside_the_summary():
    older = Note(START, "letter", "older")
    given_, _ = counted(AT_ADMISSION, older, summary(timedelta(days=4)))
    assert [note.at for note in given_] == [ADMITTED, START]


def test_without_summary_of_no_later_word_is_read():
    label = Label(ADMITTED, frozenset(), stay="s")
    assert counted(label, summary(timedelta(days=4))) == (
        [],
        {"stays without notes by the prediction time": 1},
    )


@pytest.mark.parametrize("hours", [-12, 0, 5])
def test_a_summary_dated_to_the_midnight_before_is_not_read_whole(hours: int):
    """MIMIC dates a discharge summary to its day; a stay may begin and end on it."""
    [note], _ = counted(AT_ADMISSION, summary(timedelta(hours=hours)))
    assert "LATER" not in note.text
    asked = Label(ADMITTED + timedelta(days=1), frozenset(), stay="s")
    assert counted(asked, summary(timedelta(hours=hours)))[0] == []
    end = Label(STAY.discharged, frozenset(), stay="s")
    assert "LATER" in counted(end, summary(timedelta(hours=hours)))[0][0].text


def test_the_summary_of_another_stay_is_not_read():
    assert counted(AT_ADMISSION, summary(timedelta(days=4), stay="t"))[0] == []


@pytest.mark.parametrize(("days", "read"), [(4, True), (5, False)])
def test_a_summary_of_no_stay_belongs_to_the_one_it_was_written_in(days: int, read: bool):
    given_, _ = counted(AT_ADMISSION, summary(timedelta(days=days), stay=None))
    assert bool(given_) == read


def test_a_summary_written_in_two_stays_at_once_belongs_to_none():
    twice = (STAY, Stay("u", STAY.admitted, STAY.discharged))
    patient = Patient("patient", twice, (summary(timedelta(days=4), stay=None),))
    assert notes_for(patient, AT_ADMISSION) == []


@pytest.mark.parametrize("hours", [-24, -14, 0, 5])
def test_a_summary_of_no_stay_is_not_read_whole_before_the_stay_that_it_touches_ends(hours: int):
    """A stay of one day, and a summary dated to that day's midnight, wherever the clocks are."""
    short = Stay("s", ADMITTED, ADMITTED + timedelta(hours=6))
    patient = Patient("patient", (short,), (summary(timedelta(hours=hours), stay=None),))
    for at in (ADMITTED, ADMITTED + timedelta(hours=5.9)):
        label = Label(at, frozenset(), stay="s", summary_of="s")
        assert all("LATER" not in note.text for note in notes_for(patient, label))
    [note] = notes_for(patient, Label(short.discharged, frozenset(), stay="s"))
    assert "LATER" in note.text


def test_a_summary_of_no_stay_of_long_before_is_read():
    """OTHER ended seven days before, and its summary says what was known."""
    given_, _ = counted(AT_ADMISSION, summary(timedelta(days=-7), stay=None))
    assert "LATER" in given_[0].text
    given_, _ = counted(AT_ADMISSION, summary(timedelta(hours=-25), stay=None))
    assert "LATER" in given_[0].text


def test_a_summary_of_no_stay_waits_for_every_stay_that_it_falls_into():
    within = Stay("u", ADMITTED, ADMITTED + timedelta(days=1))
    patient = Patient("patient", (within, STAY), (summary(timedelta(hours=3), stay=None),))
    assert notes_for(patient, Label(within.discharged, frozenset())) == []
    assert len(notes_for(patient, Label(STAY.discharged, frozenset()))) == 1


def test_a_summary_without_headings_gives_nothing_and_is_counted():
    assert counted(AT_ADMISSION, summary(timedelta(days=4), "She came and went.")) == (
        [],
        {
            "discharge summaries without a section known at admission": 1,
            "stays without notes by the prediction time": 1,
        },
    )


def test_kinds_that_are_not_asked_for_are_not_summed_up_either():
    label = replace(AT_ADMISSION, kinds=frozenset(["nursing"]))
    assert counted(label, summary(timedelta(days=4)))[0] == []


@pytest.mark.parametrize(
    ("view", "texts", "rule"),
    [
        (str.upper, ["ONE", "TWO"], None),
        (lambda text: "" if text == "one" else text, ["two"], None),
        (lambda _: " \n", [], "stays without notes by the prediction time"),
        (
            lambda text: None if text == "two" else text,
            [],
            "stays whose notes give the answer away",
        ),
    ],
)
def test_a_view_changes_texts_drops_notes_or_drops_the_label(view, texts, rule):
    found = Note(ADMITTED, "x", "one", "s"), Note(ADMITTED, "x", "two", "s")
    given_, rules = counted(replace(AT_ADMISSION, view=view), *found)
    assert [note.text for note in given_] == texts
    assert rules == ({rule: 1} if rule else {})


def test_the_view_reads_the_sections_not_the_summary():
    seen: list[str] = []

    def view(text: str) -> str:
        seen.append(text)
        return text

    counted(replace(AT_ADMISSION, view=view), summary(timedelta(days=4)))
    assert len(seen) == 1
    assert "LATER" not in seen[0]


def viewed(*texts: str) -> list[str]:
    """What is read of notes by a view that cuts `x` and drops what holds `gone`, newest first."""

    def view(text: str) -> str | None:
        return None if "gone" in text else text.replace("x", "")

    found = [Note(START + timedelta(hours=n), "note", text) for n, text in enumerate(texts)]
    label = Label(START + timedelta(hours=len(texts) - 1), frozenset(), view=view)
    later = Note(label.at + timedelta(hours=1), "note", "gone")
    return [note.text for note in selected([*found, later], label)]


def test_a_view_cuts_and_leaves_out_what_is_empty():
    assert viewed("axa", "x", "b", " x ") == ["b", "aa"]


def test_a_view_may_drop_a_label_by_the_notes_that_it_reads_and_no_others():
    assert viewed("a", "gone", "b") == []
    assert viewed("a", "b") == ["b", "a"]

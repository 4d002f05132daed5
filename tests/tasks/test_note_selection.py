"""The law of `notes_for`: a prediction never reads the future."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

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

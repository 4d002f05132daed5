"""Task, what is asked of the notes, and Label, an answer with the time at which it is asked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from privacy.spec import Kind
from tasks.records import Note, Patient
from tasks.sections import known_at_admission

SUMMARY = "discharge"
"""The kind of the notes that sum a stay up at its end."""

_LONGEST_DAY = timedelta(hours=25)
"""That on which clocks go back."""

LeftOut = Callable[[str], None]
"""Counts one more record under a rule, such as `stays without codes`.

A rule that begins with `stays` drops one stay, unless it ends with `(kept)`: what is kept and what
is dropped by such rules add up to the stays."""

View = Callable[[str], str | None]
"""What may be read of a note's text: nothing where it is empty; None where the whole label must be
dropped, because the text gives the answer away."""


@dataclass(frozen=True, slots=True)
class Label:
    """One answer, and the time at which it must be given.

    A task yields times and answers only; the framework picks the notes (`notes_for`), so a
    task's author cannot let the future in.

    Attributes:
        at: Prediction time: only notes written by then are read.
        target: The outputs that are true, by name; the others are false.
        since: Notes written before this are not read; None reads from the first note.
        kinds: Only notes of these kinds are read; None reads all.
        stay: Notes that belong to another stay are not read; None reads all.
        view: What is read of each note's text; None reads all of it.
        summary_of: Where no note of this stay was written by `at`, what its discharge summaries
            say of the time before the admission is read (`tasks.sections`); None reads no note
            that was written later.
    """

    at: datetime
    target: frozenset[str]
    since: datetime | None = None
    kinds: frozenset[str] | None = None
    stay: str | None = None
    view: View | None = None
    summary_of: str | None = None


class Task(Kind):
    """What is asked of the notes. Other packages add kinds under `fedward.tasks`."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """The names of what is predicted, in order; L of them."""

    @property
    def exclusive(self) -> bool:
        """Whether exactly one output is true of each label, as of a class or a bin."""
        return False

    @property
    def rollups(self) -> Mapping[str, Sequence[str]]:
        """Coarser levels at which the outputs are scored too: for each level's name the group of
        every output, L of them. A level's name stands in the names of its tallies.
        """
        return {}

    @property
    @abstractmethod
    def summary(self) -> str:
        """What is asked, in words for somebody who reads no code; no full stop."""

    @property
    @abstractmethod
    def reads(self) -> str:
        """Which notes are read and up to when, in the same words."""

    @property
    @abstractmethod
    def questions(self) -> tuple[str, ...]:
        """What each output means, in words that an encoder can read; L of them."""

    @property
    def terms(self) -> tuple[tuple[str, ...], ...]:
        """Other words for each output, such as synonyms, for heads that read them
        (`HeadSpec.reads_terms`); L tuples, or none at all.
        """
        return ()

    @abstractmethod
    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """The patient's answers, in the order of the stays.

        Args:
            patient: With all stays and notes.
            left_out: Called for each stay that has no answer, with the rule.
        """


def named_notes(kinds: Sequence[str]) -> str:
    """Notes of these kinds, or all where none is named, in words for `Task.reads`."""
    return " and ".join(kinds) + " notes" if kinds else "all notes"


def notes_for(patient: Patient, label: Label, left_out: LeftOut = lambda _: None) -> list[Note]:
    """What a prediction may read, newest first; nothing where the label must be dropped.

    Where nothing is given back, exactly one rule that begins with `stays` is counted.

    Args:
        patient: With all notes.
        label: What may be read, and by when.
        left_out: Counts what is not read, by rule.

    Guarantees:
        None was written after `label.at`, with one exception: where `label.summary_of` names a
        stay and no note of that stay was written by `label.at`, sections of its discharge
        summaries are given that were known at its admission (`tasks.sections`); these are as of
        `label.at`, and no word of their other sections is given.
        The discharge summary of a stay is never read whole before that stay has ended, even
        where a source dates it earlier: some give the day alone, as its midnight. One of no
        stay is not read whole before the end of any stay that it may sum up: one that began
        before it, or less than a day after it, which is the same day in some zone.
        Every text has gone through `label.view`.
    """
    allowed = [
        note
        for note in patient.notes
        if (label.since is None or note.at >= label.since)
        and (label.kinds is None or note.kind in label.kinds)
        and (None in (note.stay, label.stay) or note.stay == label.stay)
    ]
    found = [
        note
        for note in allowed
        if note.at <= label.at and not (note.kind == SUMMARY and _goes_on(note, patient, label.at))
    ]
    if label.summary_of is not None and all(
        _stay_of(note, patient) != label.summary_of for note in found
    ):
        found += _summarised(patient, allowed, label, left_out)
    return _viewed(sorted(found, key=lambda note: note.at, reverse=True), label, left_out)


def _goes_on(note: Note, patient: Patient, at: datetime) -> bool:
    """Whether a stay that a discharge summary may sum up has not ended at a moment."""
    return any(
        at < stay.discharged
        and (stay.admitted < note.at + _LONGEST_DAY if note.stay is None else note.stay == stay.id)
        for stay in patient.stays
    )


def _summarised(
    patient: Patient, allowed: list[Note], label: Label, left_out: LeftOut
) -> Iterator[Note]:
    """What the discharge summaries of a stay say of the time before it, as of `label.at`."""
    for note in allowed:
        if note.kind == SUMMARY and _stay_of(note, patient) == label.summary_of:
            text = known_at_admission(note.text)
            if text:
                yield replace(note, at=label.at, text=text)
            else:
                left_out("discharge summaries without a section known at admission")


def _stay_of(note: Note, patient: Patient) -> str | None:
    """The stay that a note belongs to; where it does not say so, the only one it was written in."""
    if note.stay is not None:
        return note.stay
    within = [s.id for s in patient.stays if s.admitted <= note.at <= s.discharged]
    return within[0] if len(within) == 1 else None


def _viewed(notes: list[Note], label: Label, left_out: LeftOut) -> list[Note]:
    """The notes as the label's view lets them be read."""
    if label.view is not None:
        texts = [label.view(note.text) for note in notes]
        if None in texts:
            left_out("stays whose notes give the answer away")
            return []
        pairs = zip(notes, texts, strict=True)
        notes = [replace(note, text=text) for note, text in pairs if text and text.strip()]
    if not notes:
        left_out("stays without notes by the prediction time")
    return notes

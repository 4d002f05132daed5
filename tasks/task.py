"""Task, what is asked of the notes, and Label, an answer with the time at which it is asked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from privacy.spec import Kind
from tasks.records import Note, Patient

LeftOut = Callable[[str], None]
"""Counts one more record under a rule, such as `stays without codes`."""

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

    @abstractmethod
    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """The patient's answers, in order of time.

        Args:
            patient: With all stays and notes.
            left_out: Called for each stay that has no answer, with the rule.
        """


def notes_for(patient: Patient, label: Label) -> list[Note]:
    """The notes that a prediction may read, as far as it may, newest first; none where the
    label's view drops it.

    Guarantees:
        None was written after `label.at`.
    """
    kept = [
        note
        for note in patient.notes
        if note.at <= label.at
        and (label.since is None or note.at >= label.since)
        and (label.kinds is None or note.kind in label.kinds)
        and (None in (note.stay, label.stay) or note.stay == label.stay)
    ]
    kept.sort(key=lambda note: note.at, reverse=True)
    return kept if label.view is None else _viewed(kept, label.view)


def _viewed(notes: list[Note], view: View) -> list[Note]:
    found = []
    for note in notes:
        text = view(note.text)
        if text is None:
            return []
        if text.strip():
            found.append(replace(note, text=text))
    return found

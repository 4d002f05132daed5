"""Census: what a source holds, counted, with small counts hidden.

For those who connect a source: whether all of it arrived, and what each task would leave out and
why. The counts stay at the site; small ones are hidden all the same, because screens are
photographed and outputs pasted into letters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from pydantic import ValidationError

from client.sources.source import Attrition
from privacy.spec import Spec
from tasks.kinds import TASKS
from tasks.records import Patient
from tasks.task import Task, notes_for

KEPT = "stays kept"
OTHER = "of other kinds"
MOST_KINDS = 1000
"""Kinds of notes that are told apart: a wrong column may have a kind for each note."""

Count = int | None
"""None: at least one, and fewer than the floor; or hidden so that no other can be computed."""


class TaskCensus(Spec):
    """What one task would take of a source.

    Attributes:
        kind: Of the task.
        counts: Stays kept, and what was left out by each rule.
    """

    kind: str
    counts: dict[str, Count]


class Census(Spec):
    """What a source holds.

    Attributes:
        patients: Those with notes.
        stays: Of them.
        notes: By kind; kinds of few notes are not named, because a wrong column may hold names.
        codes: By system.
        years: First and last year in which at least `floor` stays began; None where there is none.
        tasks: What each task would take.
        left_out: What the source left out or found odd, by rule.
        first: Where each rule struck first: a file and line, never a value.
        floor: Counts from 1 to below it are hidden.
    """

    patients: Count
    stays: Count
    notes: dict[str, Count]
    codes: dict[str, Count]
    years: tuple[int, int] | None
    tasks: tuple[TaskCensus, ...]
    left_out: dict[str, Count]
    first: dict[str, str]
    floor: int


class Taking:
    """A census that is being taken: `through` gives every patient on.

    Args:
        tasks: Whose attrition is counted, by the name to show.
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self._tasks = tasks
        self._attrition: dict[str, Attrition] = {name: Attrition() for name in tasks}
        self._patients = 0
        self._stays = 0
        self._notes: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._years: Counter[int] = Counter()

    def through(self, patients: Iterable[Patient]) -> Iterator[Patient]:
        """The same patients, counted."""
        for patient in patients:
            self._patients += 1
            self._stays += len(patient.stays)
            for note in patient.notes:
                known = note.kind in self._notes or len(self._notes) < MOST_KINDS
                self._notes[note.kind if known else OTHER] += 1
            for stay in patient.stays:
                self._codes.update(code.system for code in stay.codes)
                self._years[stay.admitted.year] += 1
            for name, task in self._tasks.items():
                self._ask(task, patient, self._attrition[name])
            yield patient

    def done(self, attrition: Attrition, *, floor: int) -> Census:
        """The census, with small counts hidden.

        Args:
            attrition: What the source left out.
            floor: See `Census`.
        """
        years = sorted(year for year, number in self._years.items() if number >= max(floor, 1))
        return Census(
            patients=hidden(self._patients, floor),
            stays=hidden(self._stays, floor),
            notes=_kinds(self._notes, floor),
            codes=shares(self._codes, floor),
            years=(years[0], years[-1]) if years else None,
            tasks=tuple(
                TaskCensus(kind=name, counts=_parted(found.counts, floor))
                for name, found in self._attrition.items()
            ),
            left_out={rule: hidden(number, floor) for rule, number in attrition.counts.items()},
            first=attrition.first,
            floor=floor,
        )

    @staticmethod
    def _ask(task: Task, patient: Patient, attrition: Attrition) -> None:
        for label in task.labels(patient, attrition.add):
            if notes_for(patient, label, attrition.add):
                attrition.add(KEPT)


def askable() -> dict[str, Task]:
    """Every installed task that needs no word of a study, by kind."""
    found: dict[str, Task] = {}
    for kind, cls in TASKS.kinds().items():
        try:
            found[kind] = cls()
        except ValidationError:  # it must be told more, such as which codes
            continue
    return found


def hidden(number: int, floor: int) -> Count:
    """A count, or None where it is small.

    >>> hidden(0, 10), hidden(9, 10), hidden(10, 10), hidden(1, 0)
    (0, None, 10, 1)
    """
    return None if 0 < number < floor else number


def roughly(number: int, floor: int) -> Count:
    """A count as a multiple of the floor, so that the rest of a total is none of its own.

    >>> roughly(0, 10), roughly(4, 10), roughly(76, 10), roughly(76, 0)
    (0, None, 80, 76)
    """
    if floor <= 1 or hidden(number, floor) is None:
        return hidden(number, floor)
    return round(number / floor) * floor


def _kinds(counts: Mapping[str, int], floor: int) -> dict[str, Count]:
    """Kinds of notes; those of few notes together, without their names."""
    named = {kind: number for kind, number in counts.items() if number >= floor and kind != OTHER}
    rest = sum(counts.values()) - sum(named.values())
    return shares(named | ({OTHER: rest} if rest else {}), floor)


def _parted(counts: Mapping[str, int], floor: int) -> dict[str, Count]:
    """What became of the stays, which adds up to all of them, and then what was only noticed."""
    parts = {rule: n for rule, n in counts.items()
             if rule.startswith("stays") and not rule.endswith("(kept)")}  # fmt: skip
    noticed = {rule: hidden(n, floor) for rule, n in counts.items() if rule not in parts}
    return shares(parts, floor) | noticed


def shares(counts: Mapping[str, int], floor: int) -> dict[str, Count]:
    """Counts whose total may be known, the largest first.

    Where one alone is small, the next larger is hidden with it: otherwise it would be the
    total without the others.

    >>> shares({"a": 50, "b": 20, "c": 3}, 10)
    {'a': 50, 'b': None, 'c': None}
    >>> shares({"a": 50, "b": 4, "c": 3}, 10)
    {'a': 50, 'b': None, 'c': None}
    >>> shares({"a": 3}, 10)
    {'a': None}
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    small = [name for name, number in ordered if 0 < number < floor]
    if len(small) == 1:
        larger = [name for name, number in ordered if number >= max(floor, 1)]
        small += larger[-1:]
    return {name: None if name in small else number for name, number in ordered}

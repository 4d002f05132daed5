"""MIMIC's records put together to patients, one patient at a time.

Every table is sorted by patient and all are read side by side, so that no more than one patient is
in memory.

| what | becomes | rule |
| --- | --- | --- |
| a record of somebody not in `patients` | left out | `... of patients not in patients` |
| a patient who stands twice in `patients` | read once | `patients that stand twice` |
| a patient without an id | left out | `patients without an id` |
| a stay without its end | left out | `stays without a discharge` |
| a code of a stay that is not there | left out | `codes of stays that are not there` |
| a note marked as an error (`ISERROR` = 1) | left out | `notes marked as errors` |
| a note without any time | left out | `notes without a time` |
| an admission of an unknown type | kept, `planned` None | `admission types not known (kept)` |

When a note was written, where more than one time is given or less than one:

- **The later of `charttime` and `storetime`.** A report is charted when the patient is examined and
  stored when it can be read.
- **A day alone is its last moment**, unless `storetime` says more. MIMIC-III gives days only to
  discharge summaries, echos and ECGs; MIMIC-IV-Note gives discharge summaries the day with 00:00.
- **A discharge summary is never written before the end of its stay**: it tells all of it.

When a patient died: in the stay that ended so (`deathtime`, else its end), else the last moment of
the day `dod`, so that nobody who left alive is dead before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from client.sources import mimic_codes
from client.sources.assembly import Summaries, assembled
from client.sources.mangled import dotted
from client.sources.mimic_cells import TO_END_OF_DAY, Place, end_of_day, flag, identifier, moment
from client.sources.source import Attrition
from tasks.records import Code, Patient, Stay

TIMES = ("edregtime", "edouttime", "deathtime")
STAY_COLUMNS = (
    "subject_id", "hadm_id", "admittime", "dischtime", "admission_type", "hospital_expire_flag",
    *TIMES,
)  # fmt: skip
CODE_COLUMNS = ("subject_id", "hadm_id", "seq_num")


class Row(NamedTuple):
    """A record of any table.

    Attributes:
        place: Where it stands.
        subject: The patient's id.
        cells: The table's columns.
    """

    place: Place
    subject: str
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """What a table says of a note.

    Attributes:
        kind: Such as `discharge`.
        charted: `charttime`, or None where only a day is known.
        day: Of the note, where `charted` is None.
        addendum: Whether it adds to an earlier note.
        error: Whether it was marked as one.
    """

    kind: str
    charted: datetime | None
    day: datetime | None
    addendum: bool = False
    error: bool = False


@dataclass(frozen=True, slots=True)
class Edition:
    """What the editions of MIMIC differ in.

    Attributes:
        facts: Columns of admissions that stays keep as facts.
        planned: Whether an admission of each type was elective; None where the type does not say.
        newborn: Whether a stay is a birth, from its row, its patient's row and its beginning.
        written: What a row of notes says.
        summaries: See `Summaries`.
    """

    facts: tuple[str, ...]
    planned: Mapping[str, bool | None]
    newborn: Callable[[Row, Row, datetime], bool | None]
    written: Callable[[Row], Written]
    summaries: Summaries


class Records:
    """Records of one table in the order of patients, asked for patient by patient.

    Args:
        rows: Each its file, its number, then the columns, as `Table.sorted` gives them.
        columns: Their names, the patient's id first.
        what: The table holds, for what is counted.
        attrition: Where records of unknown patients are counted.
    """

    def __init__(
        self,
        rows: Iterator[list[Any]],
        columns: tuple[str, ...],
        what: str,
        attrition: Attrition,
    ) -> None:
        self._rows = self._checked(rows, columns)
        self._next = next(self._rows, None)
        self._what, self._attrition = what, attrition

    def of(self, subject: str) -> list[Row]:
        """The records of a patient; patients are asked for in order, each once."""
        while self._next is not None and self._next.subject < subject:
            self._stray(self._next)
        found = []
        while self._next is not None and self._next.subject == subject:
            found.append(self._next)
            self._next = next(self._rows, None)
        return found

    def rest(self) -> None:
        """Counts the records of those who come after the last patient."""
        while self._next is not None:
            self._stray(self._next)

    def __iter__(self) -> Iterator[Row]:
        """All records."""
        while self._next is not None:
            yield self._next
            self._next = next(self._rows, None)

    def _stray(self, row: Row) -> None:
        self._attrition.add(f"{self._what} of patients not in patients", str(row.place))
        self._next = next(self._rows, None)

    @staticmethod
    def _checked(rows: Iterator[list[Any]], columns: tuple[str, ...]) -> Iterator[Row]:
        for file, number, *cells in rows:
            place = Place(file, number)
            named = dict(zip(columns, cells, strict=True))
            for column in ("subject_id", "hadm_id"):
                identifier(named.get(column), column, place)
            # Sorted last, after every id: equal to no patient's, and so counted as nobody's.
            yield Row(place, named["subject_id"] or "\U0010ffff", named)


@dataclass(frozen=True, slots=True)
class Charts:
    """The tables of one MIMIC, each in the order of patients.

    Attributes:
        patients: Who there is.
        stays: Admissions.
        codes: Of diagnoses, then of procedures.
        notes: Tables of notes.
        edition: Whose they are.
        attrition: Where rules are counted.
    """

    patients: Records
    stays: Records
    codes: Mapping[mimic_codes.Sort, Records]
    notes: tuple[Records, ...]
    edition: Edition
    attrition: Attrition

    def read(self) -> Iterator[tuple[str, Patient]]:
        """Each patient, with the place of the record in `patients`."""
        before = None
        for row in self.patients:
            if row.cells["subject_id"] is None:
                self.attrition.add("patients without an id", str(row.place))
                continue
            if row.subject == before:
                self.attrition.add("patients that stand twice", str(row.place))
                continue
            before = row.subject
            yield str(row.place), self._patient(row)
        for records in (self.stays, *self.codes.values(), *self.notes):
            records.rest()

    def _patient(self, person: Row) -> Patient:
        admissions = self.stays.of(person.subject)
        codes = self._codes(person.subject, {row.cells["hadm_id"] for row in admissions})
        stays = [stay for row in admissions if (stay := self._stay(row, person, codes)) is not None]
        ends = {stay.id: stay.discharged for stay in stays}
        rows = chain.from_iterable(records.of(person.subject) for records in self.notes)
        notes = [note for row in rows if (note := self._note(row, ends)) is not None]
        died, died_from = _death(person, stays)
        return assembled(
            person.subject,
            stays,
            notes,
            place=str(person.place),
            attrition=self.attrition,
            died=died,
            died_from=died_from,
            deaths_known=True,
            shifted=True,
        )

    def _codes(self, subject: str, known: set[str | None]) -> dict[str, tuple[Code, ...]]:
        """The codes of each stay: diagnoses in their order, then procedures in theirs."""
        found: dict[str, list[Code]] = {}
        for sort, records in self.codes.items():
            for row in sorted(records.of(subject), key=_position):
                code, version = row.cells["code"], row.cells["version"]
                system = mimic_codes.system_of(sort, version or "")
                if code is None or system is None:
                    continue  # counted by `mimic_codes.check`
                if row.cells["hadm_id"] not in known:
                    self.attrition.add("codes of stays that are not there", str(row.place))
                    continue
                coded = Code(system, dotted(code, system))
                found.setdefault(row.cells["hadm_id"], []).append(coded)
        return {stay: tuple(codes) for stay, codes in found.items()}

    def _stay(self, row: Row, person: Row, codes: Mapping[str, tuple[Code, ...]]) -> Stay | None:
        cells, place = row.cells, row.place
        admitted = moment(cells["admittime"], "admittime", place)
        discharged = moment(cells["dischtime"], "dischtime", place)
        if cells["hadm_id"] is None or admitted is None or discharged is None:
            lacking = "a discharge" if discharged is None else "an id or an admission"
            self.attrition.add(f"stays without {lacking}", str(place))
            return None
        sort = cells["admission_type"]
        if sort is not None and sort.upper() not in self.edition.planned:
            self.attrition.add("admission types not known (kept)", str(place))
        facts = {name: cells[name] for name in self.edition.facts if cells[name] is not None}
        if person.cells["gender"] is not None:
            facts["gender"] = person.cells["gender"]
        times = {name: moment(cells[name], name, place) for name in TIMES}
        return Stay(
            id=cells["hadm_id"],
            admitted=admitted,
            discharged=discharged,
            codes=codes.get(cells["hadm_id"], ()),
            died=flag(cells["hospital_expire_flag"], "hospital_expire_flag", place),
            planned=self.edition.planned.get((sort or "").upper()),
            newborn=self.edition.newborn(row, person, admitted),
            facts=facts,
            times={name: time for name, time in times.items() if time is not None},
        )

    def _note(
        self, row: Row, ends: Mapping[str, datetime]
    ) -> tuple[datetime, str, str | None, str | None] | None:
        note, stay = self.edition.written(row), row.cells["hadm_id"]
        if note.error:
            self.attrition.add("notes marked as errors", str(row.place))
            return None
        at = _written_at(note, moment(row.cells["storetime"], "storetime", row.place))
        if at is None:
            self.attrition.add("notes without a time", str(row.place))
            return None
        end = ends.get(stay) if note.kind == "discharge" else None
        if end is not None:
            signed = self.edition.summaries == "signed" or note.addendum
            at = max(at, end) if signed else end
        return at, note.kind, row.cells["text"], stay


def _written_at(note: Written, stored: datetime | None) -> datetime | None:
    if note.charted is not None:
        return note.charted if stored is None else max(note.charted, stored)
    if note.day is None:
        return stored
    return stored if stored is not None and stored >= note.day else end_of_day(note.day)


def _death(person: Row, stays: list[Stay]) -> tuple[datetime | None, datetime | None]:
    """`Patient.died` and `Patient.died_from`."""
    in_stays = [stay.times.get("deathtime", stay.discharged) for stay in stays if stay.died]
    if in_stays:
        return min(in_stays), None
    day = moment(person.cells["dod"], "dod", person.place)
    if day is None:
        return None, None
    last = end_of_day(day)
    return last, last - TO_END_OF_DAY


def _position(row: Row) -> tuple[float, int]:
    try:
        return float(row.cells["seq_num"] or "inf"), row.place.row
    except ValueError:
        return float("inf"), row.place.row

"""jsonl: records in JSON lines, gzipped or not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    TypeAdapter,
    ValidationError,
)

from client.sources import json_lines
from client.sources.assembly import assembled, with_notes
from client.sources.complaints import Encoding
from client.sources.shares import UNDATED, Only, PartColumn, files_state, pieces
from client.sources.source import Attrition, Piece, Source
from privacy.errors import SourceBroken
from privacy.spec import Spec, one_line
from tasks.records import Code, Part, Patient, Stay, System

_DAY = re.compile(r"\d{4}-\d\d-\d\d[T ]")


def _moment(value: object) -> object:
    """A number is no time: `20240115` would be a summer's day of 1970."""
    if not isinstance(value, str) and not isinstance(value, datetime):
        raise ValueError("must be a text such as 2024-01-15T10:00:00+01:00")
    if isinstance(value, str) and not _DAY.match(value):
        raise ValueError("must be a text such as 2024-01-15T10:00:00+01:00")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


def _facts(value: object) -> Mapping[str, bool | str]:
    """Names of facts stay unsaid: in a record they may be values."""
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    if not all(fact is None or isinstance(fact, bool | str) for fact in value.values()):
        raise ValueError("each must be true, false, a text or null")
    return {name: fact for name, fact in value.items() if fact is not None}


def _times(value: object) -> Mapping[str, datetime]:
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    try:
        return {
            name: _MOMENT.validate_python(time) for name, time in value.items() if time is not None
        }
    except ValidationError:
        raise ValueError("each must be a time with a zone") from None


def _codes(value: object) -> tuple[str | Code, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list")
    return tuple(_code(code) for code in value)


def _code(value: object) -> str | Code:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and set(value) == {"system", "code"}:
        system, code = value["system"], value["code"]
        if system in get_args(System) and isinstance(code, str):
            return Code(system, code)
    raise ValueError(
        "each must be a text, or {system, code} with a system of " + ", ".join(get_args(System))
    )


__all__ = ["UNDATED", "Columns", "Jsonl", "Only", "PartColumn"]


class _Record(Spec):
    # Records may have columns that we do not read. Their names stay unsaid: a name in a record
    # may be a patient's as well as a value.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _StayRecord(_Record):
    id: str = Field(min_length=1)
    admitted: Moment
    discharged: Moment
    codes: Annotated[tuple[str | Code, ...], PlainValidator(_codes)] = ()
    died: StrictBool | None = None
    planned: StrictBool | None = None
    newborn: StrictBool | None = None
    facts: Annotated[Mapping[str, bool | str], PlainValidator(_facts)] = {}
    times: Annotated[Mapping[str, datetime], PlainValidator(_times)] = {}


class _NoteRecord(_Record):
    at: Moment
    kind: str = "note"
    text: str | None = None
    stay: str | None = None


class _PatientRecord(_Record):
    id: str = Field(min_length=1)
    stays: tuple[_StayRecord, ...] = ()
    notes: tuple[_NoteRecord, ...] = ()
    died: Moment | None = None
    deaths_known: StrictBool = False
    followed_until: Moment | None = None


class Columns(Spec):
    """Which column of a document holds what; None where the source has no such column.

    `died` is whether the patient died in the stay, `died_at` when, there or not; `facts` and
    `times` are kept under their columns' names.
    """

    patient: str = "patient"
    text: str = "text"
    codes: str | None = "codes"
    stay: str | None = None
    kind: str | None = None
    at: str | None = None
    admitted: str | None = None
    discharged: str | None = None
    died: str | None = None
    planned: str | None = None
    newborn: str | None = None
    facts: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    died_at: str | None = None
    followed_until: str | None = None


class Jsonl(Source):
    """JSON lines; a name that ends in `.gz` is gunzipped.

    With layout `patients`, a line is one patient:
    `{"id", "stays": [{"id", "admitted", "discharged", "codes", "died", "planned", "newborn",
    "facts": {}, "times": {}}], "notes": [{"at", "kind", "text", "stay"}], "died",
    "deaths_known", "followed_until"}`. Times are texts with a zone, `died` of a stay, `planned` and
    `newborn` are true or false, facts are those or a text; null is the same as absent. A code is
    a text, or `{"system", "code"}`.

    With layout `documents`, a line is one note together with what is known of its stay, in
    `columns`. Lines of one patient stand together; without a stay column each is a stay.

    | what | becomes |
    | --- | --- |
    | a line that is not JSON, or lacks what it must have | `SourceBroken`, naming the line |
    | a patient's id that stood before, apart from this line | `SourceBroken` |
    | a note without text | counted and left out |
    | a patient without notes | counted and left out |
    | a stay discharged before it began | counted and left out |

    Attributes:
        paths: Files, read in this order; relative ones are under the site's `data`.
        layout: See above.
        columns: Of documents.
        undated: Says that the documents have no times, so that each is read as written when
            its stay ends. Without it a missing time is an error, never a guess.
        part: A split that the data brings along.
        only: A share of pooled data.
        encoding: Of the files; another one is refused, not guessed.
        code_system: Of codes that do not say theirs.
        deaths_known: Of documents: every death is known, in hospital or not.
        shifted: Says that times were moved to protect the patients, so that none of them is
            said to lie in the future.
    """

    kind: ClassVar[str] = "jsonl"
    paths: tuple[str, ...] = Field(min_length=1)
    layout: Literal["patients", "documents"] = "patients"
    columns: Columns = Columns()
    undated: bool = False
    part: PartColumn | None = None
    only: Only | None = None
    encoding: Encoding = "utf-8"
    code_system: System = "icd-10-cm"
    deaths_known: bool = False
    shifted: bool = False

    def patients(self, *, root: Path, attrition: Attrition) -> Iterator[Patient]:
        """See `Source.patients`."""
        read = self._patients if self.layout == "patients" else self._documents
        return with_notes(read(root, attrition), attrition)

    def state(self, *, root: Path) -> str | None:
        """See `Source.state`: size and time of each file."""
        return files_state([root / name for name in self.paths])

    def cut(self, column: str, *, largest: int, rest: str, root: Path) -> list[Piece]:
        """See `Source.cut`."""
        counts: Counter[str] = Counter()
        for place, table in self._lines(root):
            value = table.get(column)
            if not isinstance(value, str) or not value:
                raise ValueError(f"{place}: no column {column!r} to name its site by")
            counts[value] += self._part(table) in (None, "train")
        return pieces(
            counts,
            lambda only: self.model_copy(update={"only": only}),
            column=column,
            largest=largest,
            rest=rest,
        )

    def _lines(self, root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each line's place and table, of this source's share only."""
        for name in self.paths:
            for place, table in json_lines.tables(root / name, self.encoding):
                if self._mine(table):
                    yield place, table

    def _mine(self, table: dict[str, Any]) -> bool:
        if self.only is None:
            return True
        return (table.get(self.only.column) in self.only.values) is not self.only.exclude

    def _part(self, table: dict[str, Any]) -> Part | Literal["neither"] | None:
        if self.part is None:
            return None
        return self.part.part(table.get(self.part.column))

    def _patients(self, root: Path, attrition: Attrition) -> Iterator[tuple[str, Patient]]:
        for place, table in self._lines(root):
            part = self._part(table)
            if part == "neither":
                attrition.add("patients in no part of the split", place)
                continue
            record = _validated(_PatientRecord, table, place)
            yield place, self._patient(record, part, place, attrition)

    def _documents(self, root: Path, attrition: Attrition) -> Iterator[tuple[str, Patient]]:
        held: list[tuple[str, _PatientRecord]] = []
        of: Part | None = None

        def whole() -> tuple[str, Patient]:
            place = held[0][0]
            return place, self._patient(_joined(held, attrition), of, place, attrition)

        for place, table in self._lines(root):
            part = self._part(table)
            if part == "neither":
                attrition.add("documents in no part of the split", place)
                continue
            record = self._document(table, place)
            if held and held[0][1].id != record.id:
                yield whole()
                held = []
            if held and of != part:
                raise SourceBroken(f"{place}: its patient is in two parts of the split")
            of = part
            held.append((place, record))
        if held:
            yield whole()

    def _document(self, table: dict[str, Any], place: str) -> _PatientRecord:
        """One document as a patient with one stay and one note."""
        columns = self.columns

        def value(column: str | None, default: object = None) -> object:
            return default if column is None else table.get(column, default)

        end = UNDATED if self.undated else value(columns.discharged)
        start = UNDATED if self.undated else value(columns.admitted, end)
        stay_id = value(columns.stay, place)
        stay = {
            "id": stay_id,
            "admitted": start,
            "discharged": end,
            "codes": value(columns.codes) or (),
            "died": value(columns.died),
            "planned": value(columns.planned),
            "newborn": value(columns.newborn),
            "facts": {name: table.get(name) for name in columns.facts},
            "times": {name: table.get(name) for name in columns.times},
        }
        note = {
            "at": UNDATED if self.undated else value(columns.at, end),
            "stay": stay_id,
            "kind": value(columns.kind, "note"),
            "text": value(columns.text),
        }
        patient = {
            "id": value(columns.patient),
            "stays": (stay,),
            "notes": (note,),
            "died": value(columns.died_at),
            "deaths_known": self.deaths_known,
            "followed_until": value(columns.followed_until),
        }
        return _validated(_PatientRecord, patient, place)

    def _patient(
        self, record: _PatientRecord, part: Part | None, place: str, attrition: Attrition
    ) -> Patient:
        return assembled(
            record.id,
            (
                Stay(
                    stay.id,
                    stay.admitted,
                    stay.discharged,
                    tuple(
                        Code(self.code_system, code) if isinstance(code, str) else code
                        for code in stay.codes
                    ),
                    stay.died,
                    stay.planned,
                    stay.newborn,
                    stay.facts,
                    stay.times,
                )
                for stay in record.stays
            ),
            ((note.at, note.kind, note.text, note.stay) for note in record.notes),
            place=place,
            attrition=attrition,
            part=part,
            died=record.died,
            deaths_known=record.deaths_known,
            followed_until=record.followed_until,
            shifted=self.shifted,
            encoding=self.encoding,
        )


def _validated(kind: type[_PatientRecord], table: dict[str, Any], place: str) -> _PatientRecord:
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise SourceBroken(f"{place}: {one_line(error)}") from None


def _joined(records: list[tuple[str, _PatientRecord]], attrition: Attrition) -> _PatientRecord:
    """One patient of several documents; a stay named in more keeps every code of them, and else
    what the first said.
    """
    first = records[0][1]
    stays: dict[str, _StayRecord] = {}
    codes: dict[str, dict[str | Code, None]] = {}
    for place, record in records:
        for stay in record.stays:
            old = stays.setdefault(stay.id, stay)
            if stay.model_copy(update={"codes": old.codes}) != old:
                attrition.add("documents that tell a stay otherwise", place)
            codes.setdefault(stay.id, {}).update(dict.fromkeys(stay.codes))
        said = (record.died, record.followed_until)
        if said not in ((first.died, first.followed_until), (None, None)):
            attrition.add("documents that tell a patient otherwise", place)
    return first.model_copy(
        update={
            "stays": tuple(
                stay.model_copy(update={"codes": tuple(codes[name])})
                for name, stay in stays.items()
            ),
            "notes": tuple(note for _, record in records for note in record.notes),
        }
    )

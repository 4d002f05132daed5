"""jsonl: records in JSON lines, gzipped or not."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Literal, cast, get_args

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

from client.sources.assembly import assembled, with_notes
from client.sources.complaints import Encoding
from client.sources.shares import UNDATED, Only, PartColumn, files_state, pieces
from client.sources.source import Attrition, Piece, Source
from privacy.errors import SourceBroken
from privacy.spec import Spec, one_line
from tasks.records import Code, Part, Patient, Stay, System


def _moment(value: object) -> object:
    """A number is no time: `20240115` would be a summer's day of 1970."""
    if not isinstance(value, str) and not isinstance(value, datetime):
        raise ValueError("must be a text such as 2024-01-15T10:00:00+01:00")
    if isinstance(value, str) and "-" not in value:
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
            if self._part(table) in (None, "train"):
                counts[value] += 1
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
            path = root / name
            try:
                with _open(path) as file:
                    for number, raw in enumerate(file, 1):
                        place = f"{path.name} line {number}"
                        line = self._decoded(raw, path, number)
                        if line.strip():
                            table = _table(line, place)
                            if self._mine(table):
                                yield place, table
            except (OSError, EOFError, zlib.error) as error:
                raise SourceBroken(
                    f"{path.name}: cannot be read ({type(error).__name__})"
                ) from None

    def _decoded(self, raw: bytes, path: Path, number: int) -> str:
        try:
            line = raw.decode(self.encoding)
        except UnicodeDecodeError:
            raise SourceBroken(
                f'{path.name}: is not UTF-8 (line {number}); set encoding = "latin-1" or convert it'
            ) from None
        return line.removeprefix("\ufeff") if number == 1 else line

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
        held: tuple[str, _PatientRecord, Part | None] | None = None
        for place, table in self._lines(root):
            part = self._part(table)
            if part == "neither":
                attrition.add("documents in no part of the split", place)
                continue
            record = self._document(table, place)
            if held is not None and held[1].id == record.id:
                if held[2] != part:
                    raise SourceBroken(f"{place}: its patient is in two parts of the split")
                held = (held[0], _joined(held[1], record, place, attrition), part)
                continue
            if held is not None:
                yield held[0], self._patient(held[1], held[2], held[0], attrition)
            held = (place, record, part)
        if held is not None:
            yield held[0], self._patient(held[1], held[2], held[0], attrition)

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
        )


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _table(line: str, place: str) -> dict[str, Any]:
    try:
        table = json.loads(line)
    except (ValueError, RecursionError):  # not JSON, a number of 5,000 digits, 1,000 brackets
        raise SourceBroken(f"{place}: is not JSON; mend or remove the line") from None
    if not isinstance(table, dict):
        raise SourceBroken(f"{place}: must be a JSON object")
    if "\\ud" in line.lower():  # only an escape can write half of a surrogate pair
        try:
            json.dumps(table, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise SourceBroken(f"{place}: its text holds half a character; mend it") from None
    return table


def _validated(kind: type[_PatientRecord], table: dict[str, Any], place: str) -> _PatientRecord:
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise SourceBroken(f"{place}: {one_line(error)}") from None


def _joined(
    first: _PatientRecord, second: _PatientRecord, place: str, attrition: Attrition
) -> _PatientRecord:
    """One patient of two documents; a stay named in both keeps every code of both, and else what
    the first said.
    """
    stays = {stay.id: stay for stay in first.stays}
    for stay in second.stays:
        old = stays.setdefault(stay.id, stay)
        if stay.model_copy(update={"codes": old.codes}) != old:
            attrition.add("documents that tell a stay otherwise", place)
        codes = tuple(dict.fromkeys((*old.codes, *stay.codes)))
        stays[stay.id] = old.model_copy(update={"codes": codes})
    said = (second.died, second.followed_until)
    if said not in ((first.died, first.followed_until), (None, None)):
        attrition.add("documents that tell a patient otherwise", place)
    return first.model_copy(
        update={"stays": tuple(stays.values()), "notes": first.notes + second.notes}
    )

"""jsonl: records in JSON lines, gzipped or not."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, TextIO, cast

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from client.sources.assembly import assembled, with_notes
from client.sources.source import Attrition, Piece, Source
from privacy.errors import SourceBroken
from privacy.spec import Spec, one_line
from tasks.records import Part, Patient, Stay, icd10cm

UNDATED = datetime(1900, 1, 1, tzinfo=UTC)
"""The one moment at which everything happens in a source that says it has no dates."""


class _Record(Spec):
    # Records may have columns that we do not read. Their names stay unsaid: a name in a record
    # may be a patient's as well as a value.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _StayRecord(_Record):
    id: str = Field(min_length=1)
    admitted: AwareDatetime
    discharged: AwareDatetime
    codes: tuple[str, ...] = ()
    died: bool | None = None


class _NoteRecord(_Record):
    at: AwareDatetime
    kind: str = "note"
    text: str | None = None
    stay: str | None = None


class _PatientRecord(_Record):
    id: str = Field(min_length=1)
    stays: tuple[_StayRecord, ...] = ()
    notes: tuple[_NoteRecord, ...] = ()


class Columns(Spec):
    """Which column of a document holds what; None where the source has no such column."""

    patient: str = "patient"
    text: str = "text"
    codes: str | None = "codes"
    stay: str | None = None
    kind: str | None = None
    at: str | None = None
    admitted: str | None = None
    discharged: str | None = None


class PartColumn(Spec):
    """A column that fixes the split: which of its values may be trained on, which are held out.
    A document with any other value is left out and counted.
    """

    column: str
    train: tuple[str, ...]
    heldout: tuple[str, ...]


class Only(Spec):
    """Reads only the documents whose column has one of these values, or none of them."""

    column: str
    values: tuple[str, ...]
    exclude: bool = False


class Jsonl(Source):
    """JSON lines, UTF-8; a name that ends in `.gz` is gunzipped.

    With layout `patients`, a line is one patient:
    `{"id", "stays": [{"id", "admitted", "discharged", "codes", "died"}],
    "notes": [{"at", "kind", "text", "stay"}]}`, times with a zone.

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
    """

    kind: ClassVar[str] = "jsonl"
    paths: tuple[str, ...] = Field(min_length=1)
    layout: Literal["patients", "documents"] = "patients"
    columns: Columns = Columns()
    undated: bool = False
    part: PartColumn | None = None
    only: Only | None = None

    def patients(self, *, root: Path, attrition: Attrition) -> Iterator[Patient]:
        """See `Source.patients`."""
        read = self._patients if self.layout == "patients" else self._documents
        return with_notes(read(root, attrition), attrition)

    def state(self, *, root: Path) -> str | None:
        """See `Source.state`: size and time of each file."""
        found: list[tuple[int, int, int] | None] = []
        for name in self.paths:
            try:
                file = (root / name).stat()
            except OSError:
                found.append(None)
            else:
                found.append((file.st_ino, file.st_size, file.st_mtime_ns))
        return json.dumps(found)

    def cut(self, column: str, *, largest: int, rest: str, root: Path) -> list[Piece]:
        """See `Source.cut`."""
        counts: Counter[str] = Counter()
        for place, table in self._lines(root):
            value = table.get(column)
            if not isinstance(value, str) or not value:
                raise ValueError(f"{place}: no column {column!r} to name its site by")
            if self._part(table) in (None, "train"):
                counts[value] += 1
        ranked = sorted(counts, key=lambda value: (-counts[value], value))
        own, others = ranked[:largest], ranked[largest:]

        def share(values: tuple[str, ...], *, exclude: bool = False) -> Jsonl:
            return self.model_copy(
                update={"only": Only(column=column, values=values, exclude=exclude)}
            )

        pieces = [Piece(value, share((value,)), counts[value]) for value in own]
        if others:
            number = sum(counts[value] for value in others)
            pieces.append(Piece(rest, share(tuple(own), exclude=True), number))
        return pieces

    def _lines(self, root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each line's place and table, of this source's share only."""
        for name in self.paths:
            path = root / name
            try:
                with _open(path) as file:
                    for number, line in enumerate(file, 1):
                        place = f"{path.name} line {number}"
                        if line.strip():
                            table = _table(line, place)
                            if self._mine(table):
                                yield place, table
            except (OSError, EOFError) as error:
                raise SourceBroken(
                    f"{path.name}: cannot be read ({type(error).__name__})"
                ) from None
            except UnicodeDecodeError:
                raise SourceBroken(f"{path.name}: is not UTF-8; convert it first") from None

    def _mine(self, table: dict[str, Any]) -> bool:
        if self.only is None:
            return True
        return (table.get(self.only.column) in self.only.values) is not self.only.exclude

    def _part(self, table: dict[str, Any]) -> Part | Literal["neither"] | None:
        if self.part is None:
            return None
        value = table.get(self.part.column)
        if value in self.part.train:
            return "train"
        return "heldout" if value in self.part.heldout else "neither"

    def _patients(self, root: Path, attrition: Attrition) -> Iterator[tuple[str, Patient]]:
        for place, table in self._lines(root):
            part = self._part(table)
            if part == "neither":
                attrition.add("patients in no part of the split", place)
                continue
            record = _validated(_PatientRecord, table, place)
            yield place, _patient(record, part, place, attrition)

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
                held = (held[0], _joined(held[1], record), part)
                continue
            if held is not None:
                yield held[0], _patient(held[1], held[2], held[0], attrition)
            held = (place, record, part)
        if held is not None:
            yield held[0], _patient(held[1], held[2], held[0], attrition)

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
        }
        note = {
            "at": UNDATED if self.undated else value(columns.at, end),
            "stay": stay_id,
            "kind": value(columns.kind, "note"),
            "text": value(columns.text),
        }
        patient = {"id": value(columns.patient), "stays": (stay,), "notes": (note,)}
        return _validated(_PatientRecord, patient, place)


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return cast("TextIO", gzip.open(path, "rt", encoding="utf-8"))
    return path.open(encoding="utf-8")


def _table(line: str, place: str) -> dict[str, Any]:
    try:
        table = json.loads(line)
    except (ValueError, RecursionError):  # not JSON, a number of 5,000 digits, 1,000 brackets
        raise SourceBroken(f"{place}: is not JSON; mend or remove the line") from None
    if not isinstance(table, dict):
        raise SourceBroken(f"{place}: must be a JSON object")
    return table


def _validated(kind: type[_PatientRecord], table: dict[str, Any], place: str) -> _PatientRecord:
    try:
        record = kind.model_validate(table)
        for note in record.notes:
            (note.text or "").encode()
    except ValidationError as error:
        raise SourceBroken(f"{place}: {one_line(error)}") from None
    except UnicodeEncodeError:
        raise SourceBroken(f"{place}: its text holds half a character; mend it") from None
    return record


def _joined(first: _PatientRecord, second: _PatientRecord) -> _PatientRecord:
    """One patient of two documents; a stay named in both keeps every code of both."""
    stays = {stay.id: stay for stay in first.stays}
    for stay in second.stays:
        old = stays.get(stay.id)
        codes = tuple(dict.fromkeys((*(old.codes if old else ()), *stay.codes)))
        stays[stay.id] = (old or stay).model_copy(update={"codes": codes})
    return first.model_copy(
        update={"stays": tuple(stays.values()), "notes": first.notes + second.notes}
    )


def _patient(
    record: _PatientRecord, part: Part | None, place: str, attrition: Attrition
) -> Patient:
    return assembled(
        record.id,
        (
            Stay(stay.id, stay.admitted, stay.discharged, icd10cm(stay.codes), stay.died)
            for stay in record.stays
        ),
        ((note.at, note.kind, note.text, note.stay) for note in record.notes),
        place=place,
        attrition=attrition,
        part=part,
    )

"""omop: an OMOP CDM 5.4 database in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from client.sources.assembly import assembled, with_notes
from client.sources.omop_connection import connected, parsed, read_password, said
from client.sources.omop_database import LAYOUT, Database
from client.sources.omop_records import Meanings, death_of, kind_of, stays_of
from client.sources.omop_times import moment
from client.sources.omop_vocabulary import Vocabulary
from client.sources.source import Attrition, Source
from privacy.errors import SourceBroken
from tasks.records import Code, Patient, System

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection
    from sqlalchemy import RowMapping as Row

PATIENT_DIED = 4216643
"""The concept `Patient died`."""


class Omop(Source):
    """OMOP CDM 5.4 in PostgreSQL.

    Read are NOTE, VISIT_OCCURRENCE, CONDITION_OCCURRENCE, PROCEDURE_OCCURRENCE, DEATH, PERSON and
    OBSERVATION_PERIOD, as of one moment: a read-only transaction that lasts as long as the
    reading. The user needs SELECT on them and on CONCEPT, and on nothing else.

    A patient is a person of PERSON, under the number `person_id`. Codes of conditions and
    procedures are those of `omop_vocabulary`; dates without a time those of `omop_times`: a note
    with a date alone counts as written at the end of that day.

    | what | becomes |
    | --- | --- |
    | a visit of another concept | no stay, counted; its notes are kept without a stay |
    | a stay that had not ended when the database was filled | left out, counted |
    | a condition or procedure of no stay | left out, counted |
    | a row whose person is not in PERSON | left out, counted |
    | a note without a date | left out, counted |
    | a note whose concepts have no name in CONCEPT | of kind `note`, counted |
    | NOTE without a row | `SourceBroken`, which says so |
    | a table or column that is not there | `SourceBroken` with its name |
    | a server that is down, refuses or gives up | `SourceBroken` with why |

    Attributes:
        url: `postgresql://USER@HOST:PORT/DATABASE`, without a password. Over a network, with
            `?sslmode=verify-full&sslrootcert=FILE`.
        password_file: A file whose first line is the password, open to its owner alone; without
            it libpq's own ways hold (`PGPASSWORD`, `.pgpass`).
        cdm_schema: Where the tables stand.
        vocabulary_schema: Where CONCEPT and CONCEPT_RELATIONSHIP stand; None for `cdm_schema`.
        time_zone: Of times without a zone, such as `Europe/Vienna`.
        visit_concepts: Which visits are stays; by default inpatient ones, and those that began in
            the emergency room.
        kinds: What notes of a concept of class or type are called: `{44814637 = "discharge"}`.
            Other concepts are called by their names; names of discharge summaries become
            `discharge`, those of radiology `radiology`.
        condition_types: Only conditions of these types are read; empty reads all.
        condition_source_values: The coding system in which source values of conditions stand
            where they have no source concept; None does not read them.
        procedure_source_values: The same of procedures.
        map_snomed: Whether a condition that only has a concept of SNOMED CT gets the code of
            ICD-10-CM that maps to it, where it is one. What coders wrote may have been another.
        planned: Concepts and source values of `admitted_from` that mean an elective admission;
            empty where the database does not say.
        newborn: Those that mean a birth. Without them, a stay that begins on the day of birth.
        died_to: Concepts and source values of `discharged_to` that mean that the patient died.
        deaths: What DEATH covers: `some` deaths, all in `stays`, or `all`, also at home. Where
            it covers less, nobody is called alive because no death is known.
        followed_until: When the data were extracted. Set it where OBSERVATION_PERIOD ends with a
            person's last visit: what came later would have been seen, but nothing came. Without
            it a person is followed to the end of the last observation period.
    """

    kind: ClassVar[str] = "omop"
    url: str
    password_file: Path | None = None
    cdm_schema: str = Field(default="public", min_length=1)
    vocabulary_schema: str | None = Field(default=None, min_length=1)
    time_zone: str
    visit_concepts: tuple[int, ...] = Field(default=(9201, 262), min_length=1)
    kinds: dict[int, str] = {}
    condition_types: tuple[int, ...] = ()
    condition_source_values: System | None = None
    procedure_source_values: System | None = None
    map_snomed: bool = False
    planned: tuple[int | str, ...] = ()
    newborn: tuple[int | str, ...] = ()
    died_to: tuple[int | str, ...] = (PATIENT_DIED,)
    deaths: Literal["some", "stays", "all"] = "some"
    followed_until: date | None = None

    @field_validator("url")
    @classmethod
    def _no_password(cls, value: str) -> str:
        parsed(value)
        return value

    @field_validator("time_zone")
    @classmethod
    def _a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("no such time zone; one is named like Europe/Vienna") from None
        return value

    def patients(self, *, root: Path, attrition: Attrition) -> Iterator[Patient]:
        """See `Source.patients`; in order of `person_id`."""
        return with_notes(self._patients(root, attrition), attrition)

    def state(self, *, root: Path) -> str | None:
        """See `Source.state`: how many rows of each table the server has seen change.

        Raises:
            SourceBroken: The server is down or refuses.
        """
        with self._connected(root) as connection:
            found = self._database(connection).state(self._tables())
        return None if found is None else json.dumps(found)

    def _connected(self, root: Path) -> AbstractContextManager[Connection]:
        password = None if self.password_file is None else read_password(root / self.password_file)
        return connected(self.url, password=password)

    def _database(self, connection: Connection) -> Database:
        return Database(
            connection,
            name=said(parsed(self.url)),
            cdm_schema=self.cdm_schema,
            vocabulary_schema=self.vocabulary_schema or self.cdm_schema,
        )

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def _tables(self) -> tuple[str, ...]:
        return (*LAYOUT, "concept", *(["concept_relationship"] if self.map_snomed else []))

    def _patients(self, root: Path, attrition: Attrition) -> Iterator[tuple[str, Patient]]:
        with (
            self._connected(root) as connection,
            closing(self._database(connection)) as database,
        ):
            database.check(self._tables())
            if database.empty("note"):
                raise SourceBroken(
                    f"{said(parsed(self.url))}: table NOTE of schema {self.cdm_schema} is there "
                    "and has no row, as in many OMOP databases; fill it, or name another source"
                )
            vocabulary = Vocabulary(database, map_snomed=self.map_snomed)
            tables = {table: _Ordered(database.by_person(table), table) for table in LAYOUT}
            people = tables.pop("person")
            number = 0
            while (person := people.next_person(attrition)) is not None:
                number += 1
                place = f"person {number} of PERSON by person_id"
                same = people.of(person, attrition)
                if len(same) > 1:
                    attrition.add("persons who stand twice in PERSON (the first is used)", place)
                rows = {table: found.of(person, attrition) for table, found in tables.items()}
                yield place, self._patient(same[0], rows, vocabulary, place, attrition)
            for found in tables.values():
                found.finish(attrition)

    def _patient(
        self,
        person: Row,
        rows: Mapping[str, list[Row]],
        vocabulary: Vocabulary,
        place: str,
        attrition: Attrition,
    ) -> Patient:
        zone = self._zone
        vocabulary.learn(_concepts(rows))
        visits = [
            row
            for row in rows["visit_occurrence"]
            if row["visit_concept_id"] in self.visit_concepts
        ]
        elsewhere = {row["visit_occurrence_id"] for row in rows["visit_occurrence"]}
        elsewhere -= {row["visit_occurrence_id"] for row in visits}
        if elsewhere:
            attrition.add("visits that are not stays", place, len(elsewhere))
        death = death_of(rows["death"], zone=zone, place=place, attrition=attrition)
        stays = stays_of(
            visits,
            self._codes(
                rows, {row["visit_occurrence_id"] for row in visits}, vocabulary, attrition
            ),
            person=person,
            death=death,
            meanings=Meanings(
                zone, self.planned, self.newborn, self.died_to, self.deaths != "some"
            ),
            place=place,
            attrition=attrition,
        )
        return assembled(
            str(person["person_id"]),
            stays,
            self._notes(rows["note"], elsewhere, vocabulary, place, attrition),
            place=place,
            attrition=attrition,
            died=None if death is None else death.at,
            died_from=None if death is None else death.since,
            deaths_known=self.deaths == "all",
            followed_until=self._followed(rows["observation_period"]),
        )

    def _codes(
        self,
        rows: Mapping[str, list[Row]],
        stays: set[int],
        vocabulary: Vocabulary,
        attrition: Attrition,
    ) -> dict[str, list[Code]]:
        """The codes of each stay, diagnoses first, each in order of its row's number."""
        found: dict[str, list[Code]] = {}
        for kind, written in (
            ("condition", self.condition_source_values),
            ("procedure", self.procedure_source_values),
        ):
            some = rows[f"{kind}_occurrence"]
            for row in sorted(some, key=lambda row: row[f"{kind}_occurrence_id"] or 0):
                visit = row["visit_occurrence_id"]
                types = self.condition_types if kind == "condition" else ()
                if types and row[f"{kind}_type_concept_id"] not in types:
                    attrition.add(f"{kind}s of another type")
                elif visit not in stays:
                    attrition.add(f"{kind}s of no stay")
                else:
                    code = vocabulary.code(row, kind, written, attrition)
                    if code is not None:
                        found.setdefault(str(visit), []).append(code)
        return found

    def _notes(
        self,
        rows: Iterable[Row],
        elsewhere: set[int],
        vocabulary: Vocabulary,
        place: str,
        attrition: Attrition,
    ) -> Iterator[tuple[datetime, str, str | None, str | None]]:
        for row in sorted(rows, key=lambda row: row["note_id"] or 0):
            at = moment(row["note_datetime"], row["note_date"], zone=self._zone, late=True)
            if at is None:
                attrition.add("notes without a date", place)
                continue
            classes = ("note_class_concept_id", "note_type_concept_id")
            kind = kind_of(row, self.kinds, [vocabulary.concept(row[name]) for name in classes])
            if kind is None:
                attrition.add("notes whose concepts have no name (kept as `note`)", place)
            visit = row["visit_occurrence_id"]
            stay = None if visit is None or visit in elsewhere else str(visit)
            yield at, kind or "note", row["note_text"], stay

    def _followed(self, periods: Iterable[Row]) -> datetime | None:
        if self.followed_until is not None:
            return moment(None, self.followed_until, zone=self._zone, late=True)
        ends = [
            moment(None, row["observation_period_end_date"], zone=self._zone, late=True)
            for row in periods
        ]
        return max((end for end in ends if end is not None), default=None)


class _Ordered:
    """Rows in order of person, taken person by person; one row is read ahead."""

    def __init__(self, rows: Iterator[Row], table: str) -> None:
        self._rows, self._table = rows, table
        self._ahead = next(rows, None)

    def next_person(self, attrition: Attrition) -> int | None:
        """The person whose rows come next; None after the last."""
        if self._ahead is not None and self._ahead["person_id"] is None:
            self.finish(attrition)  # nulls come last
        return None if self._ahead is None else self._ahead["person_id"]

    def of(self, person: int, attrition: Attrition) -> list[Row]:
        """The person's rows; those of persons before are counted as nobody's."""
        found = []
        while (row := self._ahead) is not None and (whose := row["person_id"]) is not None:
            if whose > person:
                break
            if whose == person:
                found.append(row)
            else:
                self._nobody(attrition)
            self._ahead = next(self._rows, None)
        return found

    def finish(self, attrition: Attrition) -> None:
        """Counts what is left as nobody's."""
        while self._ahead is not None:
            self._nobody(attrition)
            self._ahead = next(self._rows, None)

    def _nobody(self, attrition: Attrition) -> None:
        attrition.add(f"rows of {self._table.upper()} whose person is not in PERSON")


def _concepts(rows: Mapping[str, list[Row]]) -> Iterator[int | None]:
    for table, columns in (
        ("condition_occurrence", ("condition_source_concept_id", "condition_concept_id")),
        ("procedure_occurrence", ("procedure_source_concept_id", "procedure_concept_id")),
        ("note", ("note_class_concept_id", "note_type_concept_id")),
    ):
        for row in rows[table]:
            yield from (row[column] for column in columns)

"""Tables of OMOP CDM 5.4, and a hospital's patients written into them.

`fill(url, patients)` makes the tables and writes; the `omop` source with `READ_BACK` then gives
the same patients, but for what OMOP cannot hold or says of itself:

- ids are numbers;
- `part`, `facts` and `times` are lost, and texts of the split with them;
- patients, notes and stays that the source leaves out (without text, backwards) are left out;
- a time of exactly midnight is a date alone;
- `newborn = None` becomes False: PERSON has a year of birth, long ago;
- `planned = None` of a newborn becomes False;
- `died = None` of a stay becomes what `Patient.died` says, where that is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy
from sqlalchemy.pool import NullPool

from tasks.records import Code, Patient, Stay

# name, type where it is no integer, ! where it must be there; the first is the primary key.
TABLES = {
    "person": "person_id! gender_concept_id! year_of_birth! month_of_birth day_of_birth "
    "birth_datetime:timestamp race_concept_id! ethnicity_concept_id! location_id provider_id "
    "care_site_id person_source_value:varchar(50) gender_source_value:varchar(50) "
    "gender_source_concept_id race_source_value:varchar(50) race_source_concept_id "
    "ethnicity_source_value:varchar(50) ethnicity_source_concept_id",
    "observation_period": "observation_period_id! person_id! observation_period_start_date:date! "
    "observation_period_end_date:date! period_type_concept_id!",
    "visit_occurrence": "visit_occurrence_id! person_id! visit_concept_id! visit_start_date:date! "
    "visit_start_datetime:timestamp visit_end_date:date! visit_end_datetime:timestamp "
    "visit_type_concept_id! provider_id care_site_id visit_source_value:varchar(50) "
    "visit_source_concept_id admitted_from_concept_id admitted_from_source_value:varchar(50) "
    "discharged_to_concept_id discharged_to_source_value:varchar(50) "
    "preceding_visit_occurrence_id",
    "condition_occurrence": "condition_occurrence_id! person_id! condition_concept_id! "
    "condition_start_date:date! condition_start_datetime:timestamp condition_end_date:date "
    "condition_end_datetime:timestamp condition_type_concept_id! condition_status_concept_id "
    "stop_reason:varchar(20) provider_id visit_occurrence_id visit_detail_id "
    "condition_source_value:varchar(50) condition_source_concept_id "
    "condition_status_source_value:varchar(50)",
    "procedure_occurrence": "procedure_occurrence_id! person_id! procedure_concept_id! "
    "procedure_date:date! procedure_datetime:timestamp procedure_end_date:date "
    "procedure_end_datetime:timestamp procedure_type_concept_id! modifier_concept_id quantity "
    "provider_id visit_occurrence_id visit_detail_id procedure_source_value:varchar(50) "
    "procedure_source_concept_id modifier_source_value:varchar(50)",
    "death": "person_id! death_date:date! death_datetime:timestamp death_type_concept_id "
    "cause_concept_id cause_source_value:varchar(50) cause_source_concept_id",
    "note": "note_id! person_id! note_date:date! note_datetime:timestamp note_type_concept_id! "
    "note_class_concept_id! note_title:varchar(250) note_text:text! encoding_concept_id! "
    "language_concept_id! provider_id visit_occurrence_id visit_detail_id "
    "note_source_value:varchar(50) note_event_id note_event_field_concept_id",
    "concept": "concept_id! concept_name:varchar(255)! domain_id:varchar(20)! "
    "vocabulary_id:varchar(20)! concept_class_id:varchar(20)! standard_concept:varchar(1) "
    "concept_code:varchar(50)! valid_start_date:date! valid_end_date:date! "
    "invalid_reason:varchar(1)",
    "concept_relationship": "concept_id_1! concept_id_2! relationship_id:varchar(20)! "
    "valid_start_date:date! valid_end_date:date! invalid_reason:varchar(1)",
}
WITHOUT_KEY = ("death", "concept_relationship")

VOCABULARIES = {
    "icd-9-cm": "ICD9CM",
    "icd-9-cm-procedures": "ICD9Proc",
    "icd-10-cm": "ICD10CM",
    "icd-10-pcs": "ICD10PCS",
    "snomed-ct": "SNOMED",
}
PROCEDURES = ("icd-9-cm-procedures", "icd-10-pcs")

INPATIENT, EHR, HOME, DIED = 9201, 32817, 8536, 4216643
FIRST_OWN = 2_000_000_001
"""Where a hospital's own concepts begin."""

READ_BACK: dict[str, Any] = {
    "kind": "omop",
    "time_zone": "UTC",
    "planned": ["ELECTIVE"],
    "newborn": ["NEWBORN"],
}
"""The source's fields for what `fill` wrote, but for url and schema."""

_EMPTY = {"integer": 0, "date": date(2000, 1, 1), "text": "", "varchar": ""}


def columns(table: str) -> dict[str, tuple[str, bool]]:
    """The columns of a table: type, and whether it must be there."""
    found = {}
    for word in TABLES[table].split():
        name, _, kind = word.rstrip("!").partition(":")
        found[name] = (kind or "integer", word.endswith("!"))
    return found


def create(url: str, *, schema: str = "public", without: Iterable[str] = ()) -> None:
    """Makes the tables, empty, but for some columns such as `note.note_text` or tables."""
    left_out = set(without)
    statements = [f'create schema if not exists "{schema}"']
    for table in TABLES:
        if table in left_out:
            continue
        given = [
            f"{name} {kind}{' not null' if must else ''}"
            for name, (kind, must) in columns(table).items()
            if f"{table}.{name}" not in left_out
        ]
        if table not in WITHOUT_KEY:
            given.append(f"primary key ({next(iter(columns(table)))})")
        statements.append(f'create table "{schema}".{table} ({", ".join(given)})')
    with _engine(url).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def insert(url: str, table: str, *rows: dict[str, Any], schema: str = "public") -> None:
    """Adds rows; what must be there and is not given is 0, nothing or the year 2000."""
    with _engine(url).begin() as connection:
        _insert(connection, table, list(rows), schema)


def fill(
    url: str, patients: Iterable[Patient], *, schema: str = "public", time_zone: str = "UTC"
) -> dict[str, str]:
    """Makes the tables and writes patients into them.

    Args:
        url: Of an empty database whose owner it names.
        patients: Of any source.
        schema: Where the tables go.
        time_zone: In which times are written; the tables do not say.

    Returns:
        What the source then calls each patient, by id.
    """
    create(url, schema=schema)
    writer = _Writer(ZoneInfo(time_zone))
    with _engine(url).begin() as connection:
        for patient in patients:
            for table, rows in writer.rows(patient).items():
                _insert(connection, table, rows, schema)
        _insert(connection, "concept", writer.concepts, schema)
        for table in TABLES:
            connection.exec_driver_sql(f'analyze "{schema}".{table}')
    return writer.names


class _Writer:
    def __init__(self, zone: ZoneInfo) -> None:
        self.names: dict[str, str] = {}
        self.concepts: list[dict[str, Any]] = []
        self._zone = zone
        self._numbers = {table: count(1) for table in TABLES}
        self._known: dict[tuple[str, str], int] = {}

    def rows(self, patient: Patient) -> dict[str, list[dict[str, Any]]]:
        person = next(self._numbers["person"])
        self.names[patient.id] = str(person)
        found: dict[str, list[dict[str, Any]]] = {
            "person": [
                {"person_id": person, "year_of_birth": 1900, "person_source_value": patient.id[:50]}
            ]
        }
        visits = {}
        for stay in patient.stays:
            number = visits[stay.id] = next(self._numbers["visit_occurrence"])
            found.setdefault("visit_occurrence", []).append(self._visit(stay, number, person))
            for code in stay.codes:
                table, row = self._coded(code, number, person)
                found.setdefault(table, []).append(row)
        found["note"] = [
            {
                "note_id": next(self._numbers["note"]),
                "person_id": person,
                **self._times("note", note.at),
                "note_type_concept_id": EHR,
                "note_class_concept_id": self._concept("LOINC", note.kind),
                "note_text": note.text,
                # (a stay that is not there gets a number that is not there)
                "visit_occurrence_id": None
                if note.stay is None
                else visits.get(note.stay) or next(self._numbers["visit_occurrence"]),
            }
            for note in patient.notes
        ]
        if patient.died is not None:
            found["death"] = [{"person_id": person, **self._times("death", patient.died)}]
        if patient.followed_until is not None:
            end = patient.followed_until.astimezone(self._zone).date()
            number = next(self._numbers["observation_period"])
            found["observation_period"] = [
                {
                    "observation_period_id": number,
                    "person_id": person,
                    "observation_period_end_date": end,
                }
            ]
        return found

    def _visit(self, stay: Stay, number: int, person: int) -> dict[str, Any]:
        came = {True: "ELECTIVE", False: "EMERGENCY", None: None}[stay.planned]
        return {
            "visit_occurrence_id": number,
            "person_id": person,
            "visit_concept_id": INPATIENT,
            "visit_type_concept_id": EHR,
            **self._times("visit_start", stay.admitted),
            **self._times("visit_end", stay.discharged),
            "admitted_from_source_value": "NEWBORN" if stay.newborn else came,
            "discharged_to_concept_id": {True: DIED, False: HOME, None: None}[stay.died],
        }

    def _coded(self, code: Code, visit: int, person: int) -> tuple[str, dict[str, Any]]:
        kind = "procedure" if code.system in PROCEDURES else "condition"
        table = f"{kind}_occurrence"
        return table, {
            f"{table}_id": next(self._numbers[table]),
            "person_id": person,
            "visit_occurrence_id": visit,
            f"{kind}_source_value": code.code[:50],
            f"{kind}_source_concept_id": self._concept(VOCABULARIES[code.system], code.code),
        }

    def _times(self, name: str, at: datetime) -> dict[str, Any]:
        local = at.astimezone(self._zone).replace(tzinfo=None)
        return {f"{name}_date": local.date(), f"{name}_datetime": local}

    def _concept(self, vocabulary: str, code: str) -> int:
        number = self._known.get((vocabulary, code))
        if number is None:
            number = self._known[vocabulary, code] = FIRST_OWN + len(self._known)
            self.concepts.append(
                {
                    "concept_id": number,
                    "concept_name": code,
                    "vocabulary_id": vocabulary,
                    "concept_code": code[:50],
                }
            )
        return number


def _insert(
    connection: sqlalchemy.Connection, table: str, rows: list[dict[str, Any]], schema: str
) -> None:
    if not rows:
        return
    must = {
        name: _EMPTY[kind.partition("(")[0]]
        for name, (kind, needed) in columns(table).items()
        if needed
    }
    names = list(columns(table))
    target = sqlalchemy.table(table, *map(sqlalchemy.column, names), schema=schema)
    whole = [{**dict.fromkeys(names), **must, **row} for row in rows]
    connection.execute(target.insert(), list(_known(whole, names)))


def _known(rows: Iterable[dict[str, Any]], names: list[str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        assert set(row) == set(names), sorted(set(row) - set(names))
        yield row


def _engine(url: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(url, poolclass=NullPool)

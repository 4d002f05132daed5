"""Rows of a small OMOP hospital, and its reading."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy
from omop_tables import INPATIENT, READ_BACK, create, insert
from sqlalchemy.pool import NullPool

from client.sources.kinds import SOURCES
from client.sources.omop import Omop
from client.sources.source import Attrition
from tasks.records import Patient

PLAIN = 30
"""A concept of notes."""


def small(url: str) -> str:
    """Makes one person, 7, with one stay, 70, one note and no code."""
    create(url)
    insert(url, "person", {"person_id": 7, "year_of_birth": 1950})
    insert(url, "visit_occurrence", visit(70, 7))
    concept(url, PLAIN, "LOINC", "34109-9", "Note")
    insert(url, "note", note(700, 7, visit_occurrence_id=70))
    return url


def change(url: str, *statements: str) -> None:
    """Runs statements in one transaction."""
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def at(day: int, hour: int = 0, *, month: int = 3) -> datetime:
    """A time as the tables have it, in no zone."""
    return datetime(2024, month, day, hour)  # noqa: DTZ001 - as said


def visit(number: int, person: int, **changes: Any) -> dict[str, Any]:
    return {
        "visit_occurrence_id": number,
        "person_id": person,
        "visit_concept_id": INPATIENT,
        "visit_start_date": date(2024, 3, 1),
        "visit_start_datetime": at(1, 8),
        "visit_end_date": date(2024, 3, 5),
        "visit_end_datetime": at(5, 14),
    } | changes


def note(number: int, person: int, **changes: Any) -> dict[str, Any]:
    return {
        "note_id": number,
        "person_id": person,
        "note_date": date(2024, 3, 5),
        "note_datetime": at(5, 13),
        "note_class_concept_id": PLAIN,
        "note_text": "words",
    } | changes


def source(url: str, **fields: Any) -> Omop:
    return SOURCES.parse({**READ_BACK, "url": url, **fields})


def read(url: str, **fields: Any) -> tuple[list[Patient], dict[str, int]]:
    attrition = Attrition()
    found = list(source(url, **fields).patients(root=Path(), attrition=attrition))
    return found, attrition.counts


def one(url: str, **fields: Any) -> Patient:
    (found,), _ = read(url, **fields)
    return found


def concept(url: str, number: int, vocabulary: str, code: str, name: str = "a name") -> None:
    insert(
        url,
        "concept",
        {
            "concept_id": number,
            "concept_name": name,
            "vocabulary_id": vocabulary,
            "concept_code": code,
        },
    )

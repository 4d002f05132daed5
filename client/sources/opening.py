"""Opening: which columns of each table are read, and as what."""

from __future__ import annotations

from dataclasses import replace

from client.sources.cells import Column, Reading, Role
from client.sources.joining import FACT, TIME
from client.sources.layout import CodeTable, Fact, FollowUpTable, NoteTable, StayFields, StayTable
from client.sources.shares import PartColumn
from client.sources.tables import FILE, ROW, Tables, quoted
from privacy.errors import SourceBroken

_PATIENT = "_patient"
"""A column of codes that is not in the files: the patient, found by the stay."""


def note_columns(table: NoteTable, part: PartColumn | None) -> list[Column]:
    """What is read of notes."""
    own = table.columns
    found = [Column("patient", own.patient, "id"), Column("text", own.text, "text")]
    more: tuple[tuple[str, str | None, Role], ...] = (
        ("at", own.at, "time"),
        ("kind", own.kind, "word"),
        ("stay", own.stay, "id"),
        ("codes", own.codes, "codes"),
        ("admitted", own.admitted, "time"),
        ("discharged", own.discharged, "time"),
        ("part", None if part is None else part.column, "word"),
    )
    found += [Column(name, column, role) for name, column, role in more if column is not None]
    return found + _of_stay(table)


def stay_columns(table: StayTable) -> list[Column]:
    """What is read of stays."""
    own = table.columns
    return [
        Column("patient", own.patient, "id"),
        Column("stay", own.stay, "id"),
        Column("admitted", own.admitted, "time"),
        Column("discharged", own.discharged, "time"),
        *_of_stay(table),
    ]


def code_columns(table: CodeTable) -> list[Column]:
    """What is read of codes, as they stand in the files."""
    own = table.columns
    found = [Column("stay", own.stay, "id"), Column("code", own.code, "code")]
    if own.patient is not None:
        found.append(Column("patient", own.patient, "id"))
    if own.system is not None:
        found.append(Column("system", own.system, "word"))
    return found


def follow_up_columns(table: FollowUpTable) -> list[Column]:
    """What is read of follow-up."""
    own = table.columns
    found = [Column("patient", own.patient, "id")]
    if own.died is not None:
        found.append(Column("died", own.died, "time"))
    if own.followed_until is not None:
        found.append(Column("followed_until", own.followed_until, "time"))
    return found


def with_patients(codes: Reading, stays: Reading, tables: Tables) -> Reading:
    """Codes that name no patient, with the patients of their stays.

    Raises:
        SourceBroken: A stay's id stands at two patients, so that it is not known whose code it is.
    """
    names = {column.name: _text(column.column) for column in stays.columns}
    stay, patient = names["stay"], names["patient"]
    twice = tables.rows(
        f"SELECT max({FILE}), arg_max({ROW}, {FILE}) FROM {quoted(stays.table)} "
        f"WHERE {stay} IS NOT NULL GROUP BY {stay} HAVING count(DISTINCT {patient}) > 1 LIMIT 1"
    )
    for file, row in twice:
        raise SourceBroken(
            f"{file} row {row}: its stay's id stands at another patient too; name the patient's "
            "column in codes.columns"
        )
    (own,) = (quoted(column.column) for column in codes.columns if column.name == "stay")
    source = (
        f"(SELECT codes.*, whose.{_PATIENT} FROM {quoted(codes.table)} AS codes LEFT JOIN "
        f"(SELECT {stay} AS _stay, min({patient}) AS {_PATIENT} FROM {quoted(stays.table)} "
        f"GROUP BY 1) AS whose ON CAST(codes.{own} AS VARCHAR) = whose._stay)"
    )
    return replace(
        codes,
        types={**codes.types, _PATIENT: "VARCHAR"},
        columns=[*codes.columns, Column("patient", _PATIENT, "id")],
        source=source,
    )


def _of_stay(table: StayFields) -> list[Column]:
    named: list[tuple[str, Fact | None]] = [
        ("died", table.died),
        ("planned", table.planned),
        ("newborn", table.newborn),
        *((FACT + name, fact) for name, fact in table.facts.items()),
    ]
    found = [Column(name, fact.column, "fact", fact) for name, fact in named if fact is not None]
    return found + [Column(TIME + name, column, "time") for name, column in table.times.items()]


def _text(column: str) -> str:
    return f"CAST({quoted(column)} AS VARCHAR)"

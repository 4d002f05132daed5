"""Tables of two patients, as csv or parquet files, and how the tests read them."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from client.sources.source import Attrition
from client.sources.tabular import Csv, Parquet, Tabular
from tasks.records import Patient

CANARY = "Zebulon Quagmire"
INSTANT = timedelta(microseconds=1)

NOTES = {
    "pid": ["10", "2", "10", "2"],
    "enc": ["a", "c", "b", None],
    "written": ["2024-01-05 10:00", "2024-02-02 09:00", "2024-01-20 08:30", "2024-03-01 12:00"],
    "type": ["discharge", "discharge", "progress", None],
    "words": ["first", "second, with comma", 'third\r\n"quoted"', "fourth"],
}
STAYS = {
    "pid": ["10", "10", "2"],
    "enc": ["a", "b", "c"],
    "from": ["2024-01-01 08:00", "2024-01-15 08:00", "2024-02-01 22:00"],
    "to": ["2024-01-05 12:00", "2024-01-20 12:00", "2024-02-02 12:00"],
    "dead": ["0", "1", ""],
    "elective": ["y", "n", ""],
    "decision": ["DENIED", "PAID", ""],
    "ward": ["ICU", "", "7"],
    "triage": ["2024-01-01 07:00", "", "2024-02-01 21:00"],
}
CODES = {
    "enc": ["a", "a", "c", "zz"],
    "version": ["10", "9", "10", "10"],
    "icd": ["I10", "0411", "E119", "J18"],
}
FOLLOW_UP = {"pid": ["10", "3"], "died": ["2024-06-01", ""], "last": ["2024-07-01", "2024-07-01"]}

YES = {"true": ["1"], "false": ["0"]}
SOURCE: dict[str, Any] = {
    "time_zone": "Europe/Madrid",
    "notes": {
        "columns": {
            "patient": "pid",
            "at": "written",
            "kind": "type",
            "text": "words",
            "stay": "enc",
        },
        "paths": ["notes"],
    },
    "stays": {
        "columns": {"patient": "pid", "stay": "enc", "admitted": "from", "discharged": "to"},
        "paths": ["stays"],
        "died": {"column": "dead", **YES},
        "planned": {"column": "elective", "true": ["y"], "false": ["n"]},
        "facts": {
            "denied": {"column": "decision", "true": ["DENIED"], "false": ["PAID"]},
            "ward": {"column": "ward", "type": "category"},
        },
        "times": {"triaged": "triage"},
    },
    "codes": {
        "columns": {"stay": "enc", "code": "icd", "system": "version"},
        "paths": ["codes"],
        "code_systems": {"9": "icd-9-cm", "10": "icd-10-cm"},
    },
    "follow_up": {
        "columns": {"patient": "pid", "died": "died", "followed_until": "last"},
        "paths": ["follow_up"],
        "deaths_known": True,
    },
}
TABLES = {"notes": NOTES, "stays": STAYS, "codes": CODES, "follow_up": FOLLOW_UP}
KINDS: tuple[type[Tabular], ...] = (Csv, Parquet)


def write(folder: Path, kind: type[Tabular], name: str, table: dict[str, list[Any]]) -> None:
    if kind is Parquet:
        pq.write_table(pa.table(table), folder / name)
        return
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(table)
        out.writerows(zip(*table.values(), strict=True))


def read(folder: Path, source: Tabular) -> tuple[list[Patient], Attrition]:
    attrition = Attrition()
    return list(source.patients(root=folder, attrition=attrition)), attrition


def whole(folder: Path, kind: type[Tabular], **changes: Any) -> tuple[list[Patient], Attrition]:
    for name, table in TABLES.items():
        write(folder, kind, name, table)
    return read(folder, kind.model_validate({**SOURCE, **changes}))


def alone(
    folder: Path, kind: type[Tabular], table: dict[str, list[Any]], **source: Any
) -> tuple[list[Patient], Attrition]:
    """Notes that tell of their stays."""
    write(folder, kind, "notes", table)
    notes = {"paths": ["notes"], **source.pop("notes", {})}
    return read(folder, kind.model_validate({"notes": notes, **source}))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


DOCUMENTS: dict[str, list[Any]] = {
    "patient": ["p1", "p1", "p2"],
    "stay": ["s1", "s1", "s2"],
    "to": ["2024-01-05T12:00Z", "2024-01-05T12:00Z", "2024-02-05T12:00Z"],
    "codes": ["I10; E11.9", "J18.9;I10", ""],
    "text": ["one", "two", "three"],
}
EMBEDDED = {
    "columns": {"stay": "stay", "discharged": "to", "codes": "codes"},
    "code_system": "icd-10-cm",
    "code_separator": ";",
}

AT = {"columns": {"at": "at"}}


def dated(**columns: list[Any]) -> dict[str, list[Any]]:
    rows = len(next(iter(columns.values())))
    table: dict[str, list[Any]] = {
        "patient": ["p"] * rows,
        "at": ["2024-01-05T12:00Z"] * rows,
        "text": [f"words {number}" for number in range(rows)],
    }
    return {**table, **columns}

"""A FHIR bulk export, brought together by patient in bounded memory.

The export is read twice. First each resource's place is kept with the key of its patient, in a
database that spills to an encrypted temporary folder (`client.sources.tables`); then a patient's
resources are read again at their places, those of gzipped files from a sealed copy
(`fhir_files.Spool`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from client.sources import fhir_files
from client.sources.fhir_references import binary_key, key_of, keys_of
from client.sources.fhir_shape import Line, listed, text
from client.sources.source import Attrition
from client.sources.tables import Tables
from privacy.errors import SourceBroken

KINDS = (
    "Patient",
    "Encounter",
    "Condition",
    "Procedure",
    "Binary",
    "DocumentReference",
    "DiagnosticReport",
)
"""In the order in which a patient's resources are given."""

ROWS = 10_000
"""How many are added to the database in one step."""

_SUBJECT = {"Patient": None, "Binary": None}
_ATTACHED = {"DocumentReference": ("content",), "DiagnosticReport": ("presentedForm",)}

# A key that names several people names nobody.
_KNOWN = """
    WITH named AS (
        SELECT key, coalesce(person, patient) AS patient
        FROM alias LEFT JOIN same ON alias.patient = same.id
    ), known AS (
        SELECT key, min(patient) AS patient FROM named
        GROUP BY key HAVING count(DISTINCT patient) = 1
    )
"""
_LINKED = f"""{_KNOWN}
    SELECT link.id, known.patient FROM link JOIN known USING (key)
    WHERE link.id <> known.patient ORDER BY ALL
"""
_TOGETHER = f"""{_KNOWN}
    SELECT known.patient, line.kind, file, number, start, length
    FROM line JOIN known USING (key)
    UNION ALL
    SELECT wanted.patient, line.kind, file, number, start, length
    FROM line JOIN (
        SELECT DISTINCT known.patient, wanted.wants
        FROM wanted JOIN known USING (key)
    ) AS wanted ON line.key = wanted.wants
    ORDER BY 1, 2, 3, 4
"""
_LOST = f"""{_KNOWN}
    SELECT kind, key IN (SELECT key FROM alias) AS several, count(*),
        min_by(file, file * 10_000_000_000 + number), min(file * 10_000_000_000 + number)
    FROM line ANTI JOIN known USING (key)
    WHERE kind <> {KINDS.index("Binary")}
    GROUP BY ALL ORDER BY ALL
"""

Found = Mapping[str, list[Line]]
"""A patient's resources by type; every type of `KINDS` is there."""


def together(
    folder: Path, kinds: frozenset[str], attrition: Attrition
) -> Iterator[tuple[str, Found]]:
    """Each patient's id with all resources of these types, in the order of the ids.

    Args:
        folder: Of the export.
        kinds: Of `KINDS`; `Patient` is among them.
        attrition: Counts resources whose patient is not there.

    Raises:
        SourceBroken: A line cannot be read; names file and line only.
    """
    paths = [
        (number, path)
        for number, kind in enumerate(KINDS)
        if kind in kinds
        for path in fhir_files.files(folder, kind)
    ]
    with Tables() as tables, fhir_files.Spool() as spool, fhir_files.Again() as again:
        _Index(tables, spool, attrition).read(paths)
        _join_people(tables)
        _count_lost(tables, paths, attrition)

        def line(row: tuple[Any, ...]) -> Line:
            _, _, file, number, start, length = row
            path = paths[file][1]
            place = f"{path.name} line {number}"
            if not fhir_files.seekable(path):
                return Line(place, fhir_files.resource(spool.line(start, length), place))
            raw = again.line(path, start, length)
            try:
                return Line(place, fhir_files.resource(raw, place))
            except SourceBroken:  # it could be read a moment ago
                raise SourceBroken(f"{place}: has changed while it was read") from None

        for patient, rows in groupby(tables.rows(_TOGETHER), key=lambda row: str(row[0])):
            found: dict[str, list[Line]] = {kind: [] for kind in KINDS}
            for row in rows:
                found[KINDS[row[1]]].append(line(row))
            yield patient, found


class _Index:
    """The places of an export's resources, as they are found."""

    def __init__(self, tables: Tables, spool: fhir_files.Spool, attrition: Attrition) -> None:
        self._tables = tables
        self._spool = spool
        self._attrition = attrition
        self._rows: dict[str, list[tuple[object, ...]]] = {
            "line": [], "alias": [], "link": [], "wanted": []
        }  # fmt: skip
        tables.make(
            "line",
            key="VARCHAR",
            kind="UTINYINT",
            file="BIGINT",
            number="BIGINT",
            start="BIGINT",
            length="BIGINT",
        )
        tables.make("alias", key="VARCHAR", patient="VARCHAR")
        tables.make("link", id="VARCHAR", key="VARCHAR")
        tables.make("same", id="VARCHAR", person="VARCHAR")
        tables.make("wanted", key="VARCHAR", wants="VARCHAR")

    def read(self, paths: list[tuple[int, Path]]) -> None:
        """Reads every file."""
        for file, (kind, path) in enumerate(paths):
            for number, start, line in fhir_files.lines(path):
                place = f"{path.name} line {number}"
                resource = fhir_files.resource(line, place)
                if text(resource, "resourceType") != KINDS[kind]:
                    rule = f"resources of another type among {KINDS[kind]} resources"
                    self._attrition.add(rule, place)
                    continue
                key = self._key(resource, KINDS[kind], place)
                if key is not None:
                    at = (start, len(line))
                    if not fhir_files.seekable(path):
                        at = self._spool.keep(line)
                    self._keep("line", (key, kind, file, number, *at))
        self._flush()

    def _key(self, resource: dict[str, Any], kind: str, place: str) -> str | None:
        """The key of a resource's patient, or of a Binary itself."""
        if kind in _SUBJECT:
            own = text(resource, "id")
            if not own:
                raise SourceBroken(f"{place}: its {kind} has no id")
            if kind == "Patient":
                for name in keys_of(resource, kind):
                    self._keep("alias", (name, own))
                for link in listed(resource, "link"):
                    other = key_of(link.get("other"), kind)
                    if other is not None:
                        self._keep("link", (own, other))
            return f"{kind}/{own}"
        key = key_of(resource.get("subject"), "Patient")
        if key is None:
            self._attrition.add(f"{kind} resources that name no patient", place)
            return None
        for wanted in _binaries(resource, kind):
            self._keep("wanted", (key, wanted))
        return key

    def _keep(self, table: str, row: tuple[object, ...]) -> None:
        self._rows[table].append(row)
        if len(self._rows[table]) >= ROWS:
            self._flush()

    def _flush(self) -> None:
        for table, rows in self._rows.items():
            self._tables.add(table, rows)
            rows.clear()


def _binaries(resource: dict[str, Any], kind: str) -> Iterator[str]:
    """The keys of the Binary resources that a document's attachments name."""
    for item in listed(resource, *_ATTACHED.get(kind, ())):
        attachment = item.get("attachment") if kind == "DocumentReference" else item
        key = binary_key(attachment)
        if key is not None:
            yield key


def _join_people(tables: Tables) -> None:
    """Makes one person of the Patient resources that are linked, whatever the link's type: the
    patient is the unit of privacy. Linked ones are few, so they are held in memory.
    """
    person: dict[str, str] = {}

    def of(patient: str) -> str:
        while patient in person:
            patient = person[patient]
        return patient

    for one, other in tables.rows(_LINKED):
        first, second = sorted((of(one), of(other)))
        if first != second:
            person[second] = first
    tables.add("same", [(one, of(one)) for one in person])


def _count_lost(tables: Tables, paths: list[tuple[int, Path]], attrition: Attrition) -> None:
    for kind, several, number, file, first in tables.rows(_LOST):
        rule = (
            f"{KINDS[kind]} resources whose patient is one of several"
            if several
            else f"{KINDS[kind]} resources whose patient is not there"
        )
        attrition.add(rule, f"{paths[file][1].name} line {first % 10_000_000_000}", number)

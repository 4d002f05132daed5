"""One small FHIR export for the tests: a patient, an encounter, a document; each to be changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fhir_writer import refer, text, write_lines

from client.sources.fhir import Fhir
from client.sources.source import Attrition
from tasks.records import Patient

Resource = dict[str, Any]


def person(id: str = "p1", **changes: Any) -> Resource:
    return {"resourceType": "Patient", "id": id} | changes


def encounter(id: str = "e1", patient: str = "p1", **changes: Any) -> Resource:
    return {
        "resourceType": "Encounter",
        "id": id,
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": refer("Patient", patient),
        "period": {"start": "2024-01-01T10:00:00Z", "end": "2024-01-05T10:00:00Z"},
    } | changes


def condition(id: str = "c1", patient: str = "p1", **changes: Any) -> Resource:
    return {
        "resourceType": "Condition",
        "id": id,
        "subject": refer("Patient", patient),
        "encounter": refer("Encounter", "e1"),
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "I10"}]},
    } | changes


def document(id: str = "d1", patient: str = "p1", **changes: Any) -> Resource:
    return {
        "resourceType": "DocumentReference",
        "id": id,
        "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": "18842-5"}]},
        "subject": refer("Patient", patient),
        "date": "2024-01-05T11:00:00Z",
        "content": [{"attachment": text("Went home.")}],
        "context": {"encounter": [refer("Encounter", "e1")]},
    } | changes


def attached(*attachments: Resource, **changes: Any) -> Resource:
    """A document with these attachments."""
    return document(content=[{"attachment": one} for one in attachments], **changes)


def export(folder: Path, *resources: Resource, packed: bool = False) -> Path:
    """Writes an export of these and, where they lack one, the patient, encounter or document."""
    found: dict[str, list[Resource]] = {}
    for one in resources:
        found.setdefault(one["resourceType"], []).append(one)
    for one in (person(), encounter(), document()):
        found.setdefault(one["resourceType"], [one])
    for kind, lines in found.items():
        write_lines(folder, f"{kind}.000.ndjson", lines, packed=packed)
    return folder


def read(where: Path, **fields: Any) -> tuple[list[Patient], Attrition]:
    attrition = Attrition()
    source = Fhir.model_validate(fields)
    return list(source.patients(root=where, attrition=attrition)), attrition


def one(folder: Path, *resources: Resource, **fields: Any) -> tuple[Patient, dict[str, int]]:
    """The only patient of an export, and what was counted."""
    (found,), attrition = read(export(folder, *resources), **fields)
    return found, attrition.counts

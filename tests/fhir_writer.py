"""Writes patients as a FHIR R4 bulk export, so that any source's patients can be read through FHIR.

What comes back equal: ids, stays with codes, `died`, `planned` and `newborn`, deaths with a time,
notes. What does not: `part`, `deaths_known`, `followed_until`, `facts` and `times` are not written;
of a stay's codes the diagnoses come first; a kind comes back in lower case.
"""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from client.sources.fhir_notes import LOINC, LOINC_KINDS
from tasks.records import Code, Note, Patient, Stay

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
OWN = "https://hospital.example/id"
SYSTEMS = {
    "icd-10-cm": ("Condition", "http://hl7.org/fhir/sid/icd-10-cm"),
    "icd-9-cm": ("Condition", "http://hl7.org/fhir/sid/icd-9-cm"),
    "snomed-ct": ("Condition", "http://snomed.info/sct"),
    "icd-10-pcs": ("Procedure", "http://www.cms.gov/Medicare/Coding/ICD10"),
    "icd-9-cm-procedures": ("Procedure", "http://hl7.org/fhir/sid/icd-9-cm"),
}
CODES = {kind: code for code, kind in reversed(LOINC_KINDS.items())}

References = Literal["literal", "absolute", "conditional", "urn", "logical"]
Attached = Literal["data", "binary", "file"]


def write_fhir(
    patients: Iterable[Patient],
    folder: Path,
    *,
    references: References = "literal",
    attached: Attached = "data",
    packed: bool = False,
    per_file: int = 1000,
) -> None:
    """Writes an export.

    Args:
        patients: Ids of letters, digits, dots and dashes.
        folder: Made where it is not there.
        references: How resources name each other.
        attached: Where the notes' texts stand.
        packed: Gzipped files.
        per_file: Resources in a file.
    """
    lines: dict[str, list[dict[str, Any]]] = {}
    for patient in patients:
        for resource in resources(patient, references=references, attached=attached):
            lines.setdefault(resource["resourceType"], []).append(resource)
            if attached == "file" and resource["resourceType"] == "DocumentReference":
                _detach(resource, folder)
    for kind, found in lines.items():
        for number in range(0, len(found), per_file):
            name = f"{kind}.{number // per_file:03d}.ndjson"
            write_lines(folder, name, found[number : number + per_file], packed=packed)


def write_lines(folder: Path, name: str, lines: Iterable[object], *, packed: bool = False) -> Path:
    """Writes one file; a string or bytes are written as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = b"".join(
        (line if isinstance(line, bytes) else str(line if isinstance(line, str)
        else json.dumps(line)).encode()) + b"\n" for line in lines
    )  # fmt: skip
    path = folder / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(raw) if packed else raw)
    return path


def resources(
    patient: Patient, *, references: References = "literal", attached: Attached = "data"
) -> Iterator[dict[str, Any]]:
    """A patient's resources."""
    subject = refer("Patient", patient.id, references)
    died = {} if patient.died is None else {"deceasedDateTime": patient.died.isoformat()}
    yield _named("Patient", patient.id) | died
    for stay in patient.stays:
        yield _encounter(stay, subject)
        for number, code in enumerate(stay.codes):
            yield _coded(stay, number, code, subject, references)
    for number, note in enumerate(patient.notes):
        document = _document(note, f"{patient.id}-n{number}", subject, references)
        if attached == "binary":
            attachment = document["content"][0]["attachment"]
            data = attachment.pop("data")
            attachment["url"] = f"Binary/{document['id']}"
            yield {
                "resourceType": "Binary", "id": document["id"], "contentType": "text/plain",
                "data": data,
            }  # fmt: skip
        yield document


def refer(kind: str, id: str, how: References = "literal") -> dict[str, Any]:
    """A Reference to a resource."""
    return {
        "literal": {"reference": f"{kind}/{id}"},
        "absolute": {"reference": f"https://hospital.example/fhir/{kind}/{id}"},
        "conditional": {"reference": f"{kind}?identifier={OWN}|{kind}-{id}"},
        "urn": {"reference": f"urn:uuid:{kind}-{id}"},
        "logical": {"identifier": {"system": OWN, "value": f"{kind}-{id}"}},
    }[how]


def text(words: str, media: str = "text/plain; charset=utf-8") -> dict[str, Any]:
    """An attachment that holds its text."""
    return {"contentType": media, "data": b64encode(words.encode()).decode()}


def _named(kind: str, id: str) -> dict[str, Any]:
    identifiers = [
        {"system": OWN, "value": f"{kind}-{id}"},
        {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{kind}-{id}"},
    ]
    return {"resourceType": kind, "id": id, "identifier": identifiers}


def _encounter(stay: Stay, subject: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if stay.died is not None:
        told["dischargeDisposition"] = _concept(
            f"{TERMINOLOGY}/discharge-disposition", "exp" if stay.died else "home"
        )
    if stay.newborn is not None:
        told["admitSource"] = _concept(
            f"{TERMINOLOGY}/admit-source", "born" if stay.newborn else "outp"
        )
    urgency = {True: "EL", False: "UR"}
    resource = _named("Encounter", stay.id) | {
        "status": "finished",
        "class": {"system": f"{TERMINOLOGY}/v3-ActCode", "code": "IMP"},
        "subject": subject,
        "period": {"start": stay.admitted.isoformat(), "end": stay.discharged.isoformat()},
    }
    if told:
        resource["hospitalization"] = told
    if stay.planned is not None:
        resource["priority"] = _concept(f"{TERMINOLOGY}/v3-ActPriority", urgency[stay.planned])
    return resource


def _coded(
    stay: Stay, number: int, code: Code, subject: dict[str, Any], references: References
) -> dict[str, Any]:
    kind, system = SYSTEMS[code.system]
    return {
        "resourceType": kind,
        "id": f"{stay.id}-c{number}",
        "subject": subject,
        "encounter": refer("Encounter", stay.id, references),
        "code": _concept(system, code.code),
    } | ({"status": "completed"} if kind == "Procedure" else {})


def _document(
    note: Note, id: str, subject: dict[str, Any], references: References
) -> dict[str, Any]:
    kind = (
        {"coding": [{"system": LOINC, "code": CODES[note.kind]}]}
        if note.kind in CODES
        else {"coding": [{"display": note.kind}]}
    )
    resource = {
        "resourceType": "DocumentReference",
        "id": id,
        "status": "current",
        "type": kind,
        "subject": subject,
        "date": note.at.isoformat(),
        "content": [{"attachment": text(note.text)}],
    }
    if note.stay is not None:
        resource["context"] = {"encounter": [refer("Encounter", note.stay, references)]}
    return resource


def _detach(document: dict[str, Any], folder: Path) -> None:
    from base64 import b64decode

    attachment = document["content"][0]["attachment"]
    attachment["url"] = f"attachments/{document['id']}.txt"
    path = folder / attachment["url"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b64decode(attachment.pop("data")))


def _concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}

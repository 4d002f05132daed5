"""Notes of a patient's FHIR documents and reports.

| what | becomes | rule |
| --- | --- | --- |
| entered in error | left out | `notes entered in error` |
| superseded | kept or left out | `notes that are superseded`, with or without `(kept)` |
| preliminary | kept or left out | `notes that are preliminary`, likewise |
| an id that stood before at this patient | left out | `notes that stand twice` |
| no date, but the end of its context | dated by that | `notes dated by what they tell of (kept)` |
| no date that can be read | left out | `notes without a date` |
| only a year, a month or a day | its last moment | `notes known to the day or less (kept)` |
| attachments that cannot be read | see `client.sources.fhir_attachments` | |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from client.sources.fhir_attachments import text_of
from client.sources.fhir_references import key_of
from client.sources.fhir_shape import Line, codings, listed, text, within
from client.sources.fhir_stays import Encounters
from client.sources.fhir_times import moment
from client.sources.source import Attrition

Wish = Literal["keep", "drop"]

LOINC_KINDS: Mapping[str, str] = {
    "11488-4": "consultation",
    "11502-2": "laboratory",
    "11504-8": "operation",
    "11506-3": "progress",
    "11526-1": "pathology",
    "18748-4": "radiology",
    "18842-5": "discharge",
    "28570-0": "procedure",
    "34111-5": "emergency",
    "34117-2": "history and physical",
    "34746-8": "nursing",
    "57133-1": "referral",
    "68604-8": "radiology",
}
"""Kinds of notes by LOINC code (the note types of US Core 5, and others that EHRs write)."""

LOINC = "http://loinc.org"
LONGEST_KIND = 80


@dataclass(frozen=True, slots=True)
class Reading:
    """How notes are read; the fields are those of the source.

    Attributes:
        folder: Of the export.
        superseded: Whether superseded notes are kept.
        preliminary: Whether preliminary notes are kept.
        kinds: Of notes, by LOINC code, before `LOINC_KINDS`.
        zone: Of dates without one.
    """

    folder: Path
    superseded: Wish
    preliminary: Wish
    kinds: Mapping[str, str]
    zone: ZoneInfo | None


def notes(
    found: Mapping[str, list[Line]],
    encounters: Encounters,
    *,
    reading: Reading,
    attrition: Attrition,
) -> Iterator[tuple[datetime, str, str | None, str | None]]:
    """A patient's notes, as `client.sources.assembly.assembled` takes them.

    Args:
        found: The patient's resources by type.
        encounters: Of the patient.
        reading: How.
        attrition: Counts by the table above.
    """
    binaries = {f"Binary/{text(line.resource, 'id')}": line.resource for line in found["Binary"]}
    for kind in ("DocumentReference", "DiagnosticReport"):
        seen: set[str] = set()
        for line in found[kind]:
            own = text(line.resource, "id")
            if own in seen:
                attrition.add("notes that stand twice", line.place)
                continue
            seen.add(own or line.place)
            if not _wanted(line, kind, reading, attrition):
                continue
            at = _at(line, kind, reading.zone, attrition)
            if at is None:
                continue
            words, left_out = text_of(
                _attachments(line.resource, kind), folder=reading.folder, binaries=binaries
            )
            for rule, number in left_out.items():
                attrition.add(rule, line.place, number)
            yield (
                at,
                _kind(line.resource, kind, reading.kinds),
                words,
                _stay(line.resource, kind, encounters),
            )


def _wanted(line: Line, kind: str, reading: Reading, attrition: Attrition) -> bool:
    status = {text(line.resource, "status"), text(line.resource, "docStatus")}
    if "entered-in-error" in status or (kind == "DiagnosticReport" and "cancelled" in status):
        attrition.add("notes entered in error", line.place)
        return False
    wishes = (
        ("superseded", {"superseded"}, reading.superseded),
        ("preliminary", {"preliminary", "partial", "registered"}, reading.preliminary),
    )
    for name, said, wish in wishes:
        if status & said:
            kept = wish == "keep"
            attrition.add(f"notes that are {name}{' (kept)' if kept else ''}", line.place)
            if not kept:
                return False
    return True


def _at(line: Line, kind: str, zone: ZoneInfo | None, attrition: Attrition) -> datetime | None:
    # Of a report only `issued` is when its words were there; the others tell of the examination.
    field = "date" if kind == "DocumentReference" else "issued"
    at = moment(line.resource.get(field), zone=zone, place=line.place)
    if at is None and kind == "DocumentReference":
        end = within(line.resource, "context", "period", "end")
        at = moment(end, zone=zone, place=line.place)
        if at is not None:
            attrition.add("notes dated by what they tell of (kept)", line.place)
    if at is None:
        attrition.add("notes without a date", line.place)
        return None
    if at.partial:
        # The last moment: a note that is dated too early could be read before it was written.
        attrition.add("notes known to the day or less (kept)", line.place)
    return at.last


def _attachments(resource: dict[str, Any], kind: str) -> Iterable[dict[str, Any]]:
    if kind == "DiagnosticReport":
        return listed(resource, "presentedForm")
    return [one for item in listed(resource, "content") for one in listed(item, "attachment")]


def _kind(resource: dict[str, Any], kind: str, kinds: Mapping[str, str]) -> str:
    said = codings(resource, "type" if kind == "DocumentReference" else "code")
    for names in (kinds, LOINC_KINDS):
        for coding in said:
            if coding.system == LOINC and coding.code in names:
                return names[coding.code]
    display = next((coding.display for coding in said if coding.display), "")
    return " ".join(display.lower().split())[:LONGEST_KIND] or "note"


def _stay(resource: dict[str, Any], kind: str, encounters: Encounters) -> str | None:
    """The stay that a note belongs to, or else its encounter; what leads nowhere stays its key, so
    that the note is not taken for one of another stay.
    """
    said = (
        listed(resource, "context", "encounter")
        if kind == "DocumentReference"
        else listed(resource, "encounter")
    )
    found = [one for one in map(encounters.find, said) if one is not None]
    of_stays = [one for one in found if encounters.is_stay(one)]
    if found:
        return (of_stays or found)[0]
    return (key_of(said[0], "Encounter") or "an encounter that is not there") if said else None

"""fhir: a FHIR R4 bulk export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, Field, field_validator

from client.sources import fhir_files
from client.sources.assembly import assembled, with_notes
from client.sources.fhir_export import Found, together
from client.sources.fhir_notes import Reading, Wish, notes
from client.sources.fhir_shape import Line
from client.sources.fhir_stays import Encounters, codes_by_stay, stays
from client.sources.fhir_times import Moment, moment
from client.sources.source import Attrition, Source
from privacy.errors import SourceBroken
from tasks.records import Patient, System

INPATIENT = ("IMP", "ACUTE", "NONAC")
"""Inpatient encounter, and its acute and non-acute kinds (HL7 v3 ActCode)."""


class Fhir(Source):
    """A folder of newline-delimited JSON, as FHIR's bulk export of R4 writes it.

    Read are `Patient`, `Encounter`, `Condition`, `Procedure`, `DocumentReference` and `Binary`: of
    each any number of files `Type.ndjson`, `Type.000.ndjson` or `1.Type.ndjson`, gzipped or not.
    References may be literal, absolute, `urn:uuid:`, conditional (`Encounter?identifier=...`) or
    logical, and are followed within the export only; nothing is ever fetched.

    | what | becomes | rule |
    | --- | --- | --- |
    | a line that is not JSON, or over 64 MB | `SourceBroken`, naming file and line | |
    | a resource whose patient is not there, or not said | left out | `Type resources ...` |
    | Patient resources that are linked | one patient | `Patient resources joined to another` |
    | a death whose day is not known | unknown whether alive | `deaths without a day (unknown)` |

    Encounters are treated as `client.sources.fhir_stays` says, documents as
    `client.sources.fhir_notes`, attachments as `client.sources.fhir_attachments`.

    Attributes:
        folder: Of the export, under the site's `data`.
        classes: Codes of the encounters that are stays. The others are none: their notes keep
            them, so that no stay reads them as its own.
        superseded: Whether documents that others replaced are read.
        preliminary: Whether documents and reports that are not final are read.
        reports: Whether DiagnosticReport's `presentedForm` are notes too. Many exports have the
            same text as a DocumentReference.
        kinds: Kinds of notes by LOINC code, before those of `fhir_notes.LOINC_KINDS`.
        systems: Coding systems by the address that the export calls them by, before those of
            `fhir_stays.SYSTEMS`.
        zone: The time zone of dates and times without one, such as `Europe/Berlin`. Without it
            such a date is an error, never a guess.
        deaths_known: See `Patient`; `deceasedBoolean = false` alone does not say it.
        followed_until: See `Patient`.
        shifted: The dates were moved to protect the patients.
    """

    kind: ClassVar[str] = "fhir"
    folder: str = "."
    classes: tuple[str, ...] = Field(default=INPATIENT, min_length=1)
    superseded: Wish = "drop"
    preliminary: Wish = "keep"
    reports: bool = False
    kinds: Mapping[str, Annotated[str, Field(min_length=1)]] = {}
    systems: Mapping[str, System] = {}
    zone: str | None = None
    deaths_known: bool = False
    followed_until: AwareDatetime | None = None
    shifted: bool = False

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str | None) -> str | None:
        try:
            return zone and ZoneInfo(zone).key
        except (KeyError, OSError, ValueError):  # it looks for a file of that name
            raise ValueError('is no time zone; write one such as "Europe/Berlin"') from None

    def patients(self, *, root: Path, attrition: Attrition) -> Iterator[Patient]:
        """See `Source.patients`: in the order of their ids."""
        return with_notes(self._read(root / self.folder, attrition), attrition)

    def state(self, *, root: Path) -> str | None:
        """See `Source.state`: name, size and time of each file in the folder."""
        return fhir_files.state(root / self.folder)

    def _read(self, folder: Path, attrition: Attrition) -> Iterator[tuple[str, Patient]]:
        documents = ("DocumentReference", "DiagnosticReport") if self.reports else (
            "DocumentReference",
        )  # fmt: skip
        for kind in ("Patient", "Encounter"):
            if not fhir_files.files(folder, kind):
                raise SourceBroken(f"{folder}: has no {kind}.*.ndjson; export {kind} too")
        if not any(fhir_files.files(folder, kind) for kind in documents):
            raise SourceBroken(f"{folder}: has no {' or '.join(documents)}.*.ndjson to read notes")
        kinds = {"Patient", "Encounter", "Condition", "Procedure", "Binary", *documents}
        zone = None if self.zone is None else ZoneInfo(self.zone)
        reading = Reading(folder, self.superseded, self.preliminary, self.kinds, zone)
        for patient, found in together(folder, frozenset(kinds), attrition):
            yield self._patient(patient, found, reading, attrition)

    def _patient(
        self, id: str, found: Found, reading: Reading, attrition: Attrition
    ) -> tuple[str, Patient]:
        place = found["Patient"][0].place
        if len(found["Patient"]) > 1:
            rule = "Patient resources joined to another"
            attrition.add(rule, place, len(found["Patient"]) - 1)
        death, dead = _death(found["Patient"], reading.zone, attrition)
        deaths_known = self.deaths_known and dead == (death is not None)
        encounters = Encounters(found["Encounter"], frozenset(self.classes))
        codes = codes_by_stay(
            encounters, found["Condition"], "Condition", systems=self.systems, attrition=attrition
        )
        for stay, more in codes_by_stay(
            encounters, found["Procedure"], "Procedure", systems=self.systems, attrition=attrition
        ).items():
            codes.setdefault(stay, {}).update(more)
        patient = assembled(
            id,
            stays(
                encounters,
                codes,
                death=death,
                alive=deaths_known and not dead,
                zone=reading.zone,
                attrition=attrition,
            ),
            notes(found, encounters, reading=reading, attrition=attrition),
            place=place,
            attrition=attrition,
            died=None if death is None else death.last,
            died_from=death.first if death is not None and death.partial else None,
            deaths_known=deaths_known,
            followed_until=self.followed_until,
            shifted=self.shifted,
        )
        return place, patient


def _death(
    lines: list[Line], zone: ZoneInfo | None, attrition: Attrition
) -> tuple[Moment | None, bool]:
    """When the patient died, where the day is known, and whether the patient died at all."""
    dead = False
    for line in lines:
        said = line.resource.get("deceasedDateTime")
        at = moment(said, zone=zone, place=line.place)
        if at is not None and at.of_a_day:
            return at, True
        if said is not None or line.resource.get("deceasedBoolean") is True:
            dead = True
            attrition.add("deaths without a day (unknown)", line.place)
    return None, dead

"""Stays of a patient's FHIR encounters, and their codes.

| what | becomes | rule |
| --- | --- | --- |
| an encounter of another class than `classes` | no stay | `encounters of other classes` |
| one planned, cancelled, or entered in error | no stay | `encounters that never were` |
| one whose start or end is not known to the day | no stay | `stays without a start or an end` |
| one within another that is a stay | a part of it | `encounters within a stay (joined)` |
| a day without a time | its first moment, its last | `stays known to the day (kept)` |
| a Condition refuted or entered in error | left out | `conditions refuted or entered in error` |
| a Procedure not done, or entered in error | left out | `procedures never done` |
| one of no encounter, of none that is there | left out | `... of no encounter that is there` |
| one of an encounter that is no stay | left out | `... of encounters that are not stays` |
| one without a code of a known system | left out | `... without a code that is read` |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from client.sources.fhir_references import by_key, key_of, keys_of
from client.sources.fhir_shape import Line, codings, listed, text, within
from client.sources.fhir_times import Moment, moment
from client.sources.source import Attrition
from privacy.errors import SourceBroken
from tasks.records import Code, Stay, System

SYSTEMS: Mapping[str, System] = {
    "http://hl7.org/fhir/sid/icd-10-cm": "icd-10-cm",
    "urn:oid:2.16.840.1.113883.6.90": "icd-10-cm",
    "http://hl7.org/fhir/sid/icd-9-cm": "icd-9-cm",
    "http://terminology.hl7.org/CodeSystem/icd9cm": "icd-9-cm",
    "urn:oid:2.16.840.1.113883.6.103": "icd-9-cm",
    "urn:oid:2.16.840.1.113883.6.104": "icd-9-cm-procedures",
    "http://www.cms.gov/Medicare/Coding/ICD10": "icd-10-pcs",
    "http://hl7.org/fhir/sid/icd-10-pcs": "icd-10-pcs",
    "urn:oid:2.16.840.1.113883.6.4": "icd-10-pcs",
    "http://snomed.info/sct": "snomed-ct",
    "urn:oid:2.16.840.1.113883.6.96": "snomed-ct",
}
"""What FHIR calls the systems of codes (HL7 Terminology, R4)."""

_NEVER = {"planned", "cancelled", "entered-in-error"}
_DEAD = {"exp"}
_NUBC_DEAD = {"20", "40", "41", "42"}  # UB-04 patient discharge status
_UNTOLD = {"oth"}
_NUBC_UNTOLD = {"09", "9", "30"}  # still there
_URGENT = {"A", "EM", "S", "UR"}


class Encounters:
    """A patient's encounters.

    Args:
        lines: The Encounter resources.
        classes: Which of them are stays.

    Raises:
        SourceBroken: One is not of FHIR R4, or has no id.
    """

    def __init__(self, lines: Sequence[Line], classes: frozenset[str]) -> None:
        self.lines: dict[str, Line] = {}
        self.twice: list[Line] = []
        for line in lines:
            if isinstance(within(line.resource, "class"), list):
                raise SourceBroken(f"{line.place}: its Encounter is not of FHIR R4; export as R4")
            own = text(line.resource, "id")
            if not own:
                raise SourceBroken(f"{line.place}: its Encounter has no id")
            if own in self.lines:
                self.twice.append(line)
            else:
                self.lines[own] = line
        self._classes = classes
        self._ids = by_key(((own, line.resource) for own, line in self.lines.items()), "Encounter")

    def find(self, reference: object) -> str | None:
        """The id of what a reference names: of the stay that it is or is within, if there is one.

        Returns:
            None where it is not there.
        """
        key = key_of(reference, "Encounter")
        found = None if key is None else self._ids.get(key)
        return None if found is None else self.stay_of(found)

    def stay_of(self, id: str) -> str:
        """The outermost stay that an encounter is or is within; itself where there is none."""
        found, at, seen = id, id, {id}
        while True:
            if self.is_stay(at):
                found = at
            key = key_of(self.lines[at].resource.get("partOf"), "Encounter")
            parent = None if key is None else self._ids.get(key)
            if parent is None or parent in seen:
                return found
            seen.add(parent)
            at = parent

    def is_stay(self, id: str) -> bool:
        """Whether an encounter's class and status are those of a stay."""
        return self.of_class(id) and self.was(id)

    def of_class(self, id: str) -> bool:
        """Whether its class is one of a stay."""
        return text(self.lines[id].resource, "class", "code") in self._classes

    def was(self, id: str) -> bool:
        """Whether its status says that it took place."""
        return text(self.lines[id].resource, "status") not in _NEVER


def stays(
    encounters: Encounters,
    codes: Mapping[str, Iterable[Code]],
    *,
    death: Moment | None,
    alive: bool,
    zone: ZoneInfo | None,
    attrition: Attrition,
) -> list[Stay]:
    """The stays among a patient's encounters.

    Args:
        encounters: Of the patient.
        codes: Of each stay, by its id.
        death: When the patient died, where that is known.
        alive: The patient is known to have lived on after every stay.
        zone: Of dates without one.
        attrition: Counts by the table above.
    """
    found = []
    for line in encounters.twice:
        attrition.add("stays that stand twice", line.place)
    for own, line in encounters.lines.items():
        if not encounters.of_class(own):
            attrition.add("encounters of other classes", line.place)
            continue
        if not encounters.was(own):
            attrition.add("encounters that never were", line.place)
            continue
        if encounters.stay_of(own) != own:
            attrition.add("encounters within a stay (joined)", line.place)
            continue
        start, end = (
            moment(within(line.resource, "period", side), zone=zone, place=line.place)
            for side in ("start", "end")
        )
        if start is None or end is None or not (start.of_a_day and end.of_a_day):
            attrition.add("stays without a start or an end", line.place)
            continue
        if start.partial or end.partial:
            attrition.add("stays known to the day (kept)", line.place)
        found.append(
            Stay(
                id=own,
                admitted=start.first,
                discharged=end.last,
                codes=tuple(codes.get(own, ())),
                died=_died(line.resource, start, end, death=death, alive=alive),
                planned=_planned(line.resource),
                newborn=_newborn(line.resource),
            )
        )
    return found


def codes_by_stay(
    encounters: Encounters,
    lines: Iterable[Line],
    kind: str,
    *,
    systems: Mapping[str, System],
    attrition: Attrition,
) -> dict[str, dict[Code, None]]:
    """The codes of each stay, in the order of the lines.

    Args:
        encounters: Of the patient.
        lines: Condition or Procedure resources.
        kind: Which.
        systems: What systems are called, besides `SYSTEMS`.
        attrition: Counts by the table above.
    """
    found: dict[str, dict[Code, None]] = {}
    named = "conditions" if kind == "Condition" else "procedures"
    diagnoses = _diagnoses(encounters, kind)
    for line in lines:
        if _untrue(line.resource, kind):
            rule = "refuted or entered in error" if kind == "Condition" else "never done"
            attrition.add(f"{named} {rule}", line.place)
            continue
        own = encounters.find(line.resource.get("encounter"))
        places = dict.fromkeys(() if own is None else (own,))
        for key in keys_of(line.resource, kind):
            places |= dict.fromkeys(diagnoses.get(key, ()))
        if not places:
            attrition.add(f"{named} of no encounter that is there", line.place)
            continue
        own_codes = _codes(line.resource, kind, systems)
        if not own_codes:
            attrition.add(f"{named} without a code that is read", line.place)
            continue
        in_stays = [stay for stay in places if encounters.is_stay(stay)]
        if not in_stays:
            attrition.add(f"{named} of encounters that are not stays", line.place)
        for stay in in_stays:
            found.setdefault(stay, {}).update(dict.fromkeys(own_codes))
    return found


def _diagnoses(encounters: Encounters, kind: str) -> dict[str, list[str]]:
    """Which stays list the Condition or Procedure of each key as a diagnosis."""
    found: dict[str, list[str]] = {}
    for own, line in encounters.lines.items():
        for diagnosis in listed(line.resource, "diagnosis"):
            key = key_of(diagnosis.get("condition"), kind)
            if key is not None:
                found.setdefault(key, []).append(encounters.stay_of(own))
    return found


def _untrue(resource: dict[str, Any], kind: str) -> bool:
    if kind == "Procedure":
        return text(resource, "status") in {"not-done", "preparation", "entered-in-error"}
    said = {coding.code for coding in codings(resource, "verificationStatus")}
    return bool(said & {"refuted", "entered-in-error"})


def _codes(resource: dict[str, Any], kind: str, systems: Mapping[str, System]) -> list[Code]:
    found = []
    for coding in codings(resource, "code"):
        system = systems.get(coding.system) or SYSTEMS.get(coding.system)
        if system == "icd-9-cm" and kind == "Procedure":
            system = "icd-9-cm-procedures"  # FHIR has one name for all volumes
        if system is not None and coding.code:
            found.append(Code(system, coding.code))
    return found


def _died(
    resource: dict[str, Any], start: Moment, end: Moment, *, death: Moment | None, alive: bool
) -> bool | None:
    """What the discharge disposition says; else what the time of death does."""
    for coding in codings(resource, "hospitalization", "dischargeDisposition"):
        nubc = "nubc.org" in coding.system or coding.system.endswith("2.16.840.1.113883.6.301.5")
        if nubc and coding.code not in _NUBC_UNTOLD:
            return coding.code.zfill(2) in _NUBC_DEAD
        if coding.system.endswith("/discharge-disposition") and coding.code not in _UNTOLD:
            return coding.code in _DEAD
    if death is not None:
        if start.last <= death.first and death.last <= end.first:
            return True
        if death.first > end.last:
            return False
    return False if alive else None


def _planned(resource: dict[str, Any]) -> bool | None:
    for coding in codings(resource, "priority"):
        if coding.code == "EL":
            return True
        if coding.code in _URGENT:
            return False
    sources = {coding.code for coding in codings(resource, "hospitalization", "admitSource")}
    if "emd" in sources or text(resource, "class", "code") == "EMER":
        return False
    return None


def _newborn(resource: dict[str, Any]) -> bool | None:
    known = [
        coding.code == "born"
        for coding in codings(resource, "hospitalization", "admitSource")
        if coding.system.endswith("/admit-source")
    ]
    return any(known) if known else None

"""Stays and notes of one person, from the rows of an OMOP database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from client.sources.omop_times import day_alone, day_of, moment
from client.sources.omop_vocabulary import Concept
from client.sources.source import Attrition
from tasks.records import Code, Stay

if TYPE_CHECKING:
    from sqlalchemy import RowMapping as Row

STILL_PATIENT = 32220
"""The visit type with which OMOP CDM 5.4 marks a stay that goes on; its end is not an end."""


@dataclass(frozen=True, slots=True)
class Meanings:
    """What site.toml says of a hospital's values.

    Attributes:
        zone: Of times without a zone.
        planned: Concepts and source values of `admitted_from` that mean an elective admission.
        newborn: Those that mean a birth.
        died_to: Those of `discharged_to` that mean that the patient died.
        stays_covered: Whether DEATH has every death in a stay.
    """

    zone: ZoneInfo
    planned: tuple[int | str, ...]
    newborn: tuple[int | str, ...]
    died_to: tuple[int | str, ...]
    stays_covered: bool


@dataclass(frozen=True, slots=True)
class Death:
    """A person's death.

    Attributes:
        at: Its moment; the end of the day where only that is known.
        day: Its day at the hospital.
        since: The day's first moment, where only the day is known.
    """

    at: datetime
    day: date
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Visit:
    row: Row
    first: date
    last: date


def death_of(
    rows: Sequence[Row], *, zone: ZoneInfo, place: str, attrition: Attrition
) -> Death | None:
    """The first of a person's deaths."""
    found: list[Death] = []
    for row in rows:
        columns = (row["death_datetime"], row["death_date"])
        at, day = moment(*columns, zone=zone, late=True), day_of(*columns, zone=zone)
        if at is None or day is None:
            attrition.add("deaths without a date", place)
        else:
            found.append(Death(at, day, day_alone(*columns, zone=zone)))
    if len({one.at for one in found}) > 1:
        attrition.add("persons with several deaths (the first is used)", place)
    return min(found, key=lambda one: one.at, default=None)


def stays_of(
    rows: Iterable[Row],
    codes: Mapping[str, Sequence[Code]],
    *,
    person: Row,
    death: Death | None,
    meanings: Meanings,
    place: str,
    attrition: Attrition,
) -> list[Stay]:
    """The stays among a person's visits.

    Args:
        rows: Of VISIT_OCCURRENCE, stays alone.
        codes: Of each stay, by its id.
        person: The row of PERSON.
        death: The person's.
        meanings: What site.toml says.
        place: Where the person stands.
        attrition: Where rules are counted.
    """
    visits = _ended(rows, meanings.zone, place, attrition)
    over = [
        visit for visit in visits if death is not None and visit.first <= death.day <= visit.last
    ]
    # Of two stays on the day of death, one is left before the other begins: one dies once.
    fatal = max(over, key=lambda one: (one.last, _start(one, meanings)), default=None)
    found = []
    for visit in visits:
        row, name = visit.row, str(visit.row["visit_occurrence_id"])
        came = (row["admitted_from_concept_id"], row["admitted_from_source_value"])
        newborn = among(meanings.newborn, *came)
        stay = Stay(
            id=name,
            admitted=_start(visit, meanings),
            discharged=_end(visit, meanings),
            codes=tuple(dict.fromkeys(codes.get(name, ()))),
            died=_died(visit, death, meanings, place, attrition, fatal=visit is fatal),
            planned=among(meanings.planned, *came),
            newborn=_born_on(person, visit.first) if newborn is None else newborn,
        )
        found.append(stay)
    return found


def among(values: Sequence[int | str], concept: int | None, source: str | None) -> bool | None:
    """Whether a visit's concept or source value is one of those that site.toml names.

    Concept 0 is no concept. A concept says no only where concepts are named, and a source value
    only where source values are; what says neither is None.
    """
    if (concept and concept in values) or (source and source in values):
        return True
    said = (concept and any(isinstance(value, int) for value in values)) or (
        source and any(isinstance(value, str) for value in values)
    )
    return False if said else None


def kind_of(row: Row, kinds: Mapping[int, str], concepts: Sequence[Concept | None]) -> str | None:
    """A note's kind: as site.toml says for its class or type, else from the concepts' names.

    Args:
        row: Of NOTE.
        kinds: By concept.
        concepts: Of class and type; None where there is none.
    """
    for column in ("note_class_concept_id", "note_type_concept_id"):
        if row[column] in kinds:
            return kinds[row[column]]
    for concept in concepts:
        if concept is not None and concept.name:
            name = concept.name.strip().lower()
            # Names differ (`Physician Discharge summary`); tasks ask for one word.
            for word, kind in (("discharge summar", "discharge"), ("radiology", "radiology")):
                if word in name:
                    return kind
            return name
    return None


def _ended(rows: Iterable[Row], zone: ZoneInfo, place: str, attrition: Attrition) -> list[_Visit]:
    found = []
    for row in rows:
        first = day_of(row["visit_start_datetime"], row["visit_start_date"], zone=zone)
        last = day_of(row["visit_end_datetime"], row["visit_end_date"], zone=zone)
        if STILL_PATIENT in (row["visit_type_concept_id"], row["discharged_to_concept_id"]):
            attrition.add("stays that had not ended", place)
        elif first is None or last is None:
            attrition.add("stays without a beginning or an end", place)
        else:
            found.append(_Visit(row, first, last))
    return found


def _start(visit: _Visit, meanings: Meanings) -> datetime:
    row = visit.row
    return _sure(moment(row["visit_start_datetime"], visit.first, zone=meanings.zone, late=False))


def _end(visit: _Visit, meanings: Meanings) -> datetime:
    row = visit.row
    return _sure(moment(row["visit_end_datetime"], visit.last, zone=meanings.zone, late=True))


def _sure(at: datetime | None) -> datetime:
    assert at is not None  # noqa: S101 - `_ended` left out what has no day
    return at


def _died(
    visit: _Visit,
    death: Death | None,
    meanings: Meanings,
    place: str,
    attrition: Attrition,
    *,
    fatal: bool,
) -> bool | None:
    """Whether the patient died in a stay; None where nobody says, or two say different things."""
    row = visit.row
    said = among(
        meanings.died_to, row["discharged_to_concept_id"], row["discharged_to_source_value"]
    )
    if death is None:
        return False if said is None and meanings.stays_covered else said
    if death.day < visit.first:
        attrition.add("stays that began after the patient's death (kept)", place)
        return None
    if said is None:
        return fatal
    # Somebody may leave alive and die on the same day elsewhere.
    if said is not fatal and not (fatal and death.day == visit.last):
        attrition.add("stays whose discharge and DEATH disagree (kept, unknown if died)", place)
        return None
    return said


def _born_on(person: Row, day: date) -> bool | None:
    """Whether a stay that began on this day is that of the person's birth."""
    year, month, number = (person[f"{part}_of_birth"] for part in ("year", "month", "day"))
    try:
        born = date(year, month, number)
    except (TypeError, ValueError, OverflowError):
        # The day is unknown; but whoever was born years ago is no newborn.
        return False if year is not None and day.year > year + 1 else None
    return None if day < born else day == born

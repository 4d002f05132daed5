"""Assembly: what every source does alike with the stays and notes that it read.

| what | becomes | rule |
| --- | --- | --- |
| a stay or note of a year that cannot be | left out | `stays of a year that cannot be`, and notes |
| a stay discharged before it began | left out | `stays discharged before they began` |
| a stay whose id stood before at this patient | left out | `stays that stand twice` |
| a note without text | left out | `notes without text` |
| a patient without notes | left out | `patients without notes` |
| a note of a stay that is not there | kept | `notes of a stay that is not there (kept)` |
| a note with control characters | kept, spaces instead | `notes with control characters (kept)` |
| a note in UTF-8, read as latin-1 | kept | `notes in UTF-8 where latin-1 is said (kept)` |
| a stay that began before the last had ended | kept | `stays that overlap another (kept)` |
| a stay or note dated in the future | kept | `stays dated in the future (kept)`, and notes |
| a patient's id that stood before | `SourceBroken` | |
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

from client.sources.complaints import Encoding
from client.sources.source import Attrition
from privacy.errors import SourceBroken
from tasks.records import Note, Part, Patient, Stay

FIRST_YEAR, LAST_YEAR = 1800, 2400
"""Dates that were moved to protect patients lie as late as the 23rd century."""

Summaries = Literal["signed", "discharge"]
"""When a discharge summary was written: when the source dates it, or at the end of its stay."""

# What text files have for layout (tab, line feed, vertical tab, form feed, return) stays.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


def assembled(
    id: str,
    stays: Iterable[Stay],
    notes: Iterable[tuple[datetime, str, str | None, str | None]],
    *,
    place: str,
    attrition: Attrition,
    part: Part | None = None,
    died: datetime | None = None,
    died_from: datetime | None = None,
    deaths_known: bool = False,
    followed_until: datetime | None = None,
    shifted: bool = False,
    encoding: Encoding = "utf-8",
) -> Patient:
    """A patient of what a source read, by the table above.

    Args:
        id: The source's own name for the patient.
        stays: In any order.
        notes: In any order, each (written at, kind, text, id of its stay).
        place: Where the patient stands, such as a file and line; never a value.
        attrition: Where rules are counted.
        part: See `Patient`.
        died: See `Patient`. Every source gives the last moment of the day in its own zone where
            it knows the day alone.
        died_from: See `Patient`. Given then, and only then: the first moment of that day.
        deaths_known: See `Patient`.
        followed_until: See `Patient`.
        shifted: The dates were moved to protect the patients, so that the future means nothing.
        encoding: What the source says its files are in. Every text in UTF-8 is one in latin-1 too,
            where `Ã©` stands for `é`: no error tells it.
    """
    kept_stays = _stays(stays, place, attrition)
    kept_notes = _notes(notes, place, attrition, encoding)
    known = {stay.id for stay in kept_stays}
    lost = sum(note.stay is not None and note.stay not in known for note in kept_notes)
    if lost:
        attrition.add("notes of a stay that is not there (kept)", place, lost)
    if not shifted:
        now = datetime.now(UTC)
        for name, times in (
            ("stays", [stay.discharged for stay in kept_stays]),
            ("notes", [note.at for note in kept_notes]),
        ):
            late = sum(time > now for time in times)
            if late:
                attrition.add(f"{name} dated in the future (kept)", place, late)
    return Patient(
        id=id,
        stays=kept_stays,
        notes=kept_notes,
        part=part,
        died=died,
        died_from=died_from,
        deaths_known=deaths_known,
        followed_until=followed_until,
    )


def with_notes(patients: Iterable[tuple[str, Patient]], attrition: Attrition) -> Iterator[Patient]:
    """The patients who have notes, each once.

    Args:
        patients: Each with the place where it stands.
        attrition: Where those without notes are counted.

    Raises:
        SourceBroken: A patient's id stood before: the source must put all of a patient together,
            or the patient would count as two.
    """
    seen: dict[bytes, str] = {}
    for place, patient in patients:
        # Ids are kept as hashes: 100,000 of them are 5 MB, whatever they look like.
        key = hashlib.blake2b(patient.id.encode(), digest_size=16).digest()
        if key in seen:
            raise SourceBroken(
                f"{place}: its patient's id stood at {seen[key]} already; put all of a "
                "patient's lines together, or the patient would count as two"
            )
        seen[key] = place
        if patient.notes:
            yield patient
        else:
            attrition.add("patients without notes", place)


def _cannot_be(moment: datetime) -> bool:
    """Whether it is a sentinel such as 9999, which some databases write for "not yet"."""
    return not FIRST_YEAR <= moment.year <= LAST_YEAR


def _stays(stays: Iterable[Stay], place: str, attrition: Attrition) -> tuple[Stay, ...]:
    kept: dict[str, Stay] = {}
    for stay in stays:
        if _cannot_be(stay.admitted) or _cannot_be(stay.discharged):
            attrition.add("stays of a year that cannot be", place)
        elif stay.discharged < stay.admitted:
            attrition.add("stays discharged before they began", place)
        elif stay.id in kept:
            attrition.add("stays that stand twice", place)
        else:
            kept[stay.id] = stay
    ordered = sorted(kept.values(), key=lambda stay: (stay.admitted, stay.discharged))
    overlapping = sum(late.admitted < early.discharged for early, late in pairwise(ordered))
    if overlapping:
        attrition.add("stays that overlap another (kept)", place, overlapping)
    return tuple(ordered)


def _notes(
    notes: Iterable[tuple[datetime, str, str | None, str | None]],
    place: str,
    attrition: Attrition,
    encoding: Encoding,
) -> tuple[Note, ...]:
    kept: list[Note] = []
    for at, kind, text, stay in notes:
        if _cannot_be(at):
            attrition.add("notes of a year that cannot be", place)
            continue
        clean = None if text is None else _CONTROL.sub(" ", text)
        if clean is None or not clean.strip():
            attrition.add("notes without text", place)
            continue
        if clean != text:
            attrition.add("notes with control characters (kept)", place)
        if encoding == "latin-1" and text is not None and _is_utf8(text):
            attrition.add("notes in UTF-8 where latin-1 is said (kept)", place)
        kept.append(Note(at, kind, clean, stay))
    return tuple(sorted(kept, key=lambda note: note.at))


def _is_utf8(text: str) -> bool:
    """Whether a text that was read as latin-1 was written in UTF-8."""
    if text.isascii():
        return False
    try:
        text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return False
    return True

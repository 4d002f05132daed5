"""What a hospital knows of a patient, as far as fedward reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

Part = Literal["train", "tune", "heldout"]

System = Literal[
    "icd-10-cm", "icd-10-pcs", "icd-9-cm", "icd-9-cm-procedures", "snomed-ct", "meddra-term"
]
"""A coding system. ICD-9-CM's volume 3 stands apart: `38.93` is a procedure there, and its
diagnoses begin at `001`. `meddra-term` is the name of a term of MedDRA, not its number."""


class Code(NamedTuple):
    """One code that a stay was given.

    Attributes:
        system: Whose code it is.
        code: As the source writes it, dots or not.
    """

    system: System
    code: str


def icd10cm(codes: Iterable[str]) -> tuple[Code, ...]:
    """Diagnoses of ICD-10-CM."""
    return tuple(Code("icd-10-cm", code) for code in codes)


@dataclass(frozen=True, slots=True)
class Note:
    """One clinical note.

    Attributes:
        at: When it was written, with a time zone.
        kind: What sort of note it is, such as `discharge`.
        text: Its words; they never leave the site.
        stay: The stay that it belongs to, where the source says so.
    """

    at: datetime
    kind: str
    text: str
    stay: str | None = None


@dataclass(frozen=True, slots=True)
class Stay:
    """One admission. What a source does not say is None or absent, never False.

    Attributes:
        id: The source's own name for it.
        admitted: Start of the stay, with a time zone.
        discharged: End of the stay, not before `admitted`.
        codes: Of diagnoses and procedures.
        died: Whether the patient died in this stay.
        planned: Whether the admission was elective.
        newborn: Whether the stay is that of a birth.
        facts: Further columns that a task may ask for, by name: a yes or no, or a category.
        times: Further moments of the stay, by name, with time zones.
    """

    id: str
    admitted: datetime
    discharged: datetime
    codes: tuple[Code, ...] = ()
    died: bool | None = None
    planned: bool | None = None
    newborn: bool | None = None
    facts: Mapping[str, bool | str] = field(default_factory=dict)
    times: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Patient:
    """One person, with every stay and note that the source has: the unit of privacy.

    Attributes:
        id: The source's own name for the patient.
        stays: In order of admission.
        notes: In order of writing.
        part: Where a source fixes the split itself (a published train/dev division), the
            part this patient belongs to; None leaves it to the site's keyed hash.
        died: When the patient died, in hospital or not; None where no death is known. Of a
            death known by its day alone, the last moment of that day in the source's zone.
        died_from: Of a death known by its day alone, the first moment of that day in the
            source's zone; else None. A day differs from zone to zone, so that `died` alone
            does not tell that it is a day's end.
        deaths_known: Whether the source learns of deaths outside the hospital, so that
            `died = None` means alive.
        followed_until: Until when the source would know of another stay or of the death;
            None where it does not say.
    """

    id: str
    stays: tuple[Stay, ...]
    notes: tuple[Note, ...]
    part: Part | None = None
    died: datetime | None = None
    died_from: datetime | None = None
    deaths_known: bool = False
    followed_until: datetime | None = None

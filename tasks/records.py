"""What a hospital knows of a patient, as far as fedward reads it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Part = Literal["train", "tune", "heldout"]


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
    """One admission.

    Attributes:
        id: The source's own name for it.
        admitted: Start of the stay, with a time zone.
        discharged: End of the stay, not before `admitted`.
        codes: Diagnosis codes as the source writes them, dots or not.
        died: Whether the patient died in this stay; None where the source does not say.
    """

    id: str
    admitted: datetime
    discharged: datetime
    codes: tuple[str, ...] = ()
    died: bool | None = None


@dataclass(frozen=True, slots=True)
class Patient:
    """One person, with every stay and note that the source has: the unit of privacy.

    Attributes:
        id: The source's own name for the patient.
        stays: In order of admission.
        notes: In order of writing.
        part: Where a source fixes the split itself (a published train/dev division), the
            part this patient belongs to; None leaves it to the site's keyed hash.
    """

    id: str
    stays: tuple[Stay, ...]
    notes: tuple[Note, ...]
    part: Part | None = None

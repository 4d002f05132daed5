"""Who is trained on, who tunes the threshold and who is held out.

Every way puts a patient, with all stays, into one part.

| `[split]` | a patient's part comes from |
| --- | --- |
| `tune`, `heldout` | a keyed hash of the id |
| and `before` | the time of the first or last stay: held out from that day on; hash for `tune` |
| `file` | a list of ids |
"""

from __future__ import annotations

import hmac
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from client.split_file import SplitFile, read_split_file
from privacy.spec import Spec
from tasks.records import Part, Patient


class Split(Spec):
    """How patients are divided.

    Guarantees:
        A patient's part depends on the patient's id and the site's secret alone, so it is the
        same in every study: nobody is trained on in one and tested on in the next. With `file`
        or `before` it depends on the file or the records, and the site remembers it
        (`client.parts`): a patient who would move stops the next prepare.

    Attributes:
        tune: Share whose tallies choose the threshold.
        heldout: Share whose tallies score the study; not asked where `before` or `file` says it.
        file: CSV with the columns `id` and `part` (`train`, `tune` or `heldout`), relative to
            `data`. It goes before what the source says. Patients who are not in it are left out.
        before: Patients are trained or tuned on who came before this day began, in UTC, and
            the others are held out.
        by: Whether `before` looks at the first stay or the last. With the last, nothing later
            is trained on, but a patient who comes again would move, and stops the next prepare:
            for records that are closed. A patient without stays goes by the notes.
    """

    tune: Annotated[float, Field(ge=0, lt=1)] = 0.15
    heldout: Annotated[float, Field(ge=0, lt=1)] = 0.15
    file: str | None = None
    before: date | None = None
    by: Literal["first", "last"] | None = None

    @model_validator(mode="after")
    def _trains(self) -> Self:
        if self.tune + self.heldout >= 1:
            raise ValueError("tune and heldout together must leave somebody to train on")
        if self.file is not None and self.before is not None:
            raise ValueError("give file or before, not both")
        if self.by is not None and self.before is None:
            raise ValueError("by says which stay `before` looks at; give before, too")
        return self

    def part(self, patient: Patient, *, secret: bytes, root: Path = Path()) -> Part | None:
        """The patient's part; None where the split's file has no such patient.

        Where the source says that the patient is held out, so it is; where it says `train`,
        the patient is tuned on with chance `tune` and trained on otherwise.

        Args:
            patient: With all stays.
            secret: The site's, for this purpose.
            root: What `file` is relative to.

        Raises:
            SourceBroken: The file cannot be read.
        """
        if self.file is not None:
            return self._listed(root).parts.get(patient.id)
        number = hmac.digest(secret, patient.id.encode(), "sha256")[:8]
        place = int.from_bytes(number) / 2**64
        if patient.part is not None:
            return "tune" if patient.part == "train" and place < self.tune else patient.part
        if self.before is not None:
            if _came_before(patient, self.before, by=self.by or "last"):
                return "tune" if place < self.tune else "train"
            return "heldout"
        if place < self.heldout:
            return "heldout"
        return "tune" if place < self.heldout + self.tune else "train"

    def rule(self, *, root: Path) -> dict[str, Any]:
        """What may not change between studies: the shares, or the day, or the file's bytes.

        Raises:
            SourceBroken: The file cannot be read.
        """
        fixed = self.model_dump(mode="json", exclude_none=True)
        if self.file is not None:
            fixed["file"] = self._listed(root).sha256
        return fixed

    def said(self, root: Path) -> str:
        """The split in words, with the file's SHA-256, for people and logs.

        Raises:
            SourceBroken: The file cannot be read.
        """
        if self.file is not None:
            found = self._listed(root)
            return f"file {self.file}, {len(found.parts):,} patients, SHA-256 {found.sha256}"
        shares = f"{self.tune:g} to tune"
        if self.before is not None:
            return f"held out from {self.before} on by the {self.by or 'last'} stay, {shares}"
        return f"keyed hash, {shares}, {self.heldout:g} held out"

    def _listed(self, root: Path) -> SplitFile:
        return read_split_file(root / (self.file or ""))


def _came_before(patient: Patient, day: date, *, by: Literal["first", "last"]) -> bool:
    """Whether the first or last stay began before a day, in UTC; nobody came before without."""
    times = [stay.admitted for stay in patient.stays] or [note.at for note in patient.notes]
    limit = datetime.combine(day, time(), UTC)
    return bool(times) and (min(times) if by == "first" else max(times)) < limit

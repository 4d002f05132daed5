"""icd-coding: which ICD-10-CM codes were given to a stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from tasks import icd
from tasks.records import Patient
from tasks.rollup import icd_levels
from tasks.task import Label, LeftOut, Task


class IcdCoding(Task):
    """Multi-label coding of each stay from the notes of that stay.

    Predicts when the coder sits down: `hours_after_discharge` after the discharge, because
    discharge summaries are often signed after the patient has left. Reads what was written
    from the admission to then. A stay without codes is left out: not coded is not the same as
    no disease. The label set is part of the study and public; it is never drawn from the sites'
    counts (Edin et al. 2023, arXiv:2304.10909, for the task).

    Attributes:
        level: `category` (three characters) or `full`.
        codes: The codes to predict, as ICD-10-CM prints them, each once.
        hours_after_discharge: See above.
        note_kinds: Only notes of these kinds are read, such as `discharge`; none named reads all.
    """

    kind: ClassVar[str] = "icd-coding"
    level: icd.Level = "category"
    codes: Annotated[tuple[str, ...], Field(min_length=1, max_length=20_000)]
    hours_after_discharge: Annotated[int, Field(ge=0, le=24 * 90)] = 72
    note_kinds: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> Self:
        for position, code in enumerate(self.codes):
            if not icd.is_code(code, self.level):
                # A code of a public list may be named: it is nobody's.
                raise ValueError(
                    f"codes[{position}] {code!r} is not an ICD-10-CM {self.level} code"
                )
        if len(set(self.codes)) != len(self.codes):
            raise ValueError("codes: a code stands twice")
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Task.outputs`: the codes."""
        return self.codes

    @property
    def rollups(self) -> dict[str, tuple[str, ...]]:
        """See `Task.rollups`: full codes are scored by category, and by one character more."""
        return icd_levels(self.codes) if self.level == "full" else {}

    @property
    def questions(self) -> tuple[str, ...]:
        """See `Task.questions`: the codes' titles."""
        return tuple(icd.title(code) for code in self.codes)

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        what = "ICD-10-CM categories" if self.level == "category" else "ICD-10-CM codes"
        some = ", ".join(self.codes[:6]) + (", ..." if len(self.codes) > 6 else "")
        return f"which of {len(self.codes):,} {what} ({some}) were given to each stay"

    @property
    def reads(self) -> str:
        """See `Task.reads`."""
        kinds = " and ".join(self.note_kinds) + " notes" if self.note_kinds else "all notes"
        return (
            f"{kinds} of a stay, written from its admission until {self.hours_after_discharge} "
            "hours after its discharge"
        )

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """See `Task.labels`: one label per coded stay."""
        asked = frozenset(self.codes)
        for stay in patient.stays:
            codes = [code.code for code in stay.codes if code.system == "icd-10-cm"]
            if not codes:
                left_out("stays without codes")
                continue
            known = [icd.at_level(code, self.level) for code in codes]
            for _ in range(known.count(None)):
                left_out("codes that ICD-10-CM does not have")
            if not any(known):
                left_out("stays without a code that ICD-10-CM has")
                continue
            yield Label(
                at=stay.discharged + timedelta(hours=self.hours_after_discharge),
                target=asked.intersection(code for code in known if code is not None),
                since=stay.admitted,
                kinds=frozenset(self.note_kinds) or None,
                stay=stay.id,
            )

"""term-coding: which terms of a vocabulary were given to a stay or report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from tasks.icd_rules import MOST_CODES
from tasks.records import Patient, System
from tasks.task import Label, LeftOut, Task, named_notes

_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]


class TermCoding(Task):
    """Multi-label coding of each stay with terms that say themselves what they mean, such as the
    MedDRA terms of a VAERS report.

    For vocabularies without a public table here: the terms stand in the study, so nothing is drawn
    from a site's counts. A simulation on published records may draw them when it starts
    (`client.simulation.Drawn`).

    Predicts when the stay ends, from what was written since it began. A stay without a code of the
    vocabulary is left out: not coded is not the same as none.

    Attributes:
        system: Whose codes.
        names: The terms to predict, as the source writes them, each once.
        note_kinds: Only notes of these kinds are read; none named reads all of the stay.
    """

    kind: ClassVar[str] = "term-coding"
    system: System = "meddra-term"
    names: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=MOST_CODES)]
    note_kinds: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.names)) != len(self.names):
            raise ValueError("names: a term stands twice")
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Task.outputs`: the terms."""
        return self.names

    @property
    def questions(self) -> tuple[str, ...]:
        """See `Task.questions`: the terms."""
        return self.names

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        some = ", ".join(self.names[:6]) + (", ..." if len(self.names) > 6 else "")
        return f"which of {len(self.names):,} terms ({some}) were given to each stay"

    @property
    def reads(self) -> str:
        """See `Task.reads`."""
        kinds = named_notes(self.note_kinds)
        return f"{kinds} of the report or stay, written until it ended"

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """See `Task.labels`: one label per stay that is coded in the vocabulary."""
        asked = frozenset(self.names)
        for stay in patient.stays:
            given = {code.code for code in stay.codes if code.system == self.system}
            if not given:
                left_out("stays without a term of the vocabulary")
                continue
            yield Label(
                at=stay.discharged,
                target=asked & given,
                since=stay.admitted,
                kinds=frozenset(self.note_kinds) or None,
                stay=stay.id,
            )

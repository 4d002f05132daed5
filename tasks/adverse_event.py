"""adverse-event: what became of the person of whom a report of an adverse event tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from tasks.records import Patient, Stay
from tasks.scrubbing import without_outcomes
from tasks.task import Label, LeftOut, Task, named_notes

QUESTIONS = {
    "died": "The patient died.",
    "hospital": "The patient was admitted to a hospital.",
    "emergency": "The patient was seen in an emergency room or by a doctor.",
    "life_threat": "The event threatened the patient's life.",
    "disability": "The event left the patient with a lasting disability.",
    "prolonged_stay": "The event prolonged the patient's stay in a hospital.",
    "recovered": "The patient recovered from the event.",
}
"""The usual outcomes, in words."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class AdverseEvent(Task):
    """Multi-label outcomes of each report, from its narrative.

    The task on VAERS is that of DAEDRA (von Csefalvay 2024, arXiv:2402.10951).

    Predicts at the report's own time, and reads the report alone. A narrative often says in words
    what the boxes say: of the reports of a death in VAERS 1990-1999 three quarters do.
    Scores on raw text therefore measure reading rather than foresight; report them beside those
    of `scrub = true` (`tasks.scrubbing`).

    A report that does not say an asked outcome, yes or no, is left out: missing is not no.

    Attributes:
        outcomes: The facts of a stay to predict, each once.
        scrub: Cuts the words that tell an outcome before the narrative is read.
        note_kinds: Only notes of these kinds are read; none named reads all of the stay.
    """

    kind: ClassVar[str] = "adverse-event"
    outcomes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)] = (
        "died",
        "hospital",
        "emergency",
        "life_threat",
        "disability",
    )
    scrub: bool = False
    note_kinds: tuple[str, ...] = ("report",)

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.outcomes)) != len(self.outcomes):
            raise ValueError("outcomes: an outcome stands twice")
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Task.outputs`: the outcomes."""
        return self.outcomes

    @property
    def questions(self) -> tuple[str, ...]:
        """See `Task.questions`."""
        return tuple(
            QUESTIONS.get(name, name.replace("_", " ").capitalize() + ".") for name in self.outcomes
        )

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        names = ", ".join(name.replace("_", " ") for name in self.outcomes)
        return f"which adverse events or their outcomes ({names}) each report or stay had"

    @property
    def reads(self) -> str:
        """See `Task.reads`."""
        without = ", without the words that tell an outcome" if self.scrub else ""
        kinds = named_notes(self.note_kinds)
        return f"{kinds} of the report or stay, written until it ended{without}"

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """See `Task.labels`: one label per report that says all asked outcomes."""
        for stay in patient.stays:
            true = self._true(stay)
            if true is None:
                left_out("stays that do not say an asked outcome")
                continue
            yield Label(
                at=stay.discharged,
                target=true,
                since=stay.admitted,
                kinds=frozenset(self.note_kinds) or None,
                stay=stay.id,
                view=without_outcomes if self.scrub else None,
            )

    def _true(self, stay: Stay) -> frozenset[str] | None:
        said = {name: stay.facts.get(name) for name in self.outcomes}
        if not all(isinstance(value, bool) for value in said.values()):
            return None
        return frozenset(name for name, value in said.items() if value)

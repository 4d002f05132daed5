"""flag: any further column of the stays, a yes or no or a category, asked at a named time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from tasks.outcome import AT_ADMISSION, AT_DISCHARGE, at_admission, at_discharge
from tasks.records import Patient, Stay
from tasks.task import Label, LeftOut, Task

_Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
_Words = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class Flag(Task):
    """A column of the source as a label: a phenotype, an outcome, a class.

    Without `values` the column is a yes or no, and the only output bears its name. With `values`
    it is a category, and exactly one of them is true. The classes stand in the study: they are
    never drawn from the data, whose classes may be a patient's. A stay without a value is left
    out: missing is missing, never no. So is one whose value does not stand in the study.

    Attributes:
        column: The name of the fact, as `Stay.facts` has it.
        values: The classes, two at least; none for a yes or no.
        at: When it is asked: `admission`, `discharge`, or a name of `Stay.times`. What is
            written by then is read, so a column that is filled later must not be asked later
            than it could be known.
        meanings: What each output means, in words that an encoder can read; none says it
            with the column's and the class's name.
    """

    kind: ClassVar[str] = "flag"
    column: _Name
    values: Annotated[tuple[_Name, ...], Field(max_length=1000)] = ()
    at: _Name = "discharge"
    meanings: tuple[_Words, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.values) == 1:
            raise ValueError("values: two classes at least; none for a yes or no")
        if len(set(self.values)) != len(self.values):
            raise ValueError("values: a class stands twice")
        if self.meanings and len(self.meanings) != len(self.outputs):
            raise ValueError(f"meanings: one for each of the {len(self.outputs)} outputs, or none")
        return self

    @property
    def exclusive(self) -> bool:
        """See `Task.exclusive`: of a category, one class is true."""
        return bool(self.values)

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Task.outputs`: the classes, or the column."""
        return self.values or (self.column,)

    @property
    def questions(self) -> tuple[str, ...]:
        """See `Task.questions`."""
        if self.meanings:
            return self.meanings
        return tuple(f"{self.column}: {value}" for value in self.values) or (self.column,)

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        some = ", ".join(self.values[:6]) + (", ..." if len(self.values) > 6 else "")
        what = f"which of {len(self.values):,} classes ({some})" if self.values else "yes or no"
        return f"the column {self.column!r} of each stay: {what}, asked at: {self.at}"

    @property
    def reads(self) -> str:
        """See `Task.reads`."""
        known = {"admission": AT_ADMISSION, "discharge": AT_DISCHARGE}
        return known.get(
            self.at,
            f"all notes of a stay, and those of no certain stay, written by its time {self.at!r}; "
            "its discharge summary not before its end",
        )

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """See `Task.labels`: one label per stay with a value and a time."""
        for stay in patient.stays:
            target = self._target(stay)
            if isinstance(target, str):
                left_out(target)
            elif self.at == "admission":
                yield at_admission(stay, target)
            elif self.at == "discharge":
                yield at_discharge(stay, target)
            elif self.at in stay.times:
                yield Label(at=stay.times[self.at], target=target, stay=stay.id)
            else:
                left_out(f"stays without the time {self.at!r}")

    def _target(self, stay: Stay) -> frozenset[str] | str:
        """What is true, or the rule by which nobody can say."""
        value = stay.facts.get(self.column)
        if value is None:
            return f"stays without {self.column!r}"
        if not self.values:
            if isinstance(value, bool):
                return frozenset(self.outputs if value else ())
            return f"stays whose {self.column!r} is not a yes or no"
        if isinstance(value, str) and value in self.values:
            return frozenset([value])
        return f"stays whose {self.column!r} is none of the study's classes"

"""length-of-stay: into which span of days a stay will fall, asked at its admission."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from tasks.outcome import AT_ADMISSION, DEATH_UNKNOWN, DIED, at_admission, died_in_hospital
from tasks.records import Patient
from tasks.task import Label, LeftOut, Task

_Day = Annotated[int, Field(ge=1, le=3650)]


class LengthOfStay(Task):
    """How long a stay lasts, as one of several spans, from what was known at its admission.

    A day is 24 hours from the admission on; a span holds its upper border. Left out: stays that
    ended in death, because death ends a stay early, and those of which nobody says how they ended.

    | spans | `upper_days` | source |
    | --- | --- | --- |
    | <=3, <=7, <=14, >14 | `[3, 7, 14]` | van Aken et al. (2021), arXiv:2102.04110 |
    | 0-2, 3, 4-5, >5 | `[2, 3, 5]` | Jiang et al. (2023), Nature 619, and ReMedE |

    Attributes:
        upper_days: The upper border of each span but the last, in days, rising.
    """

    kind: ClassVar[str] = "length-of-stay"
    upper_days: Annotated[tuple[_Day, ...], Field(min_length=1, max_length=50)] = (3, 7, 14)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(high <= low for low, high in pairwise(self.upper_days)):
            raise ValueError("upper_days: each border must be greater than the one before")
        return self

    @property
    def exclusive(self) -> bool:
        """See `Task.exclusive`: a stay falls into one span."""
        return True

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Task.outputs`: the spans, shortest first, such as `over-3-to-7-days`."""
        middle = [f"over-{low}-to-{high}-days" for low, high in pairwise(self.upper_days)]
        return (f"to-{self.upper_days[0]}-days", *middle, f"over-{self.upper_days[-1]}-days")

    @property
    def questions(self) -> tuple[str, ...]:
        """See `Task.questions`."""
        first, last = self.upper_days[0], self.upper_days[-1]
        return (
            f"The patient will stay in hospital for at most {first} days.",
            *(
                f"The patient will stay in hospital for more than {low} and at most {high} days."
                for low, high in pairwise(self.upper_days)
            ),
            f"The patient will stay in hospital for more than {last} days.",
        )

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        borders = ", ".join(map(str, self.upper_days))
        return (
            f"how long the stay lasted, as one of {len(self.outputs)} spans (borders at {borders} "
            "days), asked at the admission"
        )

    @property
    def reads(self) -> str:
        """See `Task.reads`."""
        return AT_ADMISSION

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """See `Task.labels`: one label per stay."""
        borders = [timedelta(days=days) for days in self.upper_days]
        for stay in patient.stays:
            died = died_in_hospital(patient, stay)
            if died is None:
                left_out(DEATH_UNKNOWN)
            elif died:
                left_out(DIED)
            else:
                span = bisect_left(borders, stay.discharged - stay.admitted)
                yield at_admission(stay, frozenset([self.outputs[span]]))

"""mortality-30d: whether the patient dies within 30 days of the discharge."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import ClassVar

from tasks.outcome import (
    AT_DISCHARGE,
    DEATH_UNKNOWN,
    DIED,
    at_discharge,
    died_by,
    died_in_hospital,
)
from tasks.records import Patient, Stay
from tasks.task import Label, LeftOut, Task

WITHIN = timedelta(days=30)

_NOT_FOLLOWED = "stays not followed for 30 days"
_DEAD_BEFORE = "stays with a death dated before their end, which did not end in death"


class Mortality30d(Task):
    """Whether the patient dies within 30 days of leaving the hospital alive.

    Asked at the discharge of each stay. Left out: stays that ended in death; stays of which the
    source does not know how they ended, or would not know of a death outside the hospital; those
    not followed for 30 days. No known death is no answer where the source learns of none: this
    needs a date, or `deaths_known`. The definition is that of ReMedE and of the common benchmarks
    on MIMIC-IV; a death of which only the day is known counts from that day's first moment on, and
    is before the end of a stay only where the whole day is.
    """

    kind: ClassVar[str] = "mortality-30d"

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Task.outputs`."""
        return ("died-within-30-days",)

    @property
    def questions(self) -> tuple[str, ...]:
        """See `Task.questions`."""
        return ("The patient will die within 30 days of leaving the hospital.",)

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        return "whether the patient died within 30 days of leaving the hospital alive"

    @property
    def reads(self) -> str:
        """See `Task.reads`."""
        return AT_DISCHARGE

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """See `Task.labels`: one label per stay."""
        for stay in patient.stays:
            answer = _answer(patient, stay)
            if isinstance(answer, bool):
                yield at_discharge(stay, frozenset(self.outputs if answer else ()))
            else:
                left_out(answer)


def _answer(patient: Patient, stay: Stay) -> bool | str:
    """Whether the patient died in time, or the rule by which nobody can say."""
    in_hospital = died_in_hospital(patient, stay)
    if in_hospital is None:
        return DEATH_UNKNOWN
    if in_hospital:
        return DIED
    if patient.died is not None:
        if patient.died < stay.discharged:
            return _DEAD_BEFORE
        return died_by(patient, stay.discharged + WITHIN)
    if not patient.deaths_known:
        return DEATH_UNKNOWN
    until = patient.followed_until
    return _NOT_FOLLOWED if until is not None and until < stay.discharged + WITHIN else False

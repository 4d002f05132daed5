"""readmission: whether a patient comes back to hospital, unplanned, soon after a stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.outcome import (
    AT_DISCHARGE,
    DEATH_UNKNOWN,
    DIED,
    MAYBE_NEWBORN,
    NEWBORN,
    at_discharge,
    died_by,
    died_in_hospital,
)
from tasks.records import Patient, Stay
from tasks.task import Label, LeftOut, Task

_GOES_ON = "stays that go on in another stay"
_UNSTATED = "stays followed by another of which nobody says whether it was planned"


class Readmission(Task):
    """Whether a non-elective admission follows within some days of the discharge.

    Asked at the discharge of each stay. Planned admissions are skipped, and it is looked further.
    Huang et al. (2019), arXiv:1904.05342 (ClinicalBERT), for the exclusions; Jiang et al. (2023),
    Nature 619, for 30 days.

    | a stay | becomes |
    | --- | --- |
    | that ended in death, or is of a birth | left out |
    | of which nobody says whether it ended in death | left out |
    | during or at whose end another begins, and ends later (a transfer) | left out |
    | followed in time by an unplanned one | readmitted |
    | followed in time by none but planned ones | not readmitted |
    | followed in time by one that is not said to be planned or not | by `unstated` |
    | not followed in time, of a patient not watched for so long | left out |
    | not followed in time, of a patient who died meanwhile | not readmitted |

    A transfer between departments or hospitals that a source writes as two stays is one time in
    hospital: the patient has not gone home, so only its last stay is asked about. A stay within
    another follows nothing. At the border: exactly `days` after the discharge is in time.

    Attributes:
        days: After the discharge.
        unstated: What a following stay of which nobody says whether it was planned does: its
            label is left out (`leave-out`), unless an unplanned one follows in time too; or it
            counts as unplanned (`count`).
    """

    kind: ClassVar[str] = "readmission"
    days: Annotated[int, Field(ge=1, le=365)] = 30
    unstated: Literal["leave-out", "count"] = "leave-out"

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Task.outputs`."""
        return ("readmitted",)

    @property
    def questions(self) -> tuple[str, ...]:
        """See `Task.questions`."""
        return (
            f"The patient will come back to hospital unplanned within {self.days} days of leaving.",
        )

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        return (
            "whether the patient was admitted again, other than planned, within "
            f"{self.days} days of leaving the hospital"
        )

    @property
    def reads(self) -> str:
        """See `Task.reads`."""
        return AT_DISCHARGE

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """See `Task.labels`: one label per stay that ended with going home."""
        for stay in patient.stays:
            answer = self._excluded(patient, stay) or self._answer(patient, stay)
            if isinstance(answer, str):
                left_out(answer)
                continue
            if stay.newborn is None:
                left_out(MAYBE_NEWBORN)
            if patient.followed_until is None and not answer:
                left_out(f"stays that may not be followed for {self.days} days (kept)")
            yield at_discharge(stay, frozenset(self.outputs if answer else ()))

    @staticmethod
    def _excluded(patient: Patient, stay: Stay) -> str | None:
        """The rule by which a stay is not asked about, whatever followed."""
        died = died_in_hospital(patient, stay)
        if stay.newborn:
            return NEWBORN
        if died is None:
            return DEATH_UNKNOWN
        if died:
            return DIED
        if any(
            other.admitted <= stay.discharged < other.discharged
            for other in patient.stays
            if other is not stay
        ):
            return _GOES_ON
        return None

    def _answer(self, patient: Patient, stay: Stay) -> bool | str:
        """Whether the patient came back, or the rule by which nobody can say."""
        last = stay.discharged + timedelta(days=self.days)
        planned = {
            other.planned for other in patient.stays if stay.discharged < other.admitted <= last
        }
        if False in planned:
            return True
        if None in planned:
            return True if self.unstated == "count" else _UNSTATED
        until = patient.followed_until
        if until is not None and until < last and not died_by(patient, last):
            return f"stays not followed for {self.days} days"
        return False

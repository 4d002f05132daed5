"""What the outcome tasks share: whether a patient died, and labels asked at an admission."""

from __future__ import annotations

from datetime import datetime, time

from tasks.records import Patient, Stay
from tasks.task import Label, View

DEATH_UNKNOWN = "stays whose outcome the source does not say"
DIED = "stays that ended in death"
NEWBORN = "stays of a birth"
MAYBE_NEWBORN = "stays that may be of a birth, the source does not say (kept)"

AT_ADMISSION = (
    "what was written of a stay before its admission, or by then; where nothing was, those "
    "sections of its discharge summary that were known at the admission (complaint, present "
    "illness, histories, allergies, medications and exam at the admission)"
)
"""The words of `Task.reads` for `at_admission`."""

AT_DISCHARGE = "all notes of a stay, and those of no certain stay, written by its discharge"
"""The words of `Task.reads` for a label at the discharge."""


def died_in_hospital(patient: Patient, stay: Stay) -> bool | None:
    """Whether the patient died in this stay; None where that cannot be told.

    | what the source says | answer |
    | --- | --- |
    | `stay.died` | that |
    | a death after the discharge; that the patient lives | False |
    | a death after the admission and before the discharge | True |
    | a death on a day alone (midnight), the day of the discharge | None |
    | a death before the admission | None: one of the two is wrong |
    | nothing | None |
    """
    if stay.died is not None:
        return stay.died
    if patient.died is None:
        return False if patient.deaths_known else None
    died = patient.died.astimezone(stay.discharged.tzinfo)
    day_alone = died.time() == time.min
    if died > stay.discharged:
        return False
    if died < _from(stay.admitted.astimezone(died.tzinfo), day_alone=day_alone):
        return None
    return None if day_alone and died.date() == stay.discharged.date() else True


def at_admission(stay: Stay, target: frozenset[str], view: View | None = None) -> Label:
    """A label asked at the admission, which reads what was known by then.

    Args:
        stay: Whose admission.
        target: The outputs that are true.
        view: See `Label`.
    """
    return Label(at=stay.admitted, target=target, stay=stay.id, view=view, summary_of=stay.id)


def at_discharge(stay: Stay, target: frozenset[str]) -> Label:
    """A label asked at the discharge."""
    return Label(at=stay.discharged, target=target, stay=stay.id)


def _from(moment: datetime, *, day_alone: bool) -> datetime:
    return datetime.combine(moment.date(), time.min, moment.tzinfo) if day_alone else moment

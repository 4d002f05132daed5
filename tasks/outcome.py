"""What the outcome tasks share: whether a patient died, and labels asked at an admission."""

from __future__ import annotations

from datetime import datetime

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
    | a death known by its day alone, the day of the discharge | None |
    | a death known by its day alone, the day of the admission and no other | True |
    | a death before the admission | None: one of the two is wrong |
    | nothing | None |

    Days are those of the source's zone, see `Patient.died_from`.
    """
    if stay.died is not None:
        return stay.died
    if patient.died is None:
        return False if patient.deaths_known else None
    if not died_by(patient, stay.discharged):
        return False
    if patient.died < stay.admitted:
        return None
    # A stay whose end is known by its day alone ends with that day, as such a death does.
    on_the_last_day = patient.died_from is not None and stay.discharged <= patient.died
    return None if on_the_last_day else True


def died_by(patient: Patient, at: datetime) -> bool:
    """Whether a death is known that was by a moment; one known by its day alone counts from the
    day's first moment.
    """
    first = patient.died if patient.died_from is None else patient.died_from
    return first is not None and first <= at


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

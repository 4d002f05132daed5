"""in-hospital-mortality: whether a stay will end in death, asked at its admission."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from tasks.death import without_death
from tasks.outcome import (
    AT_ADMISSION,
    DEATH_UNKNOWN,
    MAYBE_NEWBORN,
    NEWBORN,
    at_admission,
    died_in_hospital,
)
from tasks.records import Patient
from tasks.task import Label, LeftOut, Task


class InHospitalMortality(Task):
    """Whether the patient dies in this stay, from what was known at its admission.

    Left out: stays of a birth, and those of which nobody says how they ended. Sentences that tell
    the patient's death are cut from what is read; a stay whose notes tell it in a way that cannot
    be cut is dropped, whether or not the patient died (`tasks.death`). Van Aken et al. (2021),
    arXiv:2102.04110, for the admission sections and the cut; Jiang et al. (2023), Nature 619, for
    the task on all notes of a hospital.
    """

    kind: ClassVar[str] = "in-hospital-mortality"

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Task.outputs`."""
        return ("died",)

    @property
    def questions(self) -> tuple[str, ...]:
        """See `Task.questions`."""
        return ("The patient will die in hospital during this stay.",)

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        return "whether the patient died in the stay, asked at the admission"

    @property
    def reads(self) -> str:
        """See `Task.reads`."""
        return AT_ADMISSION + ". Sentences that tell the patient's death are not read"

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """See `Task.labels`: one label per stay."""
        for stay in patient.stays:
            died = died_in_hospital(patient, stay)
            if stay.newborn:
                left_out(NEWBORN)
                continue
            if died is None:
                left_out(DEATH_UNKNOWN)
                continue
            if stay.newborn is None:
                left_out(MAYBE_NEWBORN)
            target = frozenset(self.outputs if died else ())
            yield at_admission(stay, target, without_death)

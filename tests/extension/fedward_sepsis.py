"""sepsis: whether a stay was coded as sepsis, from what was written in its first day."""

from collections.abc import Iterator
from datetime import timedelta
from typing import ClassVar

from tasks.records import Patient
from tasks.task import Label, LeftOut, Task


class Sepsis(Task):
    """Predicts a day after admission; stays without codes, or shorter, are left out."""

    kind: ClassVar[str] = "sepsis"
    hours: int = 24

    outputs: ClassVar = ("sepsis",)
    questions: ClassVar = ("Does this patient have sepsis?",)
    summary: ClassVar = "whether a stay was coded as sepsis (A40, A41)"
    reads: ClassVar = "notes of the stay from its first hours"

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """One label for each coded stay that lasted."""
        for stay in patient.stays:
            at = stay.admitted + timedelta(hours=self.hours)
            codes = [code.code for code in stay.codes if code.system == "icd-10-cm"]
            if not codes:
                left_out("stays without codes")
            elif at > stay.discharged:
                left_out("stays that were over by then")
            else:
                yes = any(code.startswith(("A40", "A41")) for code in codes)
                yield Label(at, frozenset({"sepsis"} if yes else ()), stay.admitted, stay=stay.id)

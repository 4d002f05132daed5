"""claim-denial: whether the payer will refuse the claim of a stay, asked at its admission."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from tasks.outcome import AT_ADMISSION, at_admission
from tasks.records import Patient
from tasks.task import Label, LeftOut, Task

FACT = "denied"


class ClaimDenial(Task):
    """Whether the payer's final decision on a stay's claim was against it.

    Reads the stay's fact `denied`, true where the final determination was adverse; a claim that
    was refused first and paid after an appeal is not denied. A stay without a decision is left
    out: no decision is not a payment. Jiang et al. (2023), Nature 619, for the task.
    """

    kind: ClassVar[str] = "claim-denial"

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Task.outputs`."""
        return ("denied",)

    @property
    def questions(self) -> tuple[str, ...]:
        """See `Task.questions`."""
        return ("The insurer will refuse to pay for this stay.",)

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        return "whether the payer finally refused the claim for the stay, asked at the admission"

    @property
    def reads(self) -> str:
        """See `Task.reads`."""
        return AT_ADMISSION

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """See `Task.labels`: one label per stay with a decision."""
        for stay in patient.stays:
            denied = stay.facts.get(FACT)
            if denied is None:
                left_out("stays without a decision on their claim")
            elif not isinstance(denied, bool):
                left_out(f"stays whose {FACT!r} is not a yes or no")
            else:
                yield at_admission(stay, frozenset(self.outputs if denied else ()))

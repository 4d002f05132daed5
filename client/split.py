"""Who is trained on, who tunes the threshold and who is held out."""

from __future__ import annotations

import hmac
from typing import Annotated, Self

from pydantic import Field, model_validator

from privacy.spec import Spec
from tasks.records import Part, Patient


class Split(Spec):
    """Shares of patients.

    Guarantees:
        A patient's part depends on the patient's id and the site's secret alone, so it is the
        same in every study: nobody is trained on in one and tested on in the next.

    Attributes:
        tune: Share whose tallies choose the threshold.
        heldout: Share whose tallies score the study.
    """

    tune: Annotated[float, Field(ge=0, lt=1)] = 0.15
    heldout: Annotated[float, Field(ge=0, lt=1)] = 0.15

    @model_validator(mode="after")
    def _trains(self) -> Self:
        if self.tune + self.heldout >= 1:
            raise ValueError("tune and heldout together must leave somebody to train on")
        return self

    def part(self, patient: Patient, *, secret: bytes) -> Part:
        """The patient's part.

        Where the source says that the patient is held out, so it is; where it says `train`,
        the patient is tuned on with chance `tune` and trained on otherwise.
        """
        number = hmac.digest(secret, patient.id.encode(), "sha256")[:8]
        place = int.from_bytes(number) / 2**64
        if patient.part is not None:
            if patient.part == "train" and place < self.tune:
                return "tune"
            return patient.part
        if place < self.heldout:
            return "heldout"
        return "tune" if place < self.heldout + self.tune else "train"

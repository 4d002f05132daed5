"""What privacy may cost (Budget) and what an act costs (Spend)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from privacy.spec import Spec


class Budget(Spec):
    """A ceiling on privacy loss.

    Guarantees:
        The unit is one patient with all of that patient's notes; neighbours differ by adding
        or removing one patient. Both are fixed here so that no file can weaken them.

    Attributes:
        epsilon: Greater than 0; infinity means no ceiling at all.
        delta: Probability that epsilon is exceeded, at most 1e-3 (PRIVACY.md says why).
    """

    epsilon: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, le=1e-3)] = 1e-5
    unit: Literal["patient"] = "patient"
    neighbours: Literal["add-or-remove-one"] = "add-or-remove-one"


class Spend(Spec):
    """One charge: a run of Poisson-sampled Gaussian steps. The ledger keeps these, never epsilons.

    Attributes:
        study: Digest of the study that asked.
        round: The study's round, from 1.
        noise_multiplier: Standard deviation of the noise over the clipping norm. 0 means that
            no noise was added; such a spend costs infinity.
        sample_rate: Chance of each patient to be in a step.
        steps: Noisy steps taken.
    """

    study: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    round: Annotated[int, Field(ge=1)]
    noise_multiplier: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    steps: Annotated[int, Field(ge=1)]

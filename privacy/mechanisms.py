"""The mechanisms that a study may name."""

from __future__ import annotations

from typing import Annotated

from privacy.closed_form import GaussianSums
from privacy.dp_sgd import DpSgd
from privacy.mechanism import Mechanism
from privacy.off import Off
from privacy.spec import Registry

MECHANISMS: Registry[Mechanism] = Registry(
    "fedward.mechanisms",
    Mechanism,  # type: ignore[type-abstract]  # mypy asks for a concrete one
    DpSgd,
    GaussianSums,
    Off,
)

AnyMechanism = Annotated[Mechanism, MECHANISMS]

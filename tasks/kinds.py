"""The tasks that a study may name."""

from __future__ import annotations

from typing import Annotated

from privacy.spec import Registry
from tasks.adverse_event import AdverseEvent
from tasks.charlson import Charlson
from tasks.claim_denial import ClaimDenial
from tasks.flag import Flag
from tasks.icd_coding import IcdCoding
from tasks.in_hospital_mortality import InHospitalMortality
from tasks.length_of_stay import LengthOfStay
from tasks.mortality_30d import Mortality30d
from tasks.readmission import Readmission
from tasks.task import Task
from tasks.term_coding import TermCoding

TASKS: Registry[Task] = Registry(
    "fedward.tasks",
    Task,  # type: ignore[type-abstract]  # mypy asks for a concrete one
    IcdCoding,
    Readmission,
    InHospitalMortality,
    Mortality30d,
    LengthOfStay,
    Charlson,
    ClaimDenial,
    AdverseEvent,
    Flag,
    TermCoding,
)

AnyTask = Annotated[Task, TASKS]

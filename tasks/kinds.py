"""The tasks that a study may name."""

from __future__ import annotations

from typing import Annotated

from privacy.spec import Registry
from tasks.adverse_event import AdverseEvent
from tasks.icd_coding import IcdCoding
from tasks.task import Task

TASKS: Registry[Task] = Registry(
    "fedward.tasks",
    Task,  # type: ignore[type-abstract]
    AdverseEvent,
    IcdCoding,
)

AnyTask = Annotated[Task, TASKS]

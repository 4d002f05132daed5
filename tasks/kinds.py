"""The tasks that a study may name."""

from __future__ import annotations

from typing import Annotated

from privacy.spec import Registry
from tasks.icd_coding import IcdCoding
from tasks.task import Task

TASKS: Registry[Task] = Registry("fedward.tasks", Task, IcdCoding)  # type: ignore[type-abstract]

AnyTask = Annotated[Task, TASKS]

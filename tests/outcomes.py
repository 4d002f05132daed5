"""Stays and patients that the tests of outcome tasks are built from."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.records import Note, Patient, Stay
from tasks.task import Label, Task

START = datetime(2020, 3, 1, 8, tzinfo=UTC)


def day(number: float) -> datetime:
    """So many days after the first admission."""
    return START + timedelta(days=number)


def stay(first: float = 0, last: float = 5, **said: Any) -> Stay:
    """A stay from day to day; an unplanned one that ended alive, unless it is said."""
    known = {"id": f"stay-{first}", "died": False, "planned": False, "newborn": False}
    return Stay(admitted=day(first), discharged=day(last), **(known | said))


def patient(*stays: Stay, notes: tuple[Note, ...] = (), **said: Any) -> Patient:
    return Patient("patient", stays, notes, **said)


def asked(task: Task, *stays: Stay, **said: Any) -> tuple[list[Label], Counter[str]]:
    """The labels of a patient, and what was counted."""
    rules: Counter[str] = Counter()
    labels = list(task.labels(patient(*stays, **said), lambda rule: rules.update([rule])))
    return labels, rules


def answers(task: Task, *stays: Stay, **said: Any) -> list[list[str]]:
    """What is true of each label, in order."""
    return [sorted(label.target) for label in asked(task, *stays, **said)[0]]

"""Checks of a task, on invented patients and on odd ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from client.sources.source import Attrition
from client.sources.synthetic.source import SyntheticSource
from experiments.extending.checks import Checks, round_trip
from tasks.records import Note, Patient, Stay, icd10cm
from tasks.task import Label, Task, notes_for

PATIENTS = 60
LONGEST_SENTENCE = 300
_NOON = datetime(2020, 5, 1, 12, tzinfo=UTC)


def _texts(task: Task) -> Iterator[str]:
    if not task.outputs:
        yield "outputs is empty"
    for name, number in Counter(task.outputs).items():
        if number > 1:
            yield f"the output {name!r} stands {number} times"
    if len(task.questions) != len(task.outputs):
        yield f"{len(task.questions)} questions for {len(task.outputs)} outputs"
    if not all(text.strip() for text in (*task.outputs, *task.questions)):
        yield "an output or a question is empty"
    for what, text in (("summary", task.summary), ("reads", task.reads)):
        if not text.strip() or text.rstrip().endswith("."):
            yield f"{what} must be words without a full stop at the end"
        if len(text) > LONGEST_SENTENCE:
            yield f"{what} is longer than {LONGEST_SENTENCE} characters"


def _well_formed(task: Task) -> Iterator[str]:
    outputs = frozenset(task.outputs)
    for patient in _everybody():
        for label in _labels(task, patient):
            if label.at.tzinfo is None or (label.since and label.since.tzinfo is None):
                yield "a label's time has no zone"
            if label.target - outputs:
                yield "a label's target is not among the outputs"
            if label.since is not None and label.since > label.at:
                yield "a label reads from a time after its own"
            if task.exclusive and len(label.target) != 1:
                yield f"the task is exclusive, and a label has {len(label.target)} true outputs"


def _asked(task: Task) -> Iterator[str]:
    found = [label for patient in _invented() for label in _labels(task, patient)]
    if not found:
        yield f"not one label on {PATIENTS} invented patients: it cannot be tried on them"
        return
    if not any(notes_for(patient, label) for patient in _invented()
               for label in _labels(task, patient)):  # fmt: skip
        yield "no label of invented patients has a note that it may read"


def _repeatable(task: Task) -> Iterator[str]:
    first = [_labels(task, patient) for patient in _everybody()]
    fresh = type(task).model_validate_json(task.model_dump_json())
    again = [_labels(fresh, patient) for patient in reversed(_everybody())][::-1]
    if [_said(labels) for labels in first] != [_said(labels) for labels in again]:
        yield "a patient's labels depend on chance, on the order or on other patients"


def _accounted(task: Task) -> Iterator[str]:
    for patient in _everybody():
        rules: list[str] = []
        labels = list(task.labels(patient, rules.append))
        if patient.stays and not labels and not rules:
            yield "a patient has stays, no label and no rule that says why; call left_out"
        if any(not rule.strip() for rule in rules):
            yield "left_out was called without a rule"
        for fact in (patient.id, *(stay.id for stay in patient.stays)):
            if any(fact in rule for rule in rules):
                yield "a rule names a patient or a stay; it must be the same words for everybody"


def _earlier(task: Task) -> Iterator[str]:
    """Notes of the future must not move a label: a task that reads them tells what they say."""
    for patient in _invented()[:50]:
        labels = _labels(task, patient)
        for label in labels:
            past = tuple(note for note in patient.notes if note.at <= label.at)
            known = replace(patient, notes=past)
            if _said([label])[0] not in _said(_labels(task, known)):
                yield "a label changes when notes written after it are taken away"


def _views(task: Task) -> Iterator[str]:
    """A view may take words away. One that puts some in could write the answer."""
    for patient in _invented():
        for label in _labels(task, patient):
            if label.view is None:
                continue
            for note in patient.notes:
                words = iter(note.text.split())
                read = label.view(note.text)
                if read is not None and not all(word in words for word in read.split()):
                    yield "a label's view puts words into a note, or moves them"


TASK_CHECKS: Checks[Task] = Checks(
    {
        "outputs, questions, summary and reads are whole": _texts,
        "it survives its JSON": round_trip,
        "it has labels on invented patients": _asked,
        "labels have zones and targets among the outputs": _well_formed,
        "labels rest on the patient alone, the same each time": _repeatable,
        "labels do not rest on notes of the future": _earlier,
        "what is read of a note is its own words": _views,
        "every patient has a label or a rule that says why not": _accounted,
    }
)


def _labels(task: Task, patient: Patient) -> list[Label]:
    return list(task.labels(patient, lambda _: None))


def _said(labels: list[Label]) -> list[tuple[object, ...]]:
    """Labels without their views, which are functions."""
    return [(x.at, x.target, x.since, x.kinds, x.stay, x.summary_of) for x in labels]


@cache
def _invented() -> tuple[Patient, ...]:
    source = SyntheticSource(hospital="Checkfield", patient_count=PATIENTS, admission_notes=True)
    return tuple(source.patients(root=Path(), attrition=Attrition()))


@cache
def _everybody() -> tuple[Patient, ...]:
    return _invented() + _odd()


def _odd() -> tuple[Patient, ...]:
    """Patients of whom a source says little, or odd things."""
    hour = timedelta(hours=1)
    note = Note(_NOON, "discharge", "Nothing of note.")
    bare = Stay("odd-stay-1", _NOON, _NOON)
    long = Stay("odd-stay-2", _NOON - 24 * hour, _NOON + 240 * hour, icd10cm(["I10"]), died=True)
    inside = Stay("odd-stay-3", _NOON, _NOON + hour, icd10cm(["?", "zz", ""]), died=False)
    return (
        Patient("odd-patient-1", (), (note,)),
        Patient("odd-patient-2", (bare,), (note,)),
        Patient("odd-patient-3", (long, inside), (note,)),
        Patient("odd-patient-4", (long,), (note,), died=_NOON - 1000 * hour, deaths_known=True),
        Patient("odd-patient-5", (inside,), (), followed_until=_NOON - hour),
    )

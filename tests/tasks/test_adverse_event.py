"""adverse-event: what it asks of a report, what it leaves out, and what it lets be read."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from tasks.adverse_event import QUESTIONS, AdverseEvent
from tasks.kinds import TASKS
from tasks.records import Note, Patient, Stay
from tasks.task import Label, notes_for

AT = datetime(1995, 6, 1, tzinfo=UTC)
SAID = dict.fromkeys(AdverseEvent().outcomes, False)


def report(text: str = "rash", **facts: bool | str) -> Patient:
    stay = Stay("r1", AT, AT, facts=facts)
    return Patient("r1", (stay,), (Note(AT, "report", text, "r1"),))


def asked(task: AdverseEvent, patient: Patient) -> tuple[list[Label], Counter[str]]:
    left_out: Counter[str] = Counter()
    return list(task.labels(patient, lambda rule: left_out.update([rule]))), left_out


def test_the_target_is_what_was_ticked():
    (label,), left_out = asked(AdverseEvent(), report(**SAID | {"died": True, "emergency": True}))
    assert label.target == {"died", "emergency"}
    assert label.at == AT
    assert not left_out


def test_nothing_ticked_is_an_answer():
    (label,), left_out = asked(AdverseEvent(), report(**SAID))
    assert label.target == frozenset()
    assert not left_out


@pytest.mark.parametrize("name", SAID)
def test_a_report_that_does_not_say_an_asked_outcome_is_left_out(name: str):
    facts = {fact: value for fact, value in SAID.items() if fact != name}
    rule = {"stays that do not say an asked outcome": 1}
    assert asked(AdverseEvent(), report(**facts)) == ([], rule)
    assert asked(AdverseEvent(), report(**facts | {name: "no"})) == ([], rule)
    others = AdverseEvent(outcomes=tuple(facts))
    assert len(asked(others, report(**facts))[0]) == 1


def test_only_the_report_itself_is_read():
    patient = report(**SAID)
    others = (
        Note(AT, "discharge", "of another kind", "r1"),
        Note(AT - timedelta(days=1), "report", "before"),
        Note(AT + timedelta(days=1), "report", "after", "r1"),
        Note(AT, "report", "another's", "r2"),
    )
    patient = Patient("r1", patient.stays, patient.notes + others)
    (label,), _ = asked(AdverseEvent(), patient)
    assert [note.text for note in notes_for(patient, label)] == ["rash"]


def test_the_words_that_tell_an_outcome_are_cut_where_the_study_says_so():
    patient = report("fever; pt died", **SAID)
    seen = {}
    for scrub in (False, True):
        (label,), _ = asked(AdverseEvent(scrub=scrub), patient)
        seen[scrub] = [note.text.strip() for note in notes_for(patient, label)]
    assert seen == {False: ["fever; pt died"], True: ["fever;"]}


def test_a_narrative_that_tells_nothing_else_is_not_read_at_all():
    patient = report("Pt died.", **SAID)
    (label,), _ = asked(AdverseEvent(scrub=True), patient)
    assert notes_for(patient, label) == []


def test_outputs_and_questions_go_together():
    task = AdverseEvent(outcomes=(*QUESTIONS, "birth_defect"))
    assert task.outputs == (*QUESTIONS, "birth_defect")
    assert task.questions == (*QUESTIONS.values(), "Birth defect.")
    assert "died, hospital" in task.summary
    assert "without the words" in AdverseEvent(scrub=True).reads
    assert "without the words" not in task.reads


@pytest.mark.parametrize("outcomes", [(), ("died", "died"), ("Died",), ("",), ("a b",)])
def test_outcomes_that_are_no_names_are_refused(outcomes: tuple[str, ...]):
    with pytest.raises(ValidationError, match="outcomes"):
        AdverseEvent(outcomes=outcomes)


def test_it_is_found_by_its_kind():
    assert TASKS.parse({"kind": "adverse-event", "scrub": True}) == AdverseEvent(scrub=True)

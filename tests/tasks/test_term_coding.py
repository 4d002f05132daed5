"""term-coding: what it asks, and whom it leaves out."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from tasks.records import Code, Note, Patient, Stay
from tasks.task import Label, notes_for
from tasks.term_coding import TermCoding

AT = datetime(1995, 6, 1, tzinfo=UTC)
TASK = TermCoding(names=("Pyrexia", "Rash"), note_kinds=("report",))


def report(*codes: Code) -> Patient:
    notes = (Note(AT, "report", "fever", "r1"), Note(AT, "letter", "thanks", "r1"))
    return Patient("r1", (Stay("r1", AT, AT, codes),), notes)


def asked(patient: Patient) -> tuple[list[Label], Counter[str]]:
    left_out: Counter[str] = Counter()
    return list(TASK.labels(patient, lambda rule: left_out.update([rule]))), left_out


def test_the_target_is_what_was_asked_and_given():
    patient = report(Code("meddra-term", "Pyrexia"), Code("meddra-term", "Agitation"))
    (label,), left_out = asked(patient)
    assert label.target == {"Pyrexia"}
    assert not left_out
    assert [note.text for note in notes_for(patient, label)] == ["fever"]


def test_coded_without_an_asked_term_is_an_answer():
    (label,), _ = asked(report(Code("meddra-term", "Agitation")))
    assert label.target == frozenset()


@pytest.mark.parametrize("codes", [(), (Code("icd-10-cm", "Rash"),)])
def test_not_coded_in_the_vocabulary_is_left_out(codes: tuple[Code, ...]):
    assert asked(report(*codes)) == ([], {"stays without a term of the vocabulary": 1})


def test_its_terms_say_what_they_mean():
    assert TASK.outputs == TASK.questions == ("Pyrexia", "Rash")
    assert "2 terms (Pyrexia, Rash)" in TASK.summary


@pytest.mark.parametrize("names", [(), ("a", "a"), ("a\nb",), ("",)])
def test_names_that_are_no_list_of_terms_are_refused(names: tuple[str, ...]):
    with pytest.raises(ValidationError):
        TermCoding(names=names)

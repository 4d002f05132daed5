"""icd-coding: its label list, its labels and what it leaves out."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from privacy.spec import one_line
from tasks.icd_coding import IcdCoding
from tasks.records import Patient, Stay, icd10cm
from tasks.task import Label

ADMITTED = datetime(2020, 3, 1, 8, tzinfo=UTC)
DISCHARGED = datetime(2020, 3, 9, 17, tzinfo=UTC)


def stay(*codes: str, days: int = 0) -> Stay:
    later = timedelta(days=days)
    return Stay("stay", ADMITTED + later, DISCHARGED + later, icd10cm(codes))


def asked(task: IcdCoding, *stays: Stay) -> tuple[list[Label], Counter[str]]:
    left_out: Counter[str] = Counter()
    patient = Patient("patient", stays, ())
    return list(task.labels(patient, lambda rule: left_out.update([rule]))), left_out


def refusal(**table: object) -> str:
    with pytest.raises(ValidationError) as caught:
        IcdCoding.model_validate(table)
    return one_line(caught.value)


def test_an_unknown_code_is_refused_with_its_position():
    assert "codes[2] 'I14' is not an ICD-10-CM category code" in refusal(
        codes=("I10", "E11", "I14")
    )


@pytest.mark.parametrize(
    ("level", "codes", "position"),
    [
        ("category", ("I10", "E11.65"), 1),
        ("category", ("i10",), 0),
        ("full", ("I10", "E11.65", "E1165"), 2),
        ("full", ("E11.99", "I10"), 0),
        ("full", ("I10", "250.00"), 1),
    ],
)
def test_a_code_of_another_level_or_spelling_is_refused(
    level: str, codes: tuple[str, ...], position: int
):
    said = refusal(level=level, codes=codes)
    assert f"codes[{position}] {codes[position]!r} is not an ICD-10-CM {level} code" in said


def test_a_code_that_stands_twice_is_refused():
    assert "codes: a code stands twice" in refusal(codes=("I10", "E11", "I10"))


@pytest.mark.parametrize("codes", [(), ("I10",) * 20_001])
def test_no_codes_and_too_many_codes_are_refused(codes: tuple[str, ...]):
    assert refusal(codes=codes).startswith("codes: Tuple should have at ")


@pytest.mark.parametrize("hours", [-1, 24 * 90 + 1])
def test_hours_after_discharge_out_of_range_are_refused(hours: int):
    assert refusal(codes=("I10",), hours_after_discharge=hours).startswith("hours_after_discharge:")


def test_outputs_are_the_codes_and_questions_their_titles_in_the_same_order():
    task = IcdCoding(codes=("I10", "E11"))
    assert task.outputs == ("I10", "E11")
    assert task.questions == ("Essential (primary) hypertension", "Type 2 diabetes mellitus")


def test_a_stay_without_codes_gives_nothing_and_is_counted():
    labels, left_out = asked(IcdCoding(codes=("I10",)), stay(), stay("I10", days=30), stay())
    assert [label.target for label in labels] == [{"I10"}]
    assert left_out == {"stays without codes": 2}


def test_each_code_that_icd_10_cm_does_not_have_is_counted():
    labels, left_out = asked(IcdCoding(codes=("I10",)), stay("4112", "I10", "I14", "250.00"))
    assert [label.target for label in labels] == [{"I10"}]
    assert left_out == {"codes that ICD-10-CM does not have": 3}


def test_a_coded_stay_without_an_asked_code_is_a_label_with_nothing_true():
    labels, left_out = asked(IcdCoding(codes=("I10",)), stay("E1165"))
    assert [label.target for label in labels] == [frozenset()]
    assert not left_out


def test_at_category_level_every_code_below_counts_for_its_category():
    labels, _ = asked(IcdCoding(codes=("E11", "I10")), stay("e1165", "E11.9", "J18.9"))
    assert [label.target for label in labels] == [{"E11"}]


def test_at_full_level_only_the_code_itself_counts():
    task = IcdCoding(level="full", codes=("E11.65", "E11.9", "I10"))
    labels, _ = asked(task, stay("e1165", "I10", "E11.8"))
    assert [label.target for label in labels] == [{"E11.65", "I10"}]


def test_a_label_is_asked_hours_after_discharge_from_admission_on():
    labels, _ = asked(IcdCoding(codes=("I10",)), stay("I10"), stay("I10", days=30))
    assert [label.at for label in labels] == [
        datetime(2020, 3, 12, 17, tzinfo=UTC),
        datetime(2020, 4, 11, 17, tzinfo=UTC),
    ]
    assert [label.since for label in labels] == [
        datetime(2020, 3, 1, 8, tzinfo=UTC),
        datetime(2020, 3, 31, 8, tzinfo=UTC),
    ]


def test_zero_hours_ask_at_the_discharge():
    labels, _ = asked(IcdCoding(codes=("I10",), hours_after_discharge=0), stay("I10"))
    assert [label.at for label in labels] == [DISCHARGED]


def test_note_kinds_become_the_labels_kinds_and_none_named_reads_all():
    named, _ = asked(IcdCoding(codes=("I10",), note_kinds=("discharge", "letter")), stay("I10"))
    unnamed, _ = asked(IcdCoding(codes=("I10",)), stay("I10"))
    assert [label.kinds for label in named] == [{"discharge", "letter"}]
    assert [label.kinds for label in unnamed] == [None]

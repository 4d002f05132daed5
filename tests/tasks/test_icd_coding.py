"""icd-coding: its label list, its labels and what it leaves out."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from privacy.spec import one_line
from tasks.icd_coding import IcdCoding
from tasks.records import Code, Patient, Stay, System, icd10cm
from tasks.task import Label

ADMITTED = datetime(2020, 3, 1, 8, tzinfo=UTC)
DISCHARGED = datetime(2020, 3, 9, 17, tzinfo=UTC)


def stay(*codes: str, days: int = 0) -> Stay:
    later = timedelta(days=days)
    return Stay("stay", ADMITTED + later, DISCHARGED + later, icd10cm(codes))


def coded(days: int = 0, **codes: tuple[str, ...]) -> Stay:
    """A stay with codes by system; a keyword's underscores are dashes."""
    systems: dict[str, System] = {
        "nine": "icd-9-cm",
        "nine_procedures": "icd-9-cm-procedures",
        "ten": "icd-10-cm",
        "ten_procedures": "icd-10-pcs",
        "snomed": "snomed-ct",
    }
    found = tuple(Code(systems[name], code) for name, some in codes.items() for code in some)
    later = timedelta(days=days)
    return Stay(f"stay {days}", ADMITTED + later, DISCHARGED + later, found)


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


def test_too_many_codes_are_refused():
    assert refusal(codes=("I10",) * 20_001).startswith("codes: Tuple should have at ")


@pytest.mark.parametrize("table", [{}, {"codes": ()}, {"codes": ("I10",), "rule": {}}])
def test_either_codes_or_a_rule_is_needed(table: dict[str, object]):
    assert "codes: list the codes to predict, or give a rule that draws them" in refusal(**table)


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


def test_codes_of_other_systems_are_not_read():
    # V58.61 is aftercare in ICD-9-CM; in ICD-10-CM V58 is an accident in a pick-up truck.
    both = coded(nine=("4280", "V5861"), ten=("E11",))
    nine, _ = asked(IcdCoding(systems=("icd-9-cm",), codes=("428", "V58")), both)
    ten, left_out = asked(IcdCoding(codes=("E11", "V58")), both)
    assert [label.target for label in nine] == [{"428", "V58"}]
    assert [label.target for label in ten] == [{"E11"}]
    assert not left_out


def test_diagnoses_and_procedures_of_one_version_stand_in_one_study():
    task = IcdCoding(
        systems=("icd-9-cm", "icd-9-cm-procedures"),
        level="full",
        codes=("icd-9-cm:038.9", "icd-9-cm-procedures:38.93", "icd-9-cm:389.10"),
    )
    labels, left_out = asked(
        task,
        coded(nine=("0389",), nine_procedures=("3893", "9999")),
        coded(1, nine=("4019",)),
        coded(2, nine_procedures=("3893",)),
    )
    assert [label.target for label in labels] == [
        {"icd-9-cm:038.9", "icd-9-cm-procedures:38.93"},
        frozenset(),
        {"icd-9-cm-procedures:38.93"},
    ]
    assert not left_out
    assert task.questions[:2] == (
        "Unspecified septicemia",
        "Venous catheterization, not elsewhere classified",
    )
    assert "3 ICD-9-CM and ICD-9-CM volume 3 codes" in task.summary


def test_what_both_systems_have_under_one_name_are_two_outputs():
    task = IcdCoding(systems=("icd-10-cm", "icd-10-pcs"), codes=("icd-10-cm:B20", "icd-10-pcs:B20"))
    labels, _ = asked(task, coded(ten=("B20",)), coded(1, ten_procedures=("B200YZZ",)))
    assert [label.target for label in labels] == [{"icd-10-cm:B20"}, {"icd-10-pcs:B20"}]
    assert task.questions[0].startswith("Human immunodeficiency virus")
    assert task.questions[1].startswith("Plain Radiography")


def test_every_stay_is_kept_or_left_out_by_one_rule():
    task = IcdCoding(systems=("icd-9-cm",), codes=("428",))
    stays = (
        coded(nine=("4280",)),
        coded(1),
        coded(2, ten=("I509",)),
        coded(3, nine=("I509", "999999")),
        coded(4, snomed=("84114007",)),
        coded(5, nine=("I509", "4019")),
    )
    labels, left_out = asked(task, *stays)
    assert left_out == {
        "stays without codes": 1,
        "stays coded in other systems only": 2,
        "stays without a code that ICD-9-CM has": 1,
        "codes that ICD-9-CM does not have": 3,
    }
    dropped = sum(number for rule, number in left_out.items() if rule.startswith("stays"))
    assert len(labels) + dropped == len(stays)


@pytest.mark.parametrize(
    ("level", "target"),
    [
        ("chapter", {"3", "18"}),
        ("block", {"249-259", "V50-V59"}),
        ("category", {"250", "V58"}),
        ("subcategory", {"250.0", "V58.6"}),
        ("full", {"250.00", "V58.61"}),
    ],
)
def test_every_level_of_icd_9(level: str, target: set[str]):
    task = IcdCoding.model_validate({"systems": ["icd-9-cm"], "level": level, "codes": [*target]})
    labels, _ = asked(task, coded(nine=("25000", "v58.61", "4019")))
    assert [label.target for label in labels] == [target]


@pytest.mark.parametrize(
    ("systems", "said"),
    [
        (("icd-10-cm", "icd-9-cm"), "ICD-9-CM and ICD-10 are two studies"),
        (("icd-10-pcs", "icd-9-cm-procedures"), "ICD-9-CM and ICD-10 are two studies"),
        (("icd-10-cm", "icd-10-cm"), "systems: one stands twice"),
        (("snomed-ct",), "systems.0: Input should be"),
        ((), "systems: Tuple should have at least 1 item"),
    ],
)
def test_systems_that_cannot_be_asked_together_are_refused(systems: tuple[str, ...], said: str):
    assert said in refusal(systems=systems, rule={})


def test_with_two_systems_a_code_without_its_system_is_refused():
    said = refusal(systems=("icd-9-cm", "icd-9-cm-procedures"), codes=("icd-9-cm:250", "38"))
    assert "codes[1] '38' is not a code behind icd-9-cm: or icd-9-cm-procedures:" in said


def test_volume_3_has_no_blocks():
    said = refusal(systems=("icd-9-cm-procedures",), level="block", codes=("38",))
    assert "ICD-9-CM volume 3 has no blocks; ask for its chapters or categories" in said


def test_a_code_of_another_year_is_taken_where_the_study_says_so():
    # O35.0XX0 was a code until 2022; I14 never was a category.
    said = refusal(level="full", codes=("O35.0XX0",))
    assert "other_releases = true takes other years'" in said
    task = IcdCoding(level="full", codes=("O35.0XX0",), other_releases=True)
    assert task.questions == (
        "Maternal care for (suspected) central nervous system malformation in fetus",
    )
    labels, _ = asked(task, stay("O350XX0"))
    assert [label.target for label in labels] == [{"O35.0XX0"}]
    assert "'I14.0' is not" in refusal(level="full", codes=("I14.0",), other_releases=True)
    assert "'o350xx0' is not" in refusal(level="full", codes=("o350xx0",), other_releases=True)

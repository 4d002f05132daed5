"""ICD-10-CM codes: one way of writing them, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import icd


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("I10", "I10"),
        ("i10", "I10"),
        ("E11.65", "E11.65"),
        ("E1165", "E11.65"),
        ("e11.65", "E11.65"),
        ("e1165", "E11.65"),
        (" n17.9 ", "N17.9"),
        ("\tI10\n", "I10"),
        ("A000", "A00.0"),
        ("C4A.0", "C4A.0"),
        ("c4a0", "C4A.0"),
        ("Z3A.01", "Z3A.01"),
        ("U07.1", "U07.1"),
        ("S72.001A", "S72.001A"),
        ("s72001a", "S72.001A"),
        ("T36.0X1A", "T36.0X1A"),
    ],
)
def test_a_code_is_written_as_icd_10_cm_prints_it(code: str, printed: str):
    assert icd.written(code) == printed


@pytest.mark.parametrize(
    "code",
    [
        "",
        " ",
        ".",
        "I",
        "I1",
        "4112",
        "04112",
        "250.00",
        "410",
        "10I",
        "II0",
        "E11..65",
        "E11.6.5",
        "E11 65",
        "E11-65",
        "S72.001AB",
        "S72001AB",
        "A00-A09",
        "I10\x00",
        "É10",
        "I1\N{ARABIC-INDIC DIGIT ZERO}",
    ],
)
def test_what_has_not_the_shape_of_a_code_is_none(code: str):
    assert icd.written(code) is None
    assert icd.at_level(code, "icd-10-cm", "category") is None
    assert icd.at_level(code, "icd-10-cm", "full") is None


@pytest.mark.parametrize("code", ["E849.0", "E880.9", "I.10", ".I10", "E1.165"])
def test_a_dot_that_is_not_after_the_third_character_is_not_icd_10_cm(code: str):
    # E849.0 and E880.9 are ICD-9 causes of injury; without the dot's place they would be read
    # as E84.90 (cystic fibrosis) and E88.09 (metabolic disorders).
    assert icd.written(code) is None
    assert icd.at_level(code, "icd-10-cm", "category") is None


@given(st.from_regex(r"[A-Z][0-9][0-9A-Z]([0-9A-Z]{0,4})", fullmatch=True))
def test_writing_is_idempotent_and_blind_to_case_dot_and_blanks(bare: str):
    printed = icd.written(bare)
    assert printed is not None
    assert printed.replace(".", "") == bare
    assert printed.find(".") == (3 if len(bare) > 3 else -1)
    for other in (printed, bare.lower(), printed.lower(), f"  {printed}\n"):
        assert icd.written(other) == printed


@pytest.mark.parametrize(
    ("code", "category", "full"),
    [
        ("e1165", "E11", "E11.65"),
        ("I10", "I10", "I10"),
        ("E11", "E11", "E11"),
        ("S72001A", "S72", "S72.001A"),
        ("E11.99", "E11", "E11.99"),  # no such code, but of a known category and of the shape
        ("Q98.123", "Q98", "Q98.123"),
        ("I14", None, None),  # the shape of a category, and ICD-10-CM has none such
        ("Z99.999", "Z99", "Z99.999"),
        ("X00.0", "X00", "X00.0"),
        ("O85.1", "O85", "O85.1"),
        ("D90.1", None, None),
        ("4112", None, None),
    ],
)
def test_at_level(code: str, category: str | None, full: str | None):
    assert icd.at_level(code, "icd-10-cm", "category") == category
    assert icd.at_level(code, "icd-10-cm", "full") == full


@pytest.mark.parametrize(
    ("code", "category", "full"),
    [
        ("I10", True, True),  # a category without subdivisions is a code itself
        ("E11.65", False, True),
        ("S72.001A", False, True),
        ("E1165", False, False),  # not as printed
        ("i10", False, False),
        ("e11.65", False, False),
        (" I10", False, False),
        ("E11.99", False, False),
        ("I14", False, False),
        ("A00-A09", False, False),  # a block
        ("1", False, False),  # a chapter
        ("", False, False),
    ],
)
def test_is_code_at_a_level(code: str, category: bool, full: bool):
    assert icd.is_code(code, "category") is category
    assert icd.is_code(code, "full") is full


def test_is_category_takes_no_code_below_it():
    assert icd.is_category("E11")
    assert not icd.is_category("E11.6")
    assert not icd.is_category("A00-B99")
    assert not icd.is_category("I14")


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("I10", "Essential (primary) hypertension"),
        ("E11", "Type 2 diabetes mellitus"),
        ("E11.65", "Type 2 diabetes mellitus with hyperglycemia"),
    ],
)
def test_title(code: str, title: str):
    assert icd.title(code) == title


def test_the_title_of_no_code_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"^I14 is not in ICD-10-CM$"):
        icd.title("I14")

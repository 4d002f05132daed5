"""ICD-9-CM, its volume 3 and ICD-10-PCS: writing their codes, their levels and what they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import icd

NINE, NINE_PROCEDURES, PCS = "icd-9-cm", "icd-9-cm-procedures", "icd-10-pcs"


@pytest.mark.parametrize(
    ("system", "code", "printed"),
    [
        (NINE, "25000", "250.00"),
        (NINE, "250.00", "250.00"),
        (NINE, "04112", "041.12"),
        (NINE, "4112", "411.2"),  # a code of its own, whatever a spreadsheet did before
        (NINE, "042", "042"),
        (NINE, " v5861\n", "V58.61"),
        (NINE, "V08", "V08"),
        (NINE, "e8490", "E849.0"),
        (NINE, "E849.0", "E849.0"),
        (NINE, "E030", "E030"),
        (NINE_PROCEDURES, "3893", "38.93"),
        (NINE_PROCEDURES, "38.93", "38.93"),
        (NINE_PROCEDURES, "0066", "00.66"),
        (NINE_PROCEDURES, "640", "64.0"),
        (NINE_PROCEDURES, "66", "66"),
        (PCS, "02hv33z", "02HV33Z"),
        (PCS, "0016070", "0016070"),
    ],
)
def test_a_code_is_written_as_its_system_prints_it(system, code, printed):
    assert icd.written(code, system) == printed


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (NINE, ""),
        (NINE, "42"),
        (NINE, "38.93"),  # volume 3
        (NINE, "2500.0"),
        (NINE, "25.000"),
        (NINE, "250.000"),
        (NINE, "250."),
        (NINE, "V5.861"),
        (NINE, "V5"),
        (NINE, "E84.90"),  # ICD-10-CM
        (NINE, "E84"),
        (NINE, "E84900"),
        (NINE, "E849.00"),
        (NINE, "I10"),
        (NINE, "M8000/3"),
        (NINE, "25\N{ARABIC-INDIC DIGIT ZERO}"),
        (NINE_PROCEDURES, "3"),
        (NINE_PROCEDURES, "389.3"),
        (NINE_PROCEDURES, "38930"),
        (NINE_PROCEDURES, "V10"),
        (PCS, "02HV33"),
        (PCS, "02HV33ZZ"),
        (PCS, "02HV3.3"),
        (PCS, "O2HV33Z"),  # the letter O
        (PCS, "I10"),
    ],
)
def test_what_has_not_the_shape_of_a_code_is_none(system, code):
    assert icd.written(code, system) is None
    assert icd.at_level(code, system, "category") is None
    assert icd.at_level(code, system, "full") is None


@given(
    st.one_of(
        st.from_regex(r"[0-9]{3,5}", fullmatch=True).map(lambda bare: (NINE, bare, 3)),
        st.from_regex(r"V[0-9]{2,4}", fullmatch=True).map(lambda bare: (NINE, bare, 3)),
        st.from_regex(r"E[0-9]{3,4}", fullmatch=True).map(lambda bare: (NINE, bare, 4)),
        st.from_regex(r"[0-9]{2,4}", fullmatch=True).map(lambda bare: (NINE_PROCEDURES, bare, 2)),
    )
)
def test_the_dot_stands_after_the_category_and_no_digit_is_lost(drawn):
    system, bare, dot = drawn
    if not bare.isascii():
        return
    printed = icd.written(bare, system)
    assert printed is not None
    assert printed.replace(".", "") == bare
    assert printed.find(".") == (dot if len(bare) > dot else -1)
    assert icd.written(printed.lower(), system) == printed


@pytest.mark.parametrize(
    ("system", "code", "levels"),
    [
        ("icd-10-cm", "E1165", ("4", "E08-E13", "E11", "E11.6", "E11.65")),
        ("icd-10-cm", "QA00142", ("17", "QA0", "QA0", "QA0.0", "QA0.0142")),
        ("icd-10-cm", "I10", ("9", "I10-I1A", "I10", "I10", "I10")),
        ("icd-10-cm", "B20", ("1", "B20", "B20", "B20", "B20")),
        ("icd-10-cm", "C50.911", ("2", "C50", "C50", "C50.9", "C50.911")),
        ("icd-10-cm", "C18.7", ("2", "C15-C26", "C18", "C18.7", "C18.7")),
        ("icd-10-cm", "W19XXXA", ("20", "W00-W19", "W19", "W19", "W19.XXXA")),
        ("icd-10-cm", "T36.0X1A", ("19", "T36-T50", "T36", "T36.0", "T36.0X1A")),
        (NINE, "25000", ("3", "249-259", "250", "250.0", "250.00")),
        (NINE, "042", ("1", "042", "042", "042", "042")),
        (NINE, "V5861", ("18", "V50-V59", "V58", "V58.6", "V58.61")),
        (NINE, "E8490", ("19", "E849", "E849", "E849.0", "E849.0")),
        (NINE, "99999", ("17", "996-999", "999", "999.9", "999.99")),  # of the shape, a category
        (NINE_PROCEDURES, "3893", ("7", None, "38", "38.9", "38.93")),
        (NINE_PROCEDURES, "1751", ("3A", None, "17", "17.5", "17.51")),
        (PCS, "02HV33Z", ("0", "02", "02H", "02HV", "02HV33Z")),
        (PCS, "3E0436Z", ("3", "3E", "3E0", "3E04", "3E0436Z")),
    ],
)
def test_at_level(system, code, levels):
    names = ("chapter", "block", "category", "subcategory", "full")
    for name, wanted in zip(names, levels, strict=True):
        if wanted is None:
            with pytest.raises(ValueError, match="has no blocks"):
                icd.at_level(code, system, name)
        else:
            assert icd.at_level(code, system, name) == wanted


@pytest.mark.parametrize(
    ("system", "code"), [(NINE, "E840.00"), (NINE, "E02"), (NINE, "09.9"), (PCS, "09Z0000")]
)
def test_what_is_of_no_category_has_no_level(system, code):
    assert icd.at_level(code, system, "chapter") is None


@pytest.mark.parametrize(
    ("system", "code", "title"),
    [
        (NINE, "0010", "Cholera due to vibrio cholerae"),
        (NINE, "584", "Acute kidney failure"),
        (NINE, "250.0", "Diabetes mellitus without mention of complication"),
        (NINE_PROCEDURES, "38.93", "Venous catheterization, not elsewhere classified"),
        (PCS, "02H", "Insertion (Heart and Great Vessels)"),
        (
            PCS,
            "02HV33Z",
            "Insertion of Infusion Device into Superior Vena Cava, Percutaneous Approach",
        ),
    ],
)
def test_title(system, code, title):
    assert icd.title(code, system) == title


@pytest.mark.parametrize(
    ("system", "level", "code", "title"),
    [
        ("icd-10-cm", "chapter", "9", "Diseases of the circulatory system"),
        ("icd-10-cm", "block", "I10-I1A", "Hypertensive diseases"),
        (
            NINE,
            "chapter",
            "18",
            "Factors influencing health status and contact with health services",
        ),
        (NINE, "block", "410-414", "Ischemic heart disease"),
        (NINE_PROCEDURES, "chapter", "13", "Obstetrical procedures"),
        (PCS, "chapter", "X", "New Technology"),
        (PCS, "block", "02", "Medical and Surgical, Heart and Great Vessels"),
    ],
)
def test_titles_of_chapters_and_blocks(system, level, code, title):
    assert icd.title(code, system, level=level) == title


def test_the_title_of_no_code_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"^99999 is not in ICD-9-CM$"):
        icd.title("99999", NINE)
    with pytest.raises(ValueError, match=r"^IX is not in ICD-10-CM$"):
        icd.title("IX", level="chapter")
    with pytest.raises(ValueError, match=r"^I14 is not in ICD-10-CM$"):
        icd.parents("I14")


@pytest.mark.parametrize(
    ("system", "code", "title"),
    [
        ("icd-10-cm", "E11.65", "Type 2 diabetes mellitus with hyperglycemia"),
        ("icd-10-cm", "E11.69Z", "Type 2 diabetes mellitus with other specified complication"),
        (NINE, "584.99", "Acute kidney failure, unspecified"),
        (PCS, "02HZZZZ", "Insertion (Heart and Great Vessels)"),
    ],
)
def test_the_nearest_title_is_of_what_stands_above(system, code, title):
    assert icd.nearest_title(code, system) == title


def test_parents_are_nearest_first():
    assert [(one.level, one.code) for one in icd.parents("S72.001A")] == [
        ("full", "S72.001"),
        ("full", "S72.00"),
        ("subcategory", "S72.0"),
        ("category", "S72"),
        ("block", "S70-S79"),
        ("chapter", "19"),
    ]
    assert [one.code for one in icd.parents("38.93", NINE_PROCEDURES)] == ["38.9", "38", "7"]


def test_inclusion_terms_and_includes_notes():
    assert "Congestive heart failure NOS" in icd.terms("I509")
    assert "high blood pressure" in icd.terms("I10")
    assert icd.terms("E11.65") == ()
    assert icd.terms("250.00", NINE) == ()

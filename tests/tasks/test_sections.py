"""Sections: what of a discharge summary was known at the admission, on hand-written summaries."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sections import known_at_admission, sections

SUMMARY = """Name: N. N.    Unit No: 1
Admission Date: 2150-01-01    Discharge Date: 2150-01-09

Allergies:
NKDA

Attending: Dr. A

Chief Complaint:
chest pain

Major Surgical or Invasive Procedure:
PCI-LATER

History of Present Illness:
68M, in the ED initial vitals: T 98. Pain since morning.

Past Medical History:
1. DM2
2. HTN

Social History:
lives alone

Family History:
father died of MI

Physical Exam:
ADMISSION PHYSICAL EXAM:
VS: 98
HEENT:
PERRL, no discharge from the eyes
DISCHARGE PHYSICAL EXAM:
VS-LATER

Pertinent Results:
TROPONIN-LATER

Brief Hospital Course:
STENT-LATER, output 500 cc: clear

Physical Exam:
WELL-LATER

Medications on Admission:
aspirin

Discharge Medications:
PLAVIX-LATER

Discharge Disposition:
Home-LATER
"""
KNOWN = (
    "chest pain",
    "NKDA",
    "68M",
    "Pain since morning",
    "DM2",
    "HTN",
    "lives alone",
    "father died of MI",
    "VS: 98",
    "no discharge from the eyes",
    "aspirin",
)


def test_what_was_known_is_kept_and_nothing_else():
    kept = known_at_admission(SUMMARY)
    assert all(words in kept for words in KNOWN)
    assert "LATER" not in kept
    assert "N. N." not in kept


@pytest.mark.parametrize(
    "spelt",
    [str.upper, str.lower, lambda text: text.replace("\n", "\r\n")],
    ids=["upper", "lower", "crlf"],
)
def test_in_capitals_without_any_and_with_other_line_ends_nothing_later_is_kept(spelt):
    kept = known_at_admission(spelt(SUMMARY))
    assert "chest pain" in kept.lower()
    assert "aspirin" in kept.lower()
    assert "later" not in kept.lower()


def test_where_line_ends_were_lost_nothing_later_is_kept():
    kept = known_at_admission(" ".join(SUMMARY.split()))
    assert "chest pain" in kept
    assert "lives alone" in kept
    assert "LATER" not in kept


@pytest.mark.parametrize(
    "heading",
    [
        "Chief Complaint:",
        "CC:",
        "REASON FOR ADMISSION:",
        "**HPI**:",
        "HPI:",
        "1. History of Presenting Illness:",
        "PMH:",
        "PAST MEDICAL HISTORY",
        "Past Medical and Surgical History:",
        "Home Medications:",
        "Medications prior to admission:",
        "Allergies/Adverse Reactions:",
        "EXAM ON ADMISSION:",
        "Physical Examination:",
        "FHx:",
        "Social and Family History:",
        "CHIEF COMPLAINT AND PRESENT ILLNESS:",
    ],
)
def test_headings_of_the_admission(heading: str):
    kept = known_at_admission(f"{heading}\nearly\n\nHospital Course:\nlate")
    assert "early" in kept
    assert "late" not in kept


@pytest.mark.parametrize(
    "heading",
    [
        "Discharge Exam:",
        "PHYSICAL EXAM AT DISCHARGE:",
        "Medications:",
        "Discharge Medications:",
        "Medications on Discharge:",
        "Pertinent Results:",
        "HOSPITAL COURSE BY PROBLEM:",
        "Assessment/Plan:",
        "Final Diagnoses:",
        "Diagnosis:",
        "CONDITION ON DISCHARGE:",
        "Condition: expired, as of",
        "Code Status:",
        "Transitional Issues:",
        "ICU COURSE",
        "Some New Heading:",
        "discharge disposition:",
        "Microbiology:",
    ],
)
def test_headings_of_what_came_later(heading: str):
    kept = known_at_admission(f"Past Medical History:\nearly\n{heading}\nlate")
    assert "early" in kept
    assert "late" not in kept


@pytest.mark.parametrize(
    "turn",
    [
        "On discharge: LATE",
        "At the time of discharge she was LATE",
        "Discharge exam LATE",
        "d/c vitals LATE",
        "D/C: LATE",
        "Prior to discharge LATE",
    ],
)
def test_an_exam_stops_where_that_of_the_discharge_begins(turn: str):
    kept = known_at_admission(f"Physical Exam:\nearly, no discharge from the wound\n{turn}")
    assert "early, no discharge from the wound" in kept
    assert "LATE" not in kept


def test_a_discharge_before_this_stay_is_part_of_the_present_illness():
    text = "HPI:\nShe was discharged on Monday and came back."
    assert "came back" in known_at_admission(text)


@pytest.mark.parametrize(
    "heading",
    [
        "Final Diagnosis",
        "Final diagnosis",
        "Medications at Discharge",
        "Condition on Discharge",
        "Disposition",
        "Outcome",
        "Death Summary",
        "Follow up",
        "Course in Hospital",
        "Clinical Course",
        "ICU Course",
        "Summary of Hospitalization",
        "Hospitalization Summary",
        "Epicrisis",
        "== Hospital Stay ==",
        "Pertinent Results",
        "Procedures",
        "Major Surgical or Invasive Procedure",
        "Discharge Rx",
        "D/C Meds",
        "major surgical or invasive procedure",
        "5. Final Diagnosis",
        "**Final Diagnosis**",
        "Something Nobody Knows",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_heading_without_a_colon_ends_a_section(heading: str, end: str):
    text = f"History of Present Illness:\nearly\n\n{heading}\nLATE\n\nLATE as well"
    kept = known_at_admission(text.replace("\n", end))
    assert "early" in kept
    assert "LATE" not in kept


def test_a_heading_without_a_colon_opens_a_section():
    kept = known_at_admission("Hospital Course\nLATE\n\nFamily History\nearly\n\nOutcome\nLATE")
    assert "early" in kept
    assert "LATE" not in kept


@pytest.mark.parametrize(
    "body",
    [
        "Hypertension\nDiabetes Mellitus\nAtrial Fibrillation",
        "\nHypertension\nDiabetes Mellitus",
        "1. Hypertension\n\n2. Diabetes Mellitus",
        "- Hypertension\n\n- Diabetes Mellitus",
        "He has diabetes.\n\nShe says otherwise of it.",
        "ESRD on HD 3x/week, HD 3 times weekly",
    ],
)
def test_a_list_of_a_section_is_no_row_of_headings(body: str):
    assert known_at_admission(f"Past Medical History:\n{body}").endswith(body.strip())


@pytest.mark.parametrize(
    "line",
    [
        "HD3: transferred to MICU",
        "# Sepsis: intubated on HD2",
        "Micro: MRSA grew on HD4",
        "Extubated POD #2",
        "Dialysed until hospital day 7",
        "Intubated, dead on discharge",
        "Felt well at discharge",
        "Sent upon discharge to a home",
    ],
)
def test_a_line_of_a_later_day_ends_a_section(line: str):
    assert known_at_admission(f"HPI:\nearly\n{line}\nLATE") == "HPI:\nearly"
    within = known_at_admission(f"HPI:\nearly. {line}\nLATE")
    assert within in {"HPI:\nearly.", ""}


def test_an_exam_behind_the_hospital_course_is_read_only_where_it_says_admission():
    course = "Hospital Course:\nlate\n"
    assert known_at_admission(course + "Physical Exam:\nlate") == ""
    assert "early" in known_at_admission(course + "Admission Exam:\nearly")


def test_a_second_exam_is_not_read():
    kept = known_at_admission("Physical Exam:\nearly\nAllergies:\nnone\nPhysical Exam:\nlate")
    assert "early" in kept
    assert "late" not in kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "She came with chest pain and went home.",
        "pmh\nold things\nevents: a stent",
        "Hospital Course:\nall of it",
        "History of Present Illness:\n\nHospital Course:\nall of it",
        "Physical Exam:\nDischarge: well",
    ],
)
def test_without_a_section_known_at_admission_there_is_nothing(text: str):
    assert known_at_admission(text) == ""


@given(st.text(max_size=300))
def test_sections_lie_in_order_within_the_text(text: str):
    found = sections(text)
    assert all(0 <= part.start <= part.end <= len(text) for part in found)
    assert all(one.end <= two.start for one, two in pairwise(found))


HEADS = ["Chief Complaint:", "Hospital Course:", "Family History:", "Discharge Exam:", "Labs:"]


@given(st.lists(st.tuples(st.sampled_from(HEADS), st.sampled_from(["\n", " "])), max_size=8))
def test_a_word_is_kept_exactly_where_it_stands_under_a_heading_of_the_admission(heads):
    text = "\n".join(f"{head}{gap}word{n}x" for n, (head, gap) in enumerate(heads))
    kept = known_at_admission(text)
    for n, (head, _) in enumerate(heads):
        assert (f"word{n}x" in kept) == (head in {"Chief Complaint:", "Family History:"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["A" * 69 + ",\n", "a b ", "Physical Exam ", "\n \n", "discharge  "]
)
def test_a_megabyte_takes_seconds(piece: str):
    began = time.monotonic()
    known_at_admission("HPI:\n" + piece * (1_000_000 // len(piece)))
    assert time.monotonic() - began < 60

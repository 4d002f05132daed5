"""Outcomes of synthetic hospitals: consistent with the stays, and drawn apart from the notes."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.sources.source import Attrition
from client.sources.synthetic.outcomes import FOLLOWED_UNTIL
from client.sources.synthetic.source import SyntheticSource
from client.sources.synthetic.styles import STYLES, StyleName
from tasks.records import Patient


def hospital(style: StyleName = "headed", **fields: object) -> SyntheticSource:
    return SyntheticSource.model_validate(
        {"hospital": "Northfield", "patient_count": 800, "style": style} | fields
    )


def patients(source: SyntheticSource) -> list[Patient]:
    return list(source.patients(root=Path(), attrition=Attrition()))


@pytest.fixture(scope="module")
def everybody() -> list[Patient]:
    return patients(hospital())


def test_deaths_agree_with_the_stays(everybody):
    for patient in everybody:
        assert patient.deaths_known
        assert [stay.died for stay in patient.stays[:-1]] == [False] * (len(patient.stays) - 1)
        last = patient.stays[-1]
        if last.died:
            assert patient.died == last.discharged
        elif patient.died is not None:
            assert last.discharged < patient.died
    after = [p for p in everybody if p.died is not None and not p.stays[-1].died]
    assert 20 < len(after) < 120


def test_every_stay_ends_before_the_hospital_looks_away(everybody):
    latest = max(stay.discharged for patient in everybody for stay in patient.stays)
    assert latest < FOLLOWED_UNTIL
    assert all(patient.followed_until == FOLLOWED_UNTIL for patient in everybody)


def test_an_undecided_claim_is_missing_and_never_false(everybody):
    stays = [stay for patient in everybody for stay in patient.stays]
    undecided = [stay for stay in stays if "denied" not in stay.facts]
    assert 0.05 < len(undecided) / len(stays) < 0.15
    assert all("decided" not in stay.times for stay in undecided)
    decided = [stay for stay in stays if "denied" in stay.facts]
    assert all(stay.times["decided"] > stay.discharged for stay in decided)
    assert 0.05 < sum(stay.facts["denied"] for stay in decided) / len(decided) < 0.25


def test_planned_stays_are_few_and_surgical(everybody):
    stays = [stay for patient in everybody for stay in patient.stays]
    planned = [stay for stay in stays if stay.planned]
    assert 0.03 < len(planned) / len(stays) < 0.15
    assert {stay.facts["ward"] for stay in planned} <= {"surgical", "intensive care"}


@pytest.mark.parametrize("style", list(STYLES))
def test_an_admission_note_knows_nothing_of_the_end(style):
    for patient in patients(hospital(style, admission_notes=True, patient_count=60)):
        admission = {note.at: note for note in patient.notes if note.kind == "admission"}
        assert len(admission) == len(patient.stays)
        for stay in patient.stays:
            text = admission[stay.admitted].text.lower()
            assert stay.discharged.strftime(STYLES[style].date).lower() not in text
            for telling in (" died", "expired", "discharge", "went home", "passed away"):
                assert telling not in text


def test_admission_notes_change_no_other_note_and_no_code():
    without = patients(hospital(patient_count=60))
    with_them = patients(hospital(patient_count=60, admission_notes=True))
    for one, other in zip(without, with_them, strict=True):
        assert one.stays == other.stays
        assert one.notes == tuple(n for n in other.notes if n.kind != "admission")


def test_falls_and_infections_are_rare_and_always_said(everybody):
    stays = [stay for patient in everybody for stay in patient.stays]
    for event in ("fall", "infection"):
        assert 0.005 < sum(stay.facts[event] for stay in stays) / len(stays) < 0.15

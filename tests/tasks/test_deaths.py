"""in-hospital-mortality and mortality-30d, and how it is known that a patient died."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from outcomes import answers, asked, day, patient, stay

from tasks.death import without_death
from tasks.in_hospital_mortality import InHospitalMortality
from tasks.mortality_30d import Mortality30d
from tasks.outcome import died_in_hospital

UNKNOWN = "stays whose outcome the source does not say"
INSTANT = timedelta(microseconds=1)


def midnight(number: float) -> datetime:
    return day(number).replace(hour=0)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({}, None),
        ({"deaths_known": True}, False),
        ({"died": day(3)}, True),
        ({"died": day(5)}, True),
        ({"died": day(5) + INSTANT}, False),
        ({"died": midnight(4)}, True),
        ({"died": midnight(0)}, True),
        ({"died": midnight(5)}, None),
        ({"died": midnight(6)}, False),
        ({"died": day(0) - INSTANT}, None),
        ({"died": midnight(-1)}, None),
    ],
)
def test_where_the_stay_does_not_say_the_patients_death_may(
    said: dict[str, Any], answer: bool | None
):
    silent = stay(died=None)
    assert died_in_hospital(patient(silent, **said), silent) is answer


@pytest.mark.parametrize("told", [True, False])
def test_what_the_stay_says_goes_before_the_patients_death(told: bool):
    one = stay(died=told)
    assert died_in_hospital(patient(one, died=day(3), deaths_known=True), one) is told


def test_the_same_death_in_another_zone_is_the_same():
    silent = stay(died=None)
    west = timezone(timedelta(hours=-8))
    died = (day(5) + INSTANT).astimezone(west)
    assert died_in_hospital(patient(silent, died=died), silent) is False


# --- In hospital ------------------------------------------------------------------------------


def test_in_hospital_it_is_asked_at_the_admission_without_what_tells_the_death():
    task = InHospitalMortality()
    labels, rules = asked(task, stay(died=False), stay(10, 12, died=True))
    assert [sorted(label.target) for label in labels] == [[], ["died"]]
    assert [label.at for label in labels] == [day(0), day(10)]
    assert all(label.stay == label.summary_of is not None for label in labels)
    assert all(label.view is without_death for label in labels)
    assert not rules
    assert not task.exclusive


def test_in_hospital_births_and_unknown_ends_are_left_out_by_rule():
    labels, rules = asked(
        InHospitalMortality(),
        stay(died=None),
        stay(10, 12, newborn=True),
        stay(20, 22, newborn=None),
    )
    assert [label.at for label in labels] == [day(20)]
    assert rules == {
        UNKNOWN: 1,
        "stays of a birth": 1,
        "stays that may be of a birth, the source does not say (kept)": 1,
    }


# --- Within 30 days ---------------------------------------------------------------------------

YES, NO = ["died-within-30-days"], []


@pytest.mark.parametrize(
    ("died", "answer"),
    [
        (day(5) + INSTANT, YES),
        (midnight(5), YES),
        (day(35), YES),
        (day(35) + INSTANT, NO),
        (day(400), NO),
    ],
)
def test_thirty_days_after_the_discharge_are_in_time_and_no_more(died: datetime, answer: list[str]):
    assert answers(Mortality30d(), stay(), died=died) == [answer]


def test_no_known_death_is_no_answer_where_the_source_learns_of_none():
    assert asked(Mortality30d(), stay()) == ([], {UNKNOWN: 1})
    assert answers(Mortality30d(), stay(), deaths_known=True) == [NO]
    assert asked(Mortality30d(), stay(died=None)) == ([], {UNKNOWN: 1})


def test_a_death_in_hospital_is_left_out():
    assert asked(Mortality30d(), stay(died=True), died=day(5)) == (
        [],
        {"stays that ended in death": 1},
    )


@pytest.mark.parametrize(("until", "kept"), [(34.9, 0), (35, 1), (100, 1)])
def test_who_was_not_followed_for_thirty_days_is_left_out(until: float, kept: int):
    labels, rules = asked(Mortality30d(), stay(), deaths_known=True, followed_until=day(until))
    assert len(labels) == kept
    assert rules == ({} if kept else {"stays not followed for 30 days": 1})


def test_a_death_seen_is_an_answer_however_long_was_followed():
    assert answers(Mortality30d(), stay(), died=day(9), followed_until=day(9)) == [YES]


def test_a_death_dated_before_the_end_of_a_stay_left_alive_is_no_answer():
    assert asked(Mortality30d(), stay(), died=day(2)) == (
        [],
        {"stays with a death dated before their end, which did not end in death": 1},
    )


def test_each_stay_is_asked_about_at_its_discharge():
    labels, _ = asked(Mortality30d(), stay(), stay(50, 60), died=day(70))
    assert [(label.at, sorted(label.target)) for label in labels] == [(day(5), NO), (day(60), YES)]
    assert all(label.view is None is label.summary_of for label in labels)

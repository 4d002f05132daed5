"""in-hospital-mortality and mortality-30d, and how it is known that a patient died."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from outcomes import answers, asked, day, patient, stay

from tasks.death import without_death
from tasks.in_hospital_mortality import InHospitalMortality
from tasks.mortality_30d import Mortality30d
from tasks.outcome import died_in_hospital
from tasks.readmission import Readmission
from tasks.records import Patient, Stay

UNKNOWN = "stays whose outcome the source does not say"
INSTANT = timedelta(microseconds=1)


def midnight(number: float) -> datetime:
    return day(number).replace(hour=0)


def day_alone(number: float) -> dict[str, datetime]:
    """A death known by its day, in UTC."""
    return {"died": midnight(number + 1) - INSTANT, "died_from": midnight(number)}


ZONES = pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Madrid", "America/New_York", "Pacific/Auckland"]
)


def january(zone: str, number: int, hour: int = 0) -> datetime:
    return datetime(2020, 1, number, hour, tzinfo=ZoneInfo(zone)).astimezone(ZoneInfo("UTC"))


def dead_on(zone: str, number: int, *, died: bool | None = None, end: datetime | None = None):
    """A stay from the 5th to the 9th, and a death known by its day; all as the zone has it."""
    one = Stay("s", january(zone, 5, 14), end or january(zone, 9, 11), died=died, newborn=False)
    known = {"died": january(zone, number + 1) - INSTANT, "died_from": january(zone, number)}
    return Patient("p", (one,), (), **known)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({}, None),
        ({"deaths_known": True}, False),
        ({"died": day(3)}, True),
        ({"died": day(5)}, True),
        ({"died": day(5) + INSTANT}, False),
        ({"died": midnight(5)}, True),
        ({"died": midnight(0)}, None),
        (day_alone(4), True),
        (day_alone(0), True),
        (day_alone(5), None),
        (day_alone(6), False),
        ({"died": day(0) - INSTANT}, None),
        (day_alone(-1), None),
    ],
)
def test_where_the_stay_does_not_say_the_patients_death_may(
    said: dict[str, Any], answer: bool | None
):
    silent = stay(died=None)
    assert died_in_hospital(patient(silent, **said), silent) is answer


@ZONES
@pytest.mark.parametrize(
    ("number", "answer"), [(4, None), (5, True), (7, True), (9, None), (10, False)]
)
def test_a_death_known_by_its_day_is_the_same_in_every_zone(
    zone: str, number: int, answer: bool | None
):
    one = dead_on(zone, number)
    assert died_in_hospital(one, one.stays[0]) is answer


@ZONES
def test_of_a_stay_and_a_death_known_by_the_same_day_nobody_can_say(zone: str):
    one = dead_on(zone, 9, end=january(zone, 10) - INSTANT)
    assert died_in_hospital(one, one.stays[0]) is None


@ZONES
@pytest.mark.parametrize(
    ("number", "kept"), [(5, None), (8, None), (9, True), (10, True), (30, True)]
)
def test_after_a_stay_left_alive_a_day_counts_from_the_discharges_on(
    zone: str, number: int, kept: bool | None
):
    labels = list(Mortality30d().labels(dead_on(zone, number, died=False), lambda _: None))
    assert [bool(label.target) for label in labels] == ([] if kept is None else [kept])


@ZONES
@pytest.mark.parametrize(("number", "kept"), [(11, 1), (12, 0)])
def test_the_last_day_on_which_a_death_explains_that_nobody_came_back(
    zone: str, number: int, kept: int
):
    one = replace(dead_on(zone, number, died=False), followed_until=january(zone, 9, 12))
    assert len(list(Readmission(days=2).labels(one, lambda _: None))) == kept


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
    ("said", "answer"),
    [
        ({"died": day(5)}, YES),
        ({"died": day(5) + INSTANT}, YES),
        ({"died": day(35)}, YES),
        ({"died": day(35) + INSTANT}, NO),
        ({"died": day(400)}, NO),
        (day_alone(5), YES),
        (day_alone(35), YES),
        (day_alone(36), NO),
    ],
)
def test_thirty_days_after_the_discharge_are_in_time_and_no_more(
    said: dict[str, datetime], answer: list[str]
):
    assert answers(Mortality30d(), stay(), **said) == [answer]


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
    rule = "stays with a death dated before their end, which did not end in death"
    for said in ({"died": day(2)}, {"died": day(5) - INSTANT}, day_alone(4)):
        assert asked(Mortality30d(), stay(), **said) == ([], {rule: 1})


def test_each_stay_is_asked_about_at_its_discharge():
    labels, _ = asked(Mortality30d(), stay(), stay(50, 60), died=day(70))
    assert [(label.at, sorted(label.target)) for label in labels] == [(day(5), NO), (day(60), YES)]
    assert all(label.view is None is label.summary_of for label in labels)

"""readmission: what counts as coming back, what is left out, at the borders."""

from __future__ import annotations

from datetime import timedelta

import pytest
from outcomes import answers, asked, day, stay
from pydantic import ValidationError

from tasks.readmission import Readmission

YES, NO = ["readmitted"], []
INSTANT = 1e-6 / 86_400 * 2
FOLLOWED = {"followed_until": day(1000)}


@pytest.mark.parametrize(
    ("gap", "answer"), [(1, YES), (30, YES), (30 + INSTANT, NO), (0.001, YES), (60, NO)]
)
def test_thirty_days_after_the_discharge_are_in_time_and_no_more(gap: float, answer: list[str]):
    found = answers(Readmission(), stay(0, 5), stay(5 + gap, 5 + gap + 1), **FOLLOWED)
    assert found == [answer, NO]


def test_days_are_a_field():
    stays = stay(0, 5), stay(12, 13)
    assert answers(Readmission(days=7), *stays, **FOLLOWED)[0] == YES
    assert answers(Readmission(days=6), *stays, **FOLLOWED)[0] == NO
    with pytest.raises(ValidationError):
        Readmission(days=0)


def test_a_planned_stay_is_skipped_and_it_is_looked_further():
    planned = stay(8, 9, planned=True)
    assert answers(Readmission(), stay(), planned, **FOLLOWED) == [NO, NO]
    assert answers(Readmission(), stay(), planned, stay(20, 21), **FOLLOWED) == [YES, YES, NO]
    assert answers(Readmission(), stay(), planned, stay(40, 41), **FOLLOWED)[0] == NO


def test_a_planned_stay_is_asked_about_like_any_other():
    assert answers(Readmission(), stay(planned=True), stay(8, 9), **FOLLOWED)[0] == YES


def test_a_stay_not_said_to_be_planned_or_not_decides_nothing_or_counts():
    stays = stay(), stay(8, 9, planned=None)
    labels, rules = asked(Readmission(), *stays, **FOLLOWED)
    assert [label.at for label in labels] == [day(9)]
    assert rules == {
        "stays followed by another of which nobody says whether it was planned": 1,
    }
    assert answers(Readmission(unstated="count"), *stays, **FOLLOWED) == [YES, NO]


def test_an_unplanned_stay_in_time_decides_whatever_the_others_are():
    stays = stay(), stay(8, 9, planned=None), stay(20, 21)
    assert answers(Readmission(), *stays, **FOLLOWED)[0] == YES


def test_a_stay_that_is_not_in_time_need_not_be_planned_or_not():
    assert answers(Readmission(), stay(), stay(50, 51, planned=None), **FOLLOWED)[0] == NO


def test_deaths_births_and_unknown_ends_are_left_out_by_rule():
    labels, rules = asked(
        Readmission(),
        stay(0, 1, newborn=True),
        stay(2, 3, died=None),
        stay(4, 5, died=True),
        **FOLLOWED,
    )
    assert not labels
    assert rules == {
        "stays of a birth": 1,
        "stays whose outcome the source does not say": 1,
        "stays that ended in death": 1,
    }


def test_a_stay_not_said_to_be_of_a_birth_is_kept_and_counted():
    labels, rules = asked(Readmission(), stay(newborn=None), **FOLLOWED)
    assert len(labels) == 1
    assert rules == {"stays that may be of a birth, the source does not say (kept)": 1}


@pytest.mark.parametrize("until", [5, 20, 35 - INSTANT])
def test_without_following_for_long_enough_there_is_no_answer_but_yes(until: float):
    labels, rules = asked(Readmission(), stay(), followed_until=day(until))
    assert not labels
    assert rules == {"stays not followed for 30 days": 1}
    assert answers(Readmission(), stay(), stay(8, 9), followed_until=day(until)) == [YES]


def test_followed_to_the_very_border_is_enough():
    assert answers(Readmission(), stay(), followed_until=day(35)) == [NO]


def test_who_died_meanwhile_did_not_come_back():
    assert answers(Readmission(), stay(), followed_until=day(10), died=day(9)) == [NO]


def test_a_source_that_does_not_say_how_long_it_follows_is_believed_and_counted():
    labels, rules = asked(Readmission(), stay())
    assert len(labels) == 1
    assert rules == {"stays that may not be followed for 30 days (kept)": 1}


@pytest.mark.parametrize("begins", [2, 5], ids=["during it", "at its very end"])
def test_a_transfer_is_one_time_in_hospital_and_only_its_end_is_asked_about(begins: float):
    labels, rules = asked(Readmission(), stay(0, 5), stay(begins, 9), stay(20, 21), **FOLLOWED)
    assert [(label.at, sorted(label.target)) for label in labels] == [(day(9), YES), (day(21), NO)]
    assert rules == {"stays that go on in another stay": 1}


def test_a_stay_within_another_follows_nothing():
    labels, rules = asked(Readmission(), stay(0, 9), stay(2, 4), **FOLLOWED)
    assert [(label.at, sorted(label.target)) for label in labels] == [(day(9), NO)]
    assert rules == {"stays that go on in another stay": 1}


def test_two_visits_of_no_length_at_the_same_time_do_not_follow_each_other():
    twice = stay(3, 3), stay(3, 3, id="again")
    assert answers(Readmission(), *twice, **FOLLOWED) == [NO, NO]


def test_it_is_asked_at_the_discharge_and_reads_this_stay():
    [label], _ = asked(Readmission(), stay(), **FOLLOWED)
    assert (label.at, label.stay, label.summary_of) == (day(5), "stay-0", None)
    assert label.at - timedelta(days=5) == day(0)


def test_it_is_one_yes_or_no():
    task = Readmission(days=14)
    assert not task.exclusive
    assert task.outputs == ("readmitted",)
    assert len(task.questions) == 1
    assert "14 days" in task.summary
    assert "14 days" in task.questions[0]

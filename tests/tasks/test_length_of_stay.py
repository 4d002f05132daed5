"""length-of-stay: its spans and their borders."""

from __future__ import annotations

import pytest
from outcomes import answers, asked, day, stay
from pydantic import ValidationError

from tasks.length_of_stay import LengthOfStay

REMEDE = (2, 3, 5)
INSTANT = 1e-6 / 86_400 * 2


@pytest.mark.parametrize(
    ("days", "span"),
    [
        (0, "to-3-days"),
        (3, "to-3-days"),
        (3 + INSTANT, "over-3-to-7-days"),
        (7, "over-3-to-7-days"),
        (7.5, "over-7-to-14-days"),
        (14, "over-7-to-14-days"),
        (14 + INSTANT, "over-14-days"),
        (300, "over-14-days"),
    ],
)
def test_a_span_holds_its_upper_border(days: float, span: str):
    assert answers(LengthOfStay(), stay(0, days)) == [[span]]


def test_the_spans_of_remede():
    task = LengthOfStay(upper_days=REMEDE)
    assert task.outputs == ("to-2-days", "over-2-to-3-days", "over-3-to-5-days", "over-5-days")
    assert answers(task, stay(0, 2), stay(10, 13), stay(20, 24), stay(30, 36)) == [
        [output] for output in task.outputs
    ]


@pytest.mark.parametrize("borders", [(1,), (3, 7, 14), REMEDE, tuple(range(1, 51))])
def test_one_output_more_than_borders_and_a_question_for_each(borders: tuple[int, ...]):
    task = LengthOfStay(upper_days=borders)
    assert task.exclusive
    assert len(task.outputs) == len(set(task.outputs)) == len(borders) + 1
    assert len(task.questions) == len(set(task.questions)) == len(borders) + 1


@pytest.mark.parametrize("borders", [(), (0, 1), (3, 3), (7, 3), tuple(range(1, 52)), (-1,)])
def test_borders_that_do_not_rise_are_refused(borders: tuple[int, ...]):
    with pytest.raises(ValidationError, match="upper_days"):
        LengthOfStay(upper_days=borders)


def test_deaths_and_unknown_ends_are_left_out():
    labels, rules = asked(LengthOfStay(), stay(died=True), stay(10, 12, died=None), stay(20, 21))
    assert [label.at for label in labels] == [day(20)]
    assert labels[0].summary_of == labels[0].stay == "stay-20"
    assert rules == {
        "stays that ended in death": 1,
        "stays whose outcome the source does not say": 1,
    }

"""flag and claim-denial: a column as a label; missing is missing."""

from __future__ import annotations

from typing import Any

import pytest
from outcomes import answers, asked, day, stay
from pydantic import ValidationError

from privacy.spec import one_line
from tasks.claim_denial import ClaimDenial
from tasks.flag import Flag


def refusal(**table: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Flag.model_validate(table)
    return one_line(caught.value)


def test_a_yes_or_no_is_one_output_and_missing_is_missing():
    task = Flag(column="sepsis")
    labels, rules = asked(
        task,
        stay(0, 1, facts={"sepsis": True}),
        stay(2, 3, facts={"sepsis": False}),
        stay(4, 5),
        stay(6, 7, facts={"sepsis": "yes"}),
        stay(8, 9, facts={"other": True}),
    )
    assert [sorted(label.target) for label in labels] == [["sepsis"], []]
    assert rules == {"stays without 'sepsis'": 2, "stays whose 'sepsis' is not a yes or no": 1}
    assert not task.exclusive


def test_of_a_category_one_declared_class_is_true():
    task = Flag(column="stage", values=("I", "II", "III"))
    labels, rules = asked(
        task,
        stay(0, 1, facts={"stage": "II"}),
        stay(2, 3, facts={"stage": "IV"}),
        stay(4, 5, facts={"stage": True}),
        stay(6, 7),
    )
    assert [sorted(label.target) for label in labels] == [["II"]]
    assert rules == {
        "stays whose 'stage' is none of the study's classes": 2,
        "stays without 'stage'": 1,
    }
    assert task.exclusive
    assert task.outputs == ("I", "II", "III")


def test_no_rule_names_a_value():
    _, rules = asked(Flag(column="x", values=("a", "b")), stay(facts={"x": "Jane-Doe-4711"}))
    assert "Jane" not in str(rules)


@pytest.mark.parametrize(
    ("at", "time"), [("admission", day(0)), ("discharge", day(5)), ("icu", day(2))]
)
def test_it_is_asked_at_a_named_time(at: str, time: Any):
    labels, _ = asked(Flag(column="x", at=at), stay(facts={"x": True}, times={"icu": day(2)}))
    assert [label.at for label in labels] == [time]
    assert [label.stay for label in labels] == ["stay-0"]
    assert [label.summary_of for label in labels] == ["stay-0" if at == "admission" else None]


def test_a_stay_without_the_time_is_left_out():
    assert asked(Flag(column="x", at="icu"), stay(facts={"x": True})) == (
        [],
        {"stays without the time 'icu'": 1},
    )


def test_questions_are_given_or_made_of_the_names():
    assert Flag(column="x").questions == ("x",)
    assert Flag(column="x", values=("a", "b")).questions == ("x: a", "x: b")
    assert Flag(column="x", meanings=("The patient has x.",)).questions == ("The patient has x.",)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"column": "x", "values": ["a"]}, "two classes at least"),
        ({"column": "x", "values": ["a", "a"]}, "a class stands twice"),
        ({"column": "x", "meanings": ["a", "b"]}, "one for each of the 1 outputs"),
        ({"column": "x", "values": ["a", "b"], "meanings": ["a"]}, "each of the 2 outputs"),
        ({"column": ""}, "column:"),
        ({"column": "x\n"}, "column:"),
        ({"column": "x", "values": ["a", "\x1b"]}, "values.1:"),
        ({}, "column:"),
    ],
)
def test_what_does_not_fit_is_refused(table: dict[str, Any], said: str):
    assert said in refusal(**table)


def test_a_denied_claim():
    labels, rules = asked(
        ClaimDenial(),
        stay(0, 1, facts={"denied": True}),
        stay(2, 3, facts={"denied": False}),
        stay(4, 5),
        stay(6, 7, facts={"denied": "no"}),
    )
    assert [sorted(label.target) for label in labels] == [["denied"], []]
    assert [label.summary_of for label in labels] == ["stay-0", "stay-2"]
    assert rules == {
        "stays without a decision on their claim": 1,
        "stays whose 'denied' is not a yes or no": 1,
    }
    assert answers(ClaimDenial(), stay()) == []

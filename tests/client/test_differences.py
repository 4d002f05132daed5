"""Differences: nothing that differs is hidden, and studies that ask almost the same are found."""

from __future__ import annotations

import pytest
from builders import CODES, study_table

from client.differences import Change, changes, near
from tasks import icd
from tasks.study import Study

MANY = tuple(
    code
    for letter in "AB"
    for number in range(100)
    if icd.is_category(code := f"{letter}{number:02}")
)


def asking(*codes: str, kinds: tuple[str, ...] = (), hours: int = 72, **changed: object) -> Study:
    task = {
        "kind": "icd-coding",
        "codes": list(codes),
        "note_kinds": list(kinds),
        "hours_after_discharge": hours,
    }
    return Study.parse_table(study_table(task=task, **changed), where="study")


def test_one_code_of_many_that_was_swapped_is_told_from_the_rest():
    swapped = [*MANY[:70], "I10", *MANY[71:]]
    assert changes(asking(*MANY), asking(*swapped)) == [
        Change(key="task.codes", put_in=("I10",), taken_out=(MANY[70],), same=len(MANY) - 1)
    ]


def test_another_order_is_told_as_such_and_hides_no_swap():
    (moved,) = changes(asking("I10", "E11", "I50"), asking("E11", "I10", "I50"))
    assert (moved.moved, moved.same, moved.put_in, moved.taken_out) == (True, 3, (), ())
    (both,) = changes(asking("I10", "E11", "I50"), asking("N17", "E11", "I10"))
    assert (both.moved, both.put_in, both.taken_out) == (True, ("N17",), ("I50",))


def test_an_item_that_stands_more_often_is_a_change():
    (twice,) = changes(asking("I10", kinds=("a",)), asking("I10", kinds=("a", "a")))
    assert (twice.put_in, twice.same) == (("a",), 1)


def test_all_that_is_no_list_has_both_values_whole():
    long = "x" * 299
    found = changes(asking("I10"), asking("I10", rounds=7, about={"purpose": long}))
    assert [(one.key, one.before, one.now, one.same) for one in found] == [
        ("about.purpose", '""', f'"{long}"', None),
        ("rounds", "2", "7", None),
    ]


def test_a_key_that_one_study_lacks_is_a_change():
    dp = {"kind": "dp-sgd", "epsilon": 8.0, "clip": 0.5}
    found = {
        one.key: one
        for one in changes(asking("I10", privacy={"kind": "off"}), asking("I10", privacy=dp))
    }
    assert (found["privacy.clip"].before, found["privacy.clip"].now) == (None, "0.5")


@pytest.mark.parametrize(
    ("other", "put_in", "taken_out", "keys"),
    [
        (asking(*CODES[:-1]), (CODES[-1],), (), ()),
        (asking(*CODES, "A41"), (), ("A41",), ()),
        (asking(*CODES, hours=73), (), (), ("task.hours_after_discharge",)),
        (asking(*CODES, kinds=("discharge",)), (), (), ("task.note_kinds",)),
        (asking(*CODES, bag={"stays": 3, "chunks": 6}), (), (), ("bag.stays",)),
        (asking(*CODES[1:], hours=0, seed=9), (CODES[0],), (), ("task.hours_after_discharge",)),
    ],
)
def test_a_study_that_asks_almost_the_same_is_near(other, put_in, taken_out, keys):
    found = near(other, asking(*CODES))
    assert found is not None
    assert (found.study, found.digest) == (other.name, other.digest)
    assert (found.put_in, found.taken_out, found.keys) == (put_in, taken_out, keys)


@pytest.mark.parametrize(
    "other",
    [
        asking(*CODES, seed=9, rounds=1),  # counts the very same
        asking(*reversed(CODES)),
        asking("A41", "A49"),  # shares nothing
        asking(CODES[0], "A01", "A02", "A03", "A04"),
    ],
)
def test_a_study_that_counts_the_same_or_something_else_is_not_near(other):
    assert near(other, asking(*CODES)) is None


def test_few_is_a_tenth_of_many_codes():
    tenth = len(MANY) // 10
    found = near(asking(*MANY[tenth:]), asking(*MANY))
    assert found is not None
    assert (found.put_in, found.taken_out, found.keys) == (MANY[:tenth], (), ())
    assert near(asking(*MANY[tenth + 1 :]), asking(*MANY)) is None

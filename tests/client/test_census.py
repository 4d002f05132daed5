"""The census: what a source holds, with small counts hidden."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.census import KEPT, Taking, askable, shares
from client.sources.source import Attrition
from client.sources.synthetic.source import SyntheticSource
from tasks.icd_coding import IcdCoding

CODING = IcdCoding(codes=("I10", "I50"), note_kinds=("discharge",))
counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 40), max_size=6)


def census(*, floor: int, number: int = 40, **tasks):
    taking, attrition = Taking(tasks), Attrition()
    source = SyntheticSource(hospital="Northfield", patient_count=number)
    patients = list(taking.through(source.patients(root=Path(), attrition=attrition)))
    attrition.add("notes without text", "a.jsonl line 3", 2)
    return patients, taking.done(attrition, floor=floor)


def test_without_a_floor_everything_is_counted():
    patients, found = census(floor=0, coding=CODING)
    stays = [stay for patient in patients for stay in patient.stays]
    assert (found.patients, found.stays) == (40, len(stays))
    assert found.codes == {"icd-10-cm": sum(len(stay.codes) for stay in stays)}
    assert sum(filter(None, found.notes.values())) == sum(len(p.notes) for p in patients)
    assert found.left_out == {"notes without text": 2}
    assert found.first == {"notes without text": "a.jsonl line 3"}
    [task] = found.tasks
    assert (task.kind, task.counts[KEPT]) == ("coding", len(stays))
    years = [stay.admitted.year for stay in stays]
    assert found.years == (min(years), max(years))


def test_small_counts_are_hidden_everywhere():
    _, found = census(floor=10_000, coding=CODING)
    assert (found.patients, found.stays, found.years) == (None, None, None)
    shown = [*found.notes.values(), *found.codes.values(), *found.left_out.values()]
    shown += [count for task in found.tasks for count in task.counts.values()]
    assert set(shown) == {None}


def test_a_year_that_few_began_in_is_not_named():
    _, found = census(floor=4)
    _, all_of_them = census(floor=0)
    assert found.years is not None
    assert all_of_them.years is not None
    assert all_of_them.years[0] <= found.years[0] <= found.years[1] <= all_of_them.years[1]
    assert found.years != all_of_them.years


@given(counts, st.integers(0, 30))
def test_no_hidden_count_follows_from_the_total(given_, floor):
    shown = shares(given_, floor)
    assert set(shown) == set(given_)
    assert all(shown[name] in {given_[name], None} for name in given_)
    assert not any(0 < (number or 0) < floor for number in shown.values())
    hidden = [name for name, number in shown.items() if number is None]
    # One alone would be the total without the others, unless nothing else is there to hide it.
    assert len(hidden) != 1 or all(given_[name] == 0 for name in given_ if name != hidden[0])


def test_every_task_that_needs_no_study_is_asked():
    found = askable()
    assert "icd-coding" not in found
    assert all(kind == task.kind for kind, task in found.items())


@pytest.mark.parametrize("floor", [0, 1])
def test_a_floor_of_nothing_hides_nothing(floor):
    assert shares({"a": 1, "b": 0}, floor) == {"a": 1, "b": 0}

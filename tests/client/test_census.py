"""The census: what a source holds, with small counts hidden."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.census import KEPT, MOST_KINDS, Taking, _parted, askable, shares
from client.sources.source import Attrition
from client.sources.synthetic.source import SyntheticSource
from tasks.icd_coding import IcdCoding
from tasks.records import Note, Patient

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
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
    patients, found = census(floor=4)
    began = Counter(stay.admitted.year for patient in patients for stay in patient.stays)
    enough = [year for year, number in began.items() if number >= 4]
    assert found.years == (min(enough), max(enough))
    assert found.years != (min(began), max(began))  # or none would have been hidden


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


def test_kinds_of_few_notes_have_no_name_and_are_not_kept_without_end():
    taking = Taking({})
    names = [Note(NOON, f"Zebulon Quagmire {number}", "words") for number in range(2000)]
    many = [Note(NOON, "discharge", "words")] * 30
    list(taking.through([Patient("p1", (), tuple(many + names))]))
    found = taking.done(Attrition(), floor=10)
    assert found.notes == {"of other kinds": 2000, "discharge": 30}
    assert len(taking._notes) <= MOST_KINDS + 1


def test_what_was_only_noticed_is_no_part_of_the_stays():
    """One small count among the parts of a total hides another part, not a rule beside them."""
    counts = {KEPT: 92, "stays without x": 15, "stays y": 13, "stays z": 3, "stays q (kept)": 12}
    assert _parted(counts, 10) == {
        KEPT: 92, "stays without x": 15, "stays y": None, "stays z": None, "stays q (kept)": 12,
    }  # fmt: skip


def test_a_stay_that_a_view_drops_is_counted_by_its_own_rule():
    class Dropping(IcdCoding):
        def labels(self, patient, left_out):
            for label in super().labels(patient, left_out):
                yield replace(label, view=lambda _: None)

    _, found = census(floor=0, number=5, coding=Dropping(codes=("I10",)))
    [task] = found.tasks
    assert set(task.counts) == {"stays whose notes give the answer away"}

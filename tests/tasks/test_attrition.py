"""The law of attrition: what a task keeps and what it drops by rule are the stays, each once."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import START, day, patient

from tasks.adverse_event import AdverseEvent
from tasks.charlson import Charlson
from tasks.claim_denial import ClaimDenial
from tasks.flag import Flag
from tasks.icd_coding import IcdCoding
from tasks.in_hospital_mortality import InHospitalMortality
from tasks.kinds import TASKS
from tasks.length_of_stay import LengthOfStay
from tasks.mortality_30d import Mortality30d
from tasks.readmission import Readmission
from tasks.records import Note, Patient, Stay, icd10cm
from tasks.task import Task, notes_for
from tasks.term_coding import TermCoding

EACH = [
    IcdCoding(codes=("I10",)),
    Readmission(),
    Readmission(unstated="count", days=2),
    InHospitalMortality(),
    Mortality30d(),
    LengthOfStay(upper_days=(1, 2)),
    Charlson(),
    ClaimDenial(),
    AdverseEvent(outcomes=("denied",), note_kinds=()),
    Flag(column="denied"),
    Flag(column="denied", values=("yes", "no"), at="admission"),
    Flag(column="denied", at="icu"),
    TermCoding(system="icd-10-cm", names=("I10", "E11.9")),
]
every_task = pytest.mark.parametrize("task", EACH, ids=lambda task: task.kind)

maybe = st.sampled_from([None, True, False])
days = st.integers(0, 6).map(lambda number: day(number / 2))
texts = st.sampled_from(
    [
        "Chief Complaint:\nfever\n\nHospital Course:\nLATER",
        "LATER",
        "Chief Complaint:\nchaplain called for death",
        "Chief Complaint:\nThe patient expired.",
    ]
)
notes = st.builds(
    Note, days, st.sampled_from(["discharge", "nursing"]), texts, st.sampled_from([None, "0", "1"])
)


@st.composite
def patients(draw) -> Patient:
    stays = []
    for number, first in enumerate(sorted(draw(st.lists(days, max_size=4)))):
        facts = draw(st.sampled_from([{}, {"denied": True}, {"denied": False}, {"denied": "yes"}]))
        stays.append(
            Stay(
                id=str(number),
                admitted=first,
                discharged=first + timedelta(hours=draw(st.sampled_from([0, 12, 30, 60]))),
                codes=icd10cm(draw(st.sampled_from([(), ("I10",), ("E11.9", "QQQ"), ("QQQ",)]))),
                died=draw(maybe),
                planned=draw(maybe),
                newborn=draw(maybe),
                facts=facts,
                times=draw(st.sampled_from([{}, {"icu": first}])),
            )
        )
    died = draw(st.none() | days)
    by_day = died is not None and draw(st.booleans())
    return patient(
        *stays,
        notes=tuple(draw(st.lists(notes, max_size=5))),
        died=died,
        died_from=died - timedelta(days=1) if died is not None and by_day else None,
        deaths_known=draw(st.booleans()),
        followed_until=draw(st.none() | days | st.just(START + timedelta(days=99))),
    )


def dropped(rules: Counter[str]) -> int:
    return sum(
        number
        for rule, number in rules.items()
        if rule.startswith("stays ") and not rule.endswith("(kept)")
    )


def test_every_kind_that_comes_along_is_tried():
    ours = {kind for kind, cls in TASKS.kinds().items() if cls.__module__.startswith("tasks.")}
    assert ours == {task.kind for task in EACH}


@every_task
@given(patients())
@settings(deadline=None, max_examples=40)
def test_kept_and_dropped_add_up_to_the_stays(task: Task, one: Patient):
    rules: Counter[str] = Counter()
    labels = list(task.labels(one, lambda rule: rules.update([rule])))
    assert len(labels) + dropped(rules) == len(one.stays)
    kept = 0
    for label in labels:
        before = dropped(rules)
        given_ = notes_for(one, label, lambda rule: rules.update([rule]))
        kept += bool(given_)
        assert dropped(rules) - before == (0 if given_ else 1)
    assert kept + dropped(rules) == len(one.stays)


@every_task
@given(patients())
@settings(deadline=None, max_examples=40)
def test_every_label_fits_the_task_and_none_reads_what_was_not_known(task: Task, one: Patient):
    labels = list(task.labels(one, lambda _: None))
    asked = [label.stay for label in labels]
    assert asked == [stay.id for stay in one.stays if stay.id in asked]
    for label in labels:
        assert label.target <= set(task.outputs)
        assert not task.exclusive or len(label.target) == 1
        written = {id(note): note for note in one.notes if note.at <= label.at}
        for note in notes_for(one, label):
            assert note.at <= label.at
            whole = any(note.text == other.text for other in written.values())
            assert whole or (note.at == label.at and "LATER" not in note.text)


@every_task
def test_it_says_in_words_what_it_asks_and_reads(task: Task):
    assert len(task.questions) == len(task.outputs)
    assert not task.summary.endswith(".")
    assert not task.reads.endswith(".")
    assert len(task.summary) > 20
    assert task.parse_table(task.model_dump(mode="json"), where="here") == task

"""What a site allows, and who is trained on."""

from __future__ import annotations

import pytest
from builders import study_table

from client.policy import Policy
from client.split import Split
from privacy.errors import StudyRefused
from tasks.records import Patient
from tasks.study import Study


def policy(**changes: object) -> Policy:
    return Policy.model_validate({"lifetime": {"epsilon": 8.0}} | changes)


def test_a_site_allows_private_icd_coding_and_nothing_else_by_default(study):
    policy().admit(study, declared_patients=40)
    off = Study.parse_table(study_table(privacy={"kind": "off"}), where="off")
    with pytest.raises(StudyRefused, match=r"policy\.mechanisms allows dp-sgd; .* 'off'"):
        policy().admit(off, declared_patients=40)


def test_a_task_that_is_not_named_is_refused_with_both_sides_of_the_reason(study):
    with pytest.raises(StudyRefused, match=r"policy\.tasks allows readmission; .*'icd-coding'"):
        policy(tasks=["readmission"]).admit(study, declared_patients=40)
    with pytest.raises(StudyRefused, match=r"policy\.tasks allows none"):
        policy(tasks=[]).admit(study, declared_patients=40)


def test_small_counts_are_hidden_unless_the_site_says_otherwise():
    assert policy().smallest_count == 10


def people(number: int) -> list[Patient]:
    return [Patient(id=f"p{n}", stays=(), notes=()) for n in range(number)]


def test_a_patients_part_depends_on_the_id_and_the_secret_alone():
    split, secret = Split(tune=0.2, heldout=0.3), b"a" * 32
    first = [split.part(one, secret=secret) for one in people(50)]
    assert first == [split.part(one, secret=secret) for one in people(50)]
    assert first != [split.part(one, secret=b"b" * 32) for one in people(50)]


def test_parts_have_their_shares():
    split = Split(tune=0.2, heldout=0.3)
    parts = [split.part(one, secret=b"s" * 32) for one in people(20_000)]
    assert parts.count("heldout") / 20_000 == pytest.approx(0.3, abs=0.015)
    assert parts.count("tune") / 20_000 == pytest.approx(0.2, abs=0.015)


def test_growing_the_tune_share_never_moves_a_held_out_patient():
    before = [Split(tune=0.1, heldout=0.3).part(p, secret=b"s" * 32) for p in people(500)]
    after = [Split(tune=0.4, heldout=0.3).part(p, secret=b"s" * 32) for p in people(500)]
    assert [part == "heldout" for part in before] == [part == "heldout" for part in after]


def test_a_split_that_the_data_fixes_is_kept():
    split = Split(tune=0.5, heldout=0.4)
    held = [Patient(f"p{n}", (), (), part="heldout") for n in range(40)]
    train = [Patient(f"p{n}", (), (), part="train") for n in range(40)]
    assert {split.part(one, secret=b"s" * 32) for one in held} == {"heldout"}
    assert {split.part(one, secret=b"s" * 32) for one in train} == {"train", "tune"}


def test_a_split_must_leave_somebody_to_train_on():
    with pytest.raises(ValueError, match="must leave somebody"):
        Split(tune=0.5, heldout=0.5)

"""fhir: what is written as FHIR is read back as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fhir_writer import write_fhir

from client.sources.fhir import Fhir
from client.sources.source import Attrition
from client.sources.synthetic.source import SyntheticSource
from tasks.records import Code, Note, Patient, Stay


def read(folder, **fields):
    attrition = Attrition()
    source = Fhir.model_validate(fields)
    return list(source.patients(root=folder, attrition=attrition)), attrition


@pytest.fixture(scope="module")
def hospital():
    source = SyntheticSource(hospital="ash", patient_count=12, seed=3, label_noise=0)
    return [as_fhir_says(one) for one in source.patients(root=None, attrition=Attrition())]


def as_fhir_says(patient):
    """Without what an export has no place for: further columns, and what is known of the rest."""
    stays = tuple(replace(stay, facts={}, times={}) for stay in patient.stays)
    return replace(patient, stays=stays, deaths_known=False, followed_until=None)


@pytest.mark.parametrize("references", ["literal", "absolute", "conditional", "urn", "logical"])
def test_a_hospital_is_read_back_whatever_its_references(tmp_path, hospital, references):
    write_fhir(hospital, tmp_path, references=references)
    found, attrition = read(tmp_path)
    assert found == hospital
    assert attrition.counts == {}


@pytest.mark.parametrize("attached", ["data", "binary", "file"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_hospital_is_read_back_wherever_its_texts_stand(tmp_path, hospital, attached, packed):
    write_fhir(hospital, tmp_path, attached=attached, packed=packed, per_file=7)
    assert len(list(tmp_path.glob("DocumentReference.*"))) > 2
    found, attrition = read(tmp_path)
    assert found == hospital
    assert attrition.counts == {}


def test_all_that_a_stay_can_say_comes_back(tmp_path):
    at = datetime(2024, 3, 1, 12, tzinfo=UTC)
    codes = (
        Code("icd-10-cm", "I10"),
        Code("icd-9-cm", "401.9"),
        Code("snomed-ct", "38341003"),
        Code("icd-10-pcs", "0DTJ4ZZ"),
        Code("icd-9-cm-procedures", "38.93"),
    )
    stays = tuple(
        Stay(f"s{number}", at.replace(month=number), at.replace(month=number, day=3), codes, *rest)
        for number, rest in enumerate(
            [(None, None, None), (False, True, True), (False, False, False), (True, None, False)], 1
        )
    )
    notes = (Note(at.replace(day=2), "letter to the family", "words", None),)
    one = Patient("p1", stays, notes, died=at.replace(month=4, day=3))
    write_fhir([one, replace(one, id="p2", died=None, stays=stays[:3])], tmp_path)
    (first, second), attrition = read(tmp_path)
    assert first.stays[1:] == stays[1:]
    # Whoever died in April did not in January, though the stay does not say so.
    assert first.stays[0] == replace(stays[0], died=False)
    assert (first.notes, first.died) == (one.notes, one.died)
    assert (second.stays, second.died) == (stays[:3], None)
    assert attrition.counts == {}


def test_cyrillic_right_to_left_and_large_notes_come_back(tmp_path):
    at = datetime(2024, 3, 1, 12, tzinfo=UTC)
    texts = ("Пациент поступил\r\n Пациент ушёл", "المريض يشكو من ألم", "x" * 10_000_000)
    notes = tuple(Note(at, "discharge", text, "s") for text in texts)
    one = Patient("p1", (Stay("s", at, at),), notes)
    for packed in (False, True):
        folder = tmp_path / str(packed)
        write_fhir([one], folder, packed=packed)
        assert read(folder)[0] == [one]

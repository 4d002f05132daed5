"""fhir: files, lines, and how a patient's resources find each other."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
from canaries import CANARIES, found
from fhir_resources import attached, condition, document, encounter, export, one, person, read
from fhir_writer import refer, text, write_lines

from client.sources import fhir_files
from client.sources.fhir import Fhir
from client.sources.kinds import SOURCES
from client.sources.source import Attrition
from privacy.errors import SourceBroken
from tasks.records import icd10cm

NAME = CANARIES[0]


def test_a_site_names_it_by_its_kind():
    assert SOURCES.kinds()["fhir"] is Fhir
    with pytest.raises(ValueError, match="is no time zone"):
        Fhir(zone="Europe/../Berlin")
    with pytest.raises(ValueError, match="is no time zone"):
        Fhir(zone="Europe/Nowhere")
    with pytest.raises(ValueError, match="classes"):
        Fhir(classes=())
    source = Fhir(kinds={"51847-2": "plan"}, systems={"x": "icd-10-cm"}, zone="Europe/Berlin")
    assert Fhir.model_validate_json(source.canonical()) == source


@pytest.mark.parametrize("missing", ["Patient", "Encounter", "DocumentReference"])
def test_an_export_without_a_type_that_is_needed_says_so(tmp_path, missing):
    export(tmp_path)
    (tmp_path / f"{missing}.000.ndjson").unlink()
    with pytest.raises(SourceBroken, match=rf"has no {missing}\.\*\.ndjson"):
        read(tmp_path)
    with pytest.raises(SourceBroken, match=r"absent: cannot be read \(FileNotFoundError\)"):
        read(tmp_path, folder="absent")


def test_files_of_any_number_are_read_and_others_are_not(tmp_path):
    export(tmp_path)
    write_lines(tmp_path, "2.Patient.ndjson", [person("p2")])
    write_lines(tmp_path, "Patient.010.ndjson", ["", person("p3"), " "], packed=True)
    write_lines(tmp_path, "DocumentReference.ndjson", [document(f"d{n}", f"p{n}") for n in (2, 3)])
    write_lines(tmp_path, "log.ndjson", ["not JSON"])
    write_lines(tmp_path, "Patient.old", ["not JSON"])
    write_lines(tmp_path, "Observation.000.ndjson", ["not JSON"])
    patients, _ = read(tmp_path)
    assert [patient.id for patient in patients] == ["p1", "p2", "p3"]
    assert all(len(patient.notes) == 1 for patient in patients)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{broken " + NAME, "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('["' + NAME + '"]', "must be a JSON object"),
        (json.dumps(person(name=NAME)).encode("utf-16-le"), "is not JSON"),
        (json.dumps(person(name="José"), ensure_ascii=False).encode("latin-1"), "is not UTF-8"),
        (json.dumps(person(id="\ud800" + NAME)), "holds half a character"),
        ({"resourceType": "Patient", "name": NAME}, "its Patient has no id"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_line_stops_with_its_place_and_without_its_content(tmp_path, line, said, packed):
    export(tmp_path)
    name = "Patient.001.ndjson"
    write_lines(tmp_path, name, [person("p2"), line], packed=packed)
    with pytest.raises(SourceBroken) as error:
        read(tmp_path)
    assert f"{name}{'.gz' if packed else ''} line 2: " in str(error.value)
    assert said in str(error.value)
    assert NAME not in str(error.value)
    assert "\n" not in str(error.value)


def test_an_encounter_without_an_id_stops_with_its_place(tmp_path):
    export(tmp_path, encounter(id=""))
    with pytest.raises(SourceBroken, match=r"Encounter\.000\.ndjson line 1: .* has no id"):
        read(tmp_path)


def test_a_damaged_archive_is_named(tmp_path):
    export(tmp_path)
    packed = gzip.compress(b'{"resourceType": "Patient", "id": "p2"}\n' * 100)
    (tmp_path / "Patient.001.ndjson.gz").write_bytes(packed[:-10])
    with pytest.raises(SourceBroken, match=r"Patient\.001\.ndjson\.gz: cannot be read \(EOFError"):
        read(tmp_path)
    flipped = packed[:30] + bytes(255 - byte for byte in packed[30:60]) + packed[60:]
    (tmp_path / "Patient.001.ndjson.gz").write_bytes(flipped)
    with pytest.raises(SourceBroken, match=r"Patient\.001\.ndjson\.gz: cannot be read \("):
        read(tmp_path)


def test_a_line_may_be_long_but_not_endless(tmp_path, monkeypatch):
    monkeypatch.setattr(fhir_files, "LONGEST_LINE", 5_000)
    for packed in (False, True):
        export(tmp_path / str(packed), document(x="x" * 4_000), packed=packed)
        assert len(read(tmp_path / str(packed))[0]) == 1
        export(tmp_path / str(packed), document(x="x" * 5_000), packed=packed)
        with pytest.raises(SourceBroken, match="line 1: is longer than"):
            read(tmp_path / str(packed))


def test_a_byte_order_mark_is_no_content(tmp_path):
    export(tmp_path)
    write_lines(tmp_path, "Patient.000.ndjson", ["\ufeff" + json.dumps(person())])
    assert len(read(tmp_path)[0]) == 1


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path):
    people = [f"p{number}" for number in range(2_000)]
    export(tmp_path, *map(person, people), *(document(f"d-{one}", one) for one in people))
    reading = Fhir().patients(root=tmp_path, attrition=Attrition())
    next(reading)
    (tmp_path / "DocumentReference.000.ndjson").write_bytes(b"x" * 9)
    with pytest.raises(SourceBroken, match=r"\.ndjson line \d+: has changed while it was read"):
        list(reading)


def test_resources_of_another_type_are_counted(tmp_path):
    export(tmp_path)
    write_lines(tmp_path, "Encounter.001.ndjson", [{"resourceType": "OperationOutcome"}, {}])
    _, attrition = read(tmp_path)
    assert attrition.counts == {"resources of another type among Encounter resources": 2}


REFERENCES = [
    {"reference": "Patient/p1"},
    {"reference": "Patient/p1/_history/4"},
    {"reference": "https://hospital.example/fhir/R4/Patient/p1"},
    {"reference": "Patient?identifier=https://h.example/mrn|7+7"},
    {"reference": "Patient?identifier=https%3A%2F%2Fh.example%2Fmrn%7C7%2B7"},
    {"reference": "https://hospital.example/fhir/Patient?identifier=7+7"},
    {"reference": "Patient?_id=p1"},
    {"reference": "urn:uuid:P1"},
    {"reference": "urn:uuid:0f0f"},
    {"identifier": {"system": "https://h.example/mrn", "value": "7+7"}},
    {"identifier": {"value": "7+7"}},
]


@pytest.mark.parametrize("subject", REFERENCES)
def test_every_way_to_name_a_patient_leads_there(tmp_path, subject):
    named = person(
        identifier=[
            {"system": "https://h.example/mrn", "value": "7+7"},
            {"system": "urn:ietf:rfc:3986", "value": "urn:uuid:0F0F"},
        ]
    )
    ours, counts = one(tmp_path, named, document(subject=subject))
    assert (len(ours.notes), counts) == (1, {})


@pytest.mark.parametrize(
    ("subject", "rule"),
    [
        ({"reference": "Patient/p9"}, "whose patient is not there"),
        ({"reference": "Patient?identifier=https://other.example|7"}, "whose patient is not there"),
        ({"reference": "Patient?identifier=7"}, "whose patient is one of several"),
        ({"reference": "Group/p1"}, "that name no patient"),
        ({"reference": "Group?identifier=7"}, "that name no patient"),
        ({"reference": "Patient?name=Zebulon"}, "that name no patient"),
        ({"reference": "Patient?identifier=7&name=Zebulon"}, "that name no patient"),
        ({"reference": "Patient?identifier="}, "that name no patient"),
        ({"reference": "#contained"}, "that name no patient"),
        ({"display": NAME}, "that name no patient"),
        (NAME, "that name no patient"),
        (None, "that name no patient"),
    ],
)
def test_what_leads_to_no_patient_is_counted_with_its_first_place(tmp_path, subject, rule):
    mrn = "https://h.example/mrn"
    patients = (
        person("p1", identifier=[{"system": mrn, "value": "7"}]),
        person("p2", identifier=[{"system": f"{mrn}/2", "value": "7"}]),
    )
    lost = [condition("c1"), condition("c2", subject=subject), condition("c3", subject=subject)]
    ours, attrition = read(export(tmp_path, *patients, *lost))
    rule = f"Condition resources {rule}"
    assert ours[0].stays[0].codes == icd10cm(["I10"])
    assert attrition.counts == {rule: 2, "patients without notes": 1}
    assert attrition.first[rule] == "Condition.000.ndjson line 2"


@pytest.mark.parametrize("kind", ["replaced-by", "seealso"])
def test_linked_patients_are_one(tmp_path, kind):
    """Else one person would be trained on under two names, or trained on and held out."""
    old = person("p2", link=[{"other": refer("Patient", "p1"), "type": kind}])
    older = person("p3", link=[{"other": refer("Patient", "p2"), "type": kind}])
    lone = person("p4", link=[{"other": refer("Patient", "p9")}, {"other": refer("Patient", "p4")}])
    export(
        tmp_path, person(), old, older, lone,
        encounter(), encounter("e2", "p2", period={
            "start": "2023-01-01T10:00:00Z", "end": "2023-01-05T10:00:00Z"}),
        document(), document("d2", "p2"), document("d3", "p3"), document("d4", "p4"),
    )  # fmt: skip
    (joined, alone), attrition = read(tmp_path)
    assert (joined.id, len(joined.notes), len(joined.stays)) == ("p1", 3, 2)
    assert (alone.id, len(alone.notes)) == ("p4", 1)
    assert attrition.counts["Patient resources joined to another"] == 2


def test_an_encounter_of_another_patient_is_never_this_ones(tmp_path):
    export(
        tmp_path, person(), person("p2"), encounter(), encounter("e2", "p2"),
        document(), document("d2", "p2"), condition("c2", "p2"),
    )  # fmt: skip
    (_, second), attrition = read(tmp_path)
    assert second.stays[0].codes == ()
    assert second.notes[0].stay != second.stays[0].id
    assert attrition.counts == {
        "conditions of no encounter that is there": 1,
        "notes of a stay that is not there (kept)": 1,
    }


def test_a_planted_name_is_in_no_error_and_no_attrition(tmp_path):
    name = CANARIES[3]
    damage = {"status": name, "id": name, "subject": {"reference": f"Patient/{name}"}}
    export(
        tmp_path,
        person(name, name=name, deceasedDateTime=name),
        person(f"{name}2", deceasedBoolean=True, link=[{"other": {"reference": name}}]),
        encounter(name, name, status=name, partOf=refer("Encounter", name)),
        encounter(f"{name}2", name, **{"class": {"code": name}}),
        encounter(f"{name}3", name, period={"start": name, "end": name}),
        encounter(f"{name}3", name, period={"start": name, "end": name}),
        condition(name, name, verificationStatus=name, code={"coding": [{"code": name}]}),
        condition(f"{name}2", encounter={"reference": name}, subject=damage["subject"]),
        condition(f"{name}3", name, encounter={"reference": f"Encounter/{name}2"}),
        attached({"contentType": name, "data": name, "title": name}, **damage),
        attached({"contentType": f"text/plain; charset={name}"}, **(damage | {"id": "2"})),
        attached(text(name) | {"data": name}, **(damage | {"id": "3"})),
        attached({"contentType": "text/plain", "url": f"../{name}"}, **(damage | {"id": "4"})),
        attached({"contentType": "text/plain", "url": name}, **(damage | {"id": "5"})),
        document("6", name, date=name, type={"coding": [{"display": name}]}),
        document("7", name, context={"encounter": [{"reference": f"Encounter/{name}9"}]}),
        document("8", name, status="superseded", subject={"reference": name}),
        document("9", name, text=name),
    )
    patients, attrition = read(tmp_path)
    assert [patient.id for patient in patients] == [name]
    assert len(attrition.counts) > 12
    assert found(json.dumps([attrition.counts, attrition.first]).encode()) == []


def test_its_state_changes_with_any_file(tmp_path):
    export(tmp_path)
    source, states = Fhir(), []
    states.append(source.state(root=tmp_path))
    assert source.state(root=tmp_path) == states[0]
    (tmp_path / "texts").mkdir()
    for content in ("one", "three"):
        (tmp_path / "texts" / "note.txt").write_text(content)
        states.append(source.state(root=tmp_path))
    write_lines(tmp_path, "Patient.001.ndjson", [person("p2")])
    states.append(source.state(root=tmp_path))
    assert len(set(states)) == 4
    assert source.model_copy(update={"folder": "absent"}).state(root=tmp_path) is None


@pytest.mark.parametrize("packed", [False, True])
def test_notes_are_not_all_in_memory(tmp_path, packed):
    patients = [person(f"p{n}") for n in range(200)]
    # Far apart: a reader that held a patient's notes until the end would hold them all.
    notes = [
        document(f"d{n}", f"p{n % 200}", content=[{"attachment": text(f"{n} " * 10_000)}])
        for n in range(600)
    ]
    export(tmp_path, *patients, *notes, packed=packed)
    del notes
    size = 0
    tracemalloc.start()
    try:
        for patient in Fhir().patients(root=tmp_path, attrition=Attrition()):
            size += sum(len(one.text) for one in patient.notes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 22e6
    assert peak < 18e6

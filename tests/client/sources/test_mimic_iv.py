"""mimic-iv: the public demo's hospital tables with invented notes, and what is refused."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from mimic_builders import Table, at, hospital, read, write

from client.sources.mimic_iv import MimicIV
from privacy.errors import SourceBroken
from tasks.records import Code
from tasks.task import Label, notes_for

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("FEDWARD_DATA") or ROOT.parent / "shared" / "data")
DEMO = DATA / "mimic_iv_demo_2.2_core"

NOTE_COLUMNS = (
    "note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text",
)  # fmt: skip

CANARY = "Zebulon Quagmire"


def test_stays_codes_deaths_and_notes_are_joined_by_patient(tmp_path):
    (one, two), attrition = read(write(tmp_path / "iv", hospital()))
    assert (one.id, two.id) == ("10000032", "9")
    assert one.deaths_known
    assert one.died == at("2180-09-09 23:59:59.999999")
    assert one.died_from == at("2180-09-09 00:00:00")
    assert (two.died, two.died_from) == (at("2150-01-03 08:30:00"), None)
    first, second = one.stays
    assert first.codes == (
        Code("icd-9-cm", "572.3"),
        Code("icd-9-cm", "041.12"),
        Code("icd-9-cm", "V15.82"),
        Code("icd-9-cm", "E888.9"),
        Code("icd-9-cm-procedures", "03.31"),
    )
    assert two.stays[0].codes == (Code("icd-10-cm", "E11.65"), Code("icd-10-pcs", "3E03317"))
    assert (first.planned, second.planned, two.stays[0].planned) == (False, True, None)
    assert (first.newborn, two.stays[0].newborn) == (False, None)
    assert (first.died, two.stays[0].died) == (False, True)
    assert first.facts["insurance"] == "Medicare"
    assert first.facts["gender"] == "F"
    assert "marital_status" not in first.facts
    assert first.times["edregtime"] == at("2180-05-06 19:17:00")
    assert one.notes[0].text == 'ascites, "tense"\nsecond line'
    assert attrition.counts == {
        "codes of stays that are not there": 1,
        "admission types not known (kept)": 1,
    }


def test_a_note_is_written_when_it_could_be_read(tmp_path):
    folder = write(tmp_path / "iv", hospital())
    (one, two), _ = read(folder)
    assert [note.at for note in one.notes] == [
        at("2180-05-09 15:26:00"),  # signed two days after the discharge
        at("2180-06-27 18:49:00"),  # its day ended before the stay did
    ]
    assert [(note.at, note.stay, note.kind) for note in two.notes] == [
        (at("2149-12-30 13:00:00"), None, "radiology"),
        (at("2150-01-02 00:00:00"), "20000001", "radiology"),
        (at("2150-01-03 23:59:59.999999"), "20000001", "discharge"),
    ]
    (one, two), _ = read(folder, summaries="discharge")
    assert [note.at for note in one.notes] == [stay.discharged for stay in one.stays]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_every_kind_of_file_gives_the_same_patients(tmp_path, ending):
    packed = read(write(tmp_path / "packed", hospital()))[0]
    assert read(write(tmp_path / "other", hospital(), ending))[0] == packed


def test_tables_may_lie_flat_or_the_notes_apart(tmp_path):
    wanted = read(write(tmp_path / "iv", hospital()))[0]
    flat, apart = tmp_path / "flat", tmp_path / "apart"
    flat.mkdir()
    apart.mkdir()
    for path in (tmp_path / "iv" / "hosp").iterdir():
        (flat / path.name).write_bytes(path.read_bytes())
        (apart / path.name.upper().replace(".CSV.GZ", ".csv.gz")).write_bytes(path.read_bytes())
    (tmp_path / "iv" / "note").rename(tmp_path / "notes")
    assert read(apart, note_folder="notes")[0] == wanted
    for path in (tmp_path / "notes").iterdir():
        (flat / path.name).write_bytes(path.read_bytes())
    assert read(flat)[0] == wanted


def test_what_is_left_out_is_counted(tmp_path):
    tables = hospital()
    lost = {"subject_id": "77", "hadm_id": "5"}
    tables["patients"].append(tables["patients"][0])
    tables["admissions"].append(tables["admissions"][0] | lost)
    tables["admissions"].append(tables["admissions"][0] | {"hadm_id": "6", "dischtime": ""})
    tables["admissions"].append(tables["admissions"][0] | {"hadm_id": "7", "admittime": ""})
    tables["diagnoses_icd"].append(tables["diagnoses_icd"][0] | lost)
    tables["diagnoses_icd"].append(tables["diagnoses_icd"][0] | {"icd_code": ""})
    tables["diagnoses_icd"].append(tables["diagnoses_icd"][0] | {"icd_version": ""})
    tables["discharge"].append(tables["discharge"][0] | lost)
    tables["discharge"].append(tables["discharge"][0] | {"subject_id": ""})
    tables["discharge"].append(tables["discharge"][0] | {"charttime": "", "storetime": ""})
    tables["discharge"].append(tables["discharge"][0] | {"text": ""})
    tables["radiology"].append(tables["radiology"][0] | {"hadm_id": "123"})
    found, attrition = read(write(tmp_path / "iv", tables))
    assert found[0] == read(write(tmp_path / "plain", hospital()))[0][0]
    assert attrition.counts == {
        "patients that stand twice": 1,
        "stays of patients not in patients": 1,
        "stays without a discharge": 1,
        "stays without an id or an admission": 1,
        "codes of patients not in patients": 1,
        "codes that are empty": 1,
        "codes without a version": 1,
        "codes of stays that are not there": 1,
        "notes of patients not in patients": 2,
        "notes without a time": 1,
        "notes without text": 1,
        "notes of a stay that is not there (kept)": 1,
        "admission types not known (kept)": 1,
    }
    assert CANARY not in json.dumps([attrition.counts, attrition.first])


def test_tables_that_are_missing_or_double_are_named(tmp_path):
    folder = write(tmp_path / "iv", hospital())
    whole = MimicIV(folder="iv").state(root=tmp_path)
    note = folder / "note" / "radiology.csv.gz"
    (folder / "radiology.csv.gz").write_bytes(note.read_bytes())
    with pytest.raises(SourceBroken, match=r"are both table radiology; leave one"):
        read(folder)
    (folder / "radiology.csv.gz").unlink()
    assert whole is not None
    assert MimicIV(folder="iv").state(root=tmp_path) == whole
    note.unlink()
    with pytest.raises(SourceBroken, match=r"iv: holds none of radiology.csv, .*note_folder"):
        read(folder)
    assert MimicIV(folder="iv").state(root=tmp_path) is None
    assert len(read(folder, notes=["discharge"])[0]) == 2
    (folder / "hosp" / "procedures_icd.csv.gz").unlink()
    with pytest.raises(SourceBroken, match=r"iv: holds none of procedures_icd.csv"):
        read(folder)
    with pytest.raises(SourceBroken, match="no such folder"):
        read(tmp_path / "nowhere")


def test_a_missing_column_is_named(tmp_path):
    tables = hospital()
    for row in tables["admissions"]:
        del row["dischtime"]
    with pytest.raises(SourceBroken, match=r"admissions.csv.gz: has no column dischtime"):
        read(write(tmp_path / "iv", tables))


def test_the_state_changes_with_the_files(tmp_path):
    folder = write(tmp_path / "iv", hospital())
    source = MimicIV(folder="iv")
    before = source.state(root=tmp_path)
    assert before == source.state(root=tmp_path)
    tables = hospital()
    tables["radiology"].pop()
    write(folder, tables)
    assert source.state(root=tmp_path) != before


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The demo's tables, with two invented notes for each stay and one for no stay."""
    if not DEMO.is_dir():
        pytest.skip(f"the MIMIC-IV demo is not in {DEMO}")
    folder = tmp_path / "demo"
    (folder / "note").mkdir(parents=True)
    (folder / "hosp").symlink_to(DEMO / "hosp")
    with gzip.open(DEMO / "hosp" / "admissions.csv.gz", "rt", encoding="utf-8") as file:
        stays = list(csv.DictReader(file))
    tables: dict[str, Table] = {"discharge": [], "radiology": []}
    for number, stay in enumerate(stays):
        day = stay["dischtime"][:10]
        shared = {"subject_id": stay["subject_id"], "note_seq": str(number)}
        signed = datetime.fromisoformat(stay["dischtime"]) + timedelta(hours=number % 60)
        tables["discharge"].append(
            shared
            | {"note_id": f"{stay['subject_id']}-DS-{number}", "hadm_id": stay["hadm_id"]}
            | {"note_type": "DS", "charttime": f"{day} 00:00:00", "text": f"summary {number}"}
            | {"storetime": "" if number % 7 == 0 else str(signed)}
        )
        tables["radiology"].append(
            shared
            | {"note_id": f"{stay['subject_id']}-RR-{number}", "hadm_id": ""}
            | {"note_type": "RR", "charttime": stay["admittime"], "text": f"report {number}"}
            | {"storetime": ""}
        )
    for name, rows in tables.items():
        with gzip.open(folder / "note" / f"{name}.csv.gz", "wt", newline="") as file:
            sheet = csv.DictWriter(file, NOTE_COLUMNS)
            sheet.writeheader()
            sheet.writerows(rows)
    return folder


def test_the_demo_has_its_known_numbers(demo):
    found, attrition = read(demo)
    stays = [stay for patient in found for stay in patient.stays]
    systems = Counter(code.system for stay in stays for code in stay.codes)
    assert (len(found), len(stays)) == (100, 275)
    assert systems["icd-10-cm"] == 2313
    assert systems["icd-9-cm"] == 2193
    assert systems["icd-9-cm-procedures"] + systems["icd-10-pcs"] == 722
    assert sum(bool(stay.died) for stay in stays) == 15
    gaps = [
        late.admitted - early.discharged
        for patient in found
        for early, late in pairwise(patient.stays)
    ]
    assert sum(gap.days <= 30 for gap in gaps) == 54  # in whole days, as is mostly counted
    assert sum(gap <= timedelta(days=30) for gap in gaps) == 53
    assert sum(bool(stay.planned) for stay in stays) == 13 + 18
    assert {stay.newborn for stay in stays} == {False}
    assert sum(len(patient.notes) for patient in found) == 2 * 275
    assert set(attrition.counts) <= {"stays that overlap another (kept)"}


def test_no_summary_of_the_demo_can_be_read_at_the_admission(demo):
    for summaries in ("signed", "discharge"):
        found, _ = read(demo, summaries=summaries)
        read_at_discharge = 0
        for patient in found:
            for stay in patient.stays:
                early = Label(at=stay.admitted, target=frozenset(), stay=stay.id)
                own = [note for note in notes_for(patient, early) if note.stay == stay.id]
                assert own == []
                late = Label(at=stay.discharged, target=frozenset(), stay=stay.id)
                read_at_discharge += any(n.kind == "discharge" for n in notes_for(patient, late))
        assert (read_at_discharge == 275) is (summaries == "discharge")


def test_the_demo_is_refused_once_a_spreadsheet_had_its_codes(demo):
    with gzip.open(DEMO / "hosp" / "diagnoses_icd.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["icd_code"].strip().isdecimal():
            row["icd_code"] = str(int(row["icd_code"]))
    other = demo.parent / "saved"
    write(other, {"diagnoses_icd": rows}, ".csv")
    (other / "note").symlink_to(demo / "note")
    for path in (DEMO / "hosp").iterdir():
        if path.name != "diagnoses_icd.csv.gz":
            (other / path.name).symlink_to(path)
    with pytest.raises(SourceBroken, match=r"diagnoses_icd.csv: column icd_code has lost the zero"):
        read(other)

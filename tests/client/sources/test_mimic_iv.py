"""mimic-iv: the public demo's hospital tables with invented notes, and what is refused."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from client.sources.mimic_iv import MimicIV
from client.sources.source import Attrition
from privacy.errors import SourceBroken
from tasks.records import Code, Patient
from tasks.task import Label, notes_for

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("FEDWARD_DATA") or ROOT.parent / "shared" / "data")
DEMO = DATA / "mimic_iv_demo_2.2_core"

NOTE_COLUMNS = (
    "note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text",
)  # fmt: skip

CANARY = "Zebulon Quagmire"

Table = list[dict[str, str]]


def hospital() -> dict[str, Table]:
    """Two patients with three stays, in MIMIC-IV's columns."""
    admission = {
        "deathtime": "", "admission_type": "EW EMER.", "admission_location": "EMERGENCY ROOM",
        "discharge_location": "HOME", "insurance": "Medicare", "language": "ENGLISH",
        "marital_status": "", "race": "WHITE", "edregtime": "2180-05-06 19:17:00",
        "edouttime": "2180-05-06 23:30:00", "hospital_expire_flag": "0",
    }  # fmt: skip
    note = {"note_type": "DS", "storetime": ""}
    return {
        "patients": [
            {"subject_id": "10000032", "gender": "F", "anchor_age": "52", "anchor_year": "2180",
             "anchor_year_group": "2014 - 2016", "dod": "2180-09-09"},
            {"subject_id": "9", "gender": "M", "anchor_age": "0", "anchor_year": "2150",
             "anchor_year_group": "2014 - 2016", "dod": ""},
        ],
        "admissions": [
            admission | {"subject_id": "10000032", "hadm_id": "22595853",
                         "admittime": "2180-05-06 22:23:00", "dischtime": "2180-05-07 17:15:00"},
            admission | {"subject_id": "10000032", "hadm_id": "22841357",
                         "admittime": "2180-06-26 18:27:00", "dischtime": "2180-06-27 18:49:00",
                         "admission_type": "SURGICAL SAME DAY ADMISSION"},
            admission | {"subject_id": "9", "hadm_id": "20000001", "hospital_expire_flag": "1",
                         "admittime": "2150-01-01 10:00:00", "dischtime": "2150-01-03 09:00:00",
                         "deathtime": "2150-01-03 08:30:00", "admission_type": "OF THE MOON"},
        ],
        "diagnoses_icd": [
            {"subject_id": "10000032", "hadm_id": "22595853", "seq_num": "10",
             "icd_code": "V1582", "icd_version": "9"},
            {"subject_id": "10000032", "hadm_id": "22595853", "seq_num": "2",
             "icd_code": "04112", "icd_version": "9"},
            {"subject_id": "10000032", "hadm_id": "22595853", "seq_num": "1",
             "icd_code": "5723", "icd_version": "9"},
            {"subject_id": "10000032", "hadm_id": "22595853", "seq_num": "11",
             "icd_code": "E8889", "icd_version": "9"},
            {"subject_id": "9", "hadm_id": "20000001", "seq_num": "1",
             "icd_code": "E1165", "icd_version": "10"},
            {"subject_id": "9", "hadm_id": "29999999", "seq_num": "1",
             "icd_code": "I10", "icd_version": "10"},
        ],
        "procedures_icd": [
            {"subject_id": "10000032", "hadm_id": "22595853", "seq_num": "1",
             "chartdate": "2180-05-07", "icd_code": "0331", "icd_version": "9"},
            {"subject_id": "9", "hadm_id": "20000001", "seq_num": "1",
             "chartdate": "2150-01-02", "icd_code": "3E03317", "icd_version": "10"},
        ],
        "discharge": [
            note | {"note_id": "10000032-DS-1", "subject_id": "10000032", "hadm_id": "22595853",
                    "note_seq": "1", "charttime": "2180-05-07 00:00:00",
                    "storetime": "2180-05-09 15:26:00", "text": 'ascites, "tense"\nsecond line'},
            note | {"note_id": "10000032-DS-2", "subject_id": "10000032", "hadm_id": "22841357",
                    "note_seq": "2", "charttime": "2180-06-26 00:00:00", "text": "a day alone"},
            note | {"note_id": "9-DS-1", "subject_id": "9", "hadm_id": "20000001",
                    "note_seq": "1", "charttime": "2150-01-03 00:00:00",
                    "storetime": "2150-01-02 12:00:00", "text": "stored before"},
        ],
        "radiology": [
            note | {"note_id": "9-RR-1", "subject_id": "9", "hadm_id": "", "note_type": "RR",
                    "note_seq": "1", "charttime": "2149-12-30 00:00:00",
                    "storetime": "2149-12-30 13:00:00", "text": "before the stay"},
            note | {"note_id": "9-AR-2", "subject_id": "9", "hadm_id": "20000001",
                    "note_type": "AR", "note_seq": "2", "charttime": "2150-01-02 00:00:00",
                    "text": "at midnight"},
        ],
    }  # fmt: skip


def write(folder: Path, tables: dict[str, Table], ending: str = ".csv.gz") -> Path:
    """The tables under `hosp/` and `note/`."""
    for name, rows in tables.items():
        where = folder / ("note" if name in ("discharge", "radiology") else "hosp")
        where.mkdir(parents=True, exist_ok=True)
        path = where / f"{name}{ending}"
        if ending == ".parquet":
            write_parquet(path, rows)
            continue
        opened = gzip.open if ending == ".csv.gz" else open
        with opened(path, "wt", encoding="utf-8", newline="") as file:
            sheet = csv.DictWriter(file, list(rows[0]))
            sheet.writeheader()
            sheet.writerows(rows)
    return folder


def write_parquet(path: Path, rows: Table) -> None:
    """Numbers as whole numbers and times as times, as those have them who convert MIMIC."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    for column in frame:
        values = frame[column].replace("", None)
        if column.endswith("time") or column in ("dod", "chartdate"):
            frame[column] = pd.to_datetime(values).astype("datetime64[us]")
        elif column in ("subject_id", "hadm_id", "seq_num", "icd_version", "hospital_expire_flag"):
            frame[column] = values.astype("Int64")
        else:
            frame[column] = values
    frame.to_parquet(path, index=False)


def read(folder: Path, **fields: object) -> tuple[list[Patient], Attrition]:
    attrition = Attrition()
    source = MimicIV.model_validate({"folder": folder.name, **fields})
    return list(source.patients(root=folder.parent, attrition=attrition)), attrition


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_stays_codes_deaths_and_notes_are_joined_by_patient(tmp_path):
    (one, two), attrition = read(write(tmp_path / "iv", hospital()))
    assert (one.id, two.id) == ("10000032", "9")
    assert one.deaths_known
    assert one.died == at("2180-09-09 23:59:59.999999")
    assert two.died == at("2150-01-03 08:30:00")
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


def change(name: str, row: int, column: str, value: str) -> Callable[[dict[str, Table]], None]:
    def apply(tables: dict[str, Table]) -> None:
        tables[name][row][column] = value

    return apply


def code(value: str) -> Callable[[dict[str, Table]], None]:
    return change("diagnoses_icd", 1, "icd_code", value)


LOST = "column icd_code has lost the zeros at the front of its codes"


def no_zeros(tables: dict[str, Table]) -> None:
    for name in ("diagnoses_icd", "procedures_icd"):
        for row in tables[name]:
            if row["icd_code"].isdecimal():
                row["icd_code"] = str(int(row["icd_code"]))


def no_zeros_of_procedures(tables: dict[str, Table]) -> None:
    tables["procedures_icd"][0]["icd_code"] = "66"


def no_zeros_of_pcs(tables: dict[str, Table]) -> None:
    tables["procedures_icd"][1]["icd_code"] = "16070"


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("mangle", "said"),
    [
        (
            no_zeros,
            f"diagnoses_icd{{}}: {LOST}: it has 4112, and ICD-9-CM has 04112;",
        ),
        (
            no_zeros_of_procedures,
            f"procedures_icd{{}}: {LOST}: it has 66, and ICD-9-CM's volume 3 has 066;",
        ),
        (
            no_zeros_of_pcs,
            f"procedures_icd{{}}: {LOST}: it has 16070, and ICD-10-PCS has 0016070;",
        ),
        (code("41.0"), "diagnoses_icd{}: column icd_code holds codes turned into decimal numbers"),
        (code("41.0"), ", such as 41.0, so that"),
        (code("5723.0"), "such as 5723.0,"),
        (code("1E10"), "such as 1E10,"),
        (code("1.2E+03"), "such as 1.2E+03,"),
        (code("33.10"), "such as 33.10,"),
        (code("10000032.0"), "decimal numbers so that"),
        (code("1931-07-19"), "diagnoses_icd{}: column icd_code holds codes turned into dates;"),
        (code("1-Oct"), "holds codes turned into dates;"),
    ],
)
def test_codes_that_a_spreadsheet_changed_refuse_the_file(tmp_path, ending, mangle, said):
    tables = hospital()
    mangle(tables)
    with pytest.raises(SourceBroken) as refused:
        read(write(tmp_path / "iv", tables, ending))
    assert said.format(ending) in str(refused.value)
    assert "\n" not in str(refused.value)
    for private in ("10000032", "22595853", "1931-07-19"):
        assert private not in str(refused.value)


@pytest.mark.parametrize("value", ["2501", "99999", "V99", "E99", "572.3", "banana"])
def test_a_code_that_is_only_unknown_is_kept(tmp_path, value):
    tables = hospital()
    change("diagnoses_icd", 2, "icd_code", value)(tables)
    (one, _), attrition = read(write(tmp_path / "iv", tables))
    assert len(one.stays[0].codes) == 5
    unknown = attrition.counts.get("codes that the public table of ICD-9-CM does not have (kept)")
    assert unknown == (None if value == "572.3" else 1)


def test_zeros_are_lost_only_where_no_code_has_any(tmp_path):
    """`4112` beside `04112` is somebody's slip, not a spreadsheet's work."""
    tables = hospital()
    change("diagnoses_icd", 2, "icd_code", "4112")(tables)
    (one, _), attrition = read(write(tmp_path / "iv", tables))
    assert Code("icd-9-cm", "411.2") in one.stays[0].codes
    assert attrition.counts["codes that the public table of ICD-9-CM does not have (kept)"] == 1


@pytest.mark.parametrize(
    ("table", "column", "value", "said"),
    [
        ("admissions", "hadm_id", "2.2595853E+07", "admissions.csv record 1: column hadm_id was"),
        ("admissions", "subject_id", "10000032.0", "column subject_id was turned into decimal"),
        ("patients", "subject_id", "1.0E+07", "patients.csv record 1: column subject_id was"),
        ("diagnoses_icd", "hadm_id", "22,595,853", "diagnoses_icd.csv record 1: column hadm_id"),
        ("discharge", "hadm_id", "22595853.0", "discharge.csv record 1: column hadm_id was"),
        ("admissions", "admittime", "2/24/2196 14:38", "record 1: column admittime is not a time"),
        ("admissions", "dischtime", "2196-13-24 14:38:00", "column dischtime is not a time"),
        ("admissions", "edregtime", CANARY, "column edregtime is not a time as MIMIC writes it"),
        ("patients", "dod", "9/9/2180", "patients.csv record 1: column dod is not a time"),
        ("radiology", "charttime", CANARY, "radiology.csv record 1: column charttime is not"),
        ("radiology", "storetime", "45000.5", "radiology.csv record 1: column storetime is not"),
        ("admissions", "hospital_expire_flag", CANARY, "hospital_expire_flag must be 0, 1 or"),
        ("diagnoses_icd", "icd_version", CANARY, "diagnoses_icd.csv: column icd_version must be"),
    ],
)
def test_a_mangled_file_is_refused_without_its_values(tmp_path, table, column, value, said):
    tables = hospital()
    for rows in tables.values():
        for row in rows:
            row.setdefault("text", CANARY)
    change(table, 0, column, value)(tables)
    with pytest.raises(SourceBroken) as refused:
        read(write(tmp_path / "iv", tables, ".csv"))
    assert said in str(refused.value)
    for private in (CANARY, value, "10000032", "22595853"):
        assert private not in str(refused.value)


@pytest.mark.parametrize("column", ["subject_id", "hadm_id"])
def test_ids_that_parquet_holds_as_decimal_numbers_are_refused(tmp_path, column):
    import pandas as pd

    folder = write(tmp_path / "iv", hospital(), ".parquet")
    path = folder / "note" / "radiology.parquet"
    frame = pd.read_parquet(path)
    frame[column] = frame[column].astype("float64")
    frame.to_parquet(path)
    with pytest.raises(SourceBroken, match=f"radiology.parquet record .: column {column} was"):
        read(folder)


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
    note = folder / "note" / "radiology.csv.gz"
    (folder / "radiology.csv.gz").write_bytes(note.read_bytes())
    with pytest.raises(SourceBroken, match=r"are both table radiology; leave one"):
        read(folder)
    (folder / "radiology.csv.gz").unlink()
    assert MimicIV(folder="iv").state(root=tmp_path) is not None
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
    soon = sum(
        timedelta(0) <= late.admitted - early.discharged <= timedelta(days=30)
        for patient in found
        for early, late in pairwise(patient.stays)
    )
    assert soon == 54
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

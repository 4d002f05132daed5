"""mimic-iii: invented records in MIMIC-III's columns, in every way that they come."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.sources.mimic_iii import MimicIII
from client.sources.source import Attrition
from privacy.errors import SourceBroken
from tasks.records import Code, Patient

CANARY = "Zebulon Quagmire"

Table = list[dict[str, str]]


def note(row: int, **changes: str) -> dict[str, str]:
    return {
        "ROW_ID": str(row), "SUBJECT_ID": "22", "HADM_ID": "165315",
        "CHARTDATE": "2196-04-10 00:00:00", "CHARTTIME": "", "STORETIME": "",
        "CATEGORY": "Discharge summary", "DESCRIPTION": "Report", "CGID": "", "ISERROR": "",
        "TEXT": f"words {row}",
    } | changes  # fmt: skip


def hospital() -> dict[str, Table]:
    """A patient with two stays, and a newborn."""
    admission = {
        "DEATHTIME": "", "ADMISSION_TYPE": "EMERGENCY", "ADMISSION_LOCATION": "CLINIC REFERRAL",
        "DISCHARGE_LOCATION": "HOME", "INSURANCE": "Private", "LANGUAGE": "", "RELIGION": "",
        "MARITAL_STATUS": "MARRIED", "ETHNICITY": "WHITE", "EDREGTIME": "", "EDOUTTIME": "",
        "DIAGNOSIS": "OVERDOSE", "HOSPITAL_EXPIRE_FLAG": "0", "HAS_CHARTEVENTS_DATA": "1",
    }  # fmt: skip
    code = {"SUBJECT_ID": "22", "HADM_ID": "165315"}
    return {
        "PATIENTS": [
            {"ROW_ID": "1", "SUBJECT_ID": "22", "GENDER": "F", "DOB": "2131-05-07 00:00:00",
             "DOD": "2196-06-01 00:00:00", "DOD_HOSP": "", "DOD_SSN": "2196-06-01 00:00:00",
             "EXPIRE_FLAG": "1"},
            {"ROW_ID": "2", "SUBJECT_ID": "3", "GENDER": "M", "DOB": "2101-01-01 00:00:00",
             "DOD": "", "DOD_HOSP": "", "DOD_SSN": "", "EXPIRE_FLAG": "0"},
        ],
        "ADMISSIONS": [
            admission | {"ROW_ID": "22", "SUBJECT_ID": "22", "HADM_ID": "165315",
                         "ADMITTIME": "2196-04-09 12:26:00", "DISCHTIME": "2196-04-10 15:54:00"},
            admission | {"ROW_ID": "23", "SUBJECT_ID": "22", "HADM_ID": "165316",
                         "ADMITTIME": "2196-05-01 08:00:00", "DISCHTIME": "2196-05-03 10:00:00",
                         "ADMISSION_TYPE": "ELECTIVE"},
            admission | {"ROW_ID": "24", "SUBJECT_ID": "3", "HADM_ID": "100001",
                         "ADMITTIME": "2101-01-01 01:00:00", "DISCHTIME": "2101-01-04 10:00:00",
                         "ADMISSION_TYPE": "NEWBORN"},
        ],
        "DIAGNOSES_ICD": [
            code | {"ROW_ID": "1", "SEQ_NUM": "2", "ICD9_CODE": "9678"},
            code | {"ROW_ID": "2", "SEQ_NUM": "1", "ICD9_CODE": "0389"},
            code | {"ROW_ID": "3", "SEQ_NUM": "3", "ICD9_CODE": "E9502"},
            code | {"ROW_ID": "4", "SEQ_NUM": "", "ICD9_CODE": ""},
        ],
        "PROCEDURES_ICD": [code | {"ROW_ID": "1", "SEQ_NUM": "1", "ICD9_CODE": "0331"}],
        "NOTEEVENTS": [
            note(1),
            note(2, DESCRIPTION="Addendum", CHARTDATE="2196-04-12 00:00:00"),
            note(3, CATEGORY="Nursing/other", CHARTTIME="2196-04-09 14:00:00",
                 CHARTDATE="2196-04-09 00:00:00", STORETIME="2196-04-09 14:20:00"),
            note(4, CATEGORY="Physician ", CHARTTIME="2196-04-09 15:00:00", ISERROR="1",
                 CHARTDATE="2196-04-09 00:00:00"),
            note(5, CATEGORY="Radiology", HADM_ID="", CHARTDATE="2196-03-01 00:00:00"),
            note(6, CHARTDATE="2196-05-01 00:00:00", HADM_ID="165316", TEXT='"quoted",\nyes'),
            note(7, SUBJECT_ID="3", HADM_ID="100001", CATEGORY="Nursing",
                 CHARTTIME="2101-01-02 10:00:00", CHARTDATE="2101-01-02 00:00:00"),
        ],
    }  # fmt: skip


def write(folder: Path, tables: dict[str, Table], ending: str, *, lower: bool = False) -> Path:
    folder.mkdir()
    for name, rows in tables.items():
        path = folder / f"{name.lower() if lower else name}{ending}"
        cased = [
            {key.lower() if lower else key: value for key, value in row.items()} for row in rows
        ]
        if ending == ".parquet":
            import pandas as pd

            frame = pd.DataFrame(cased).replace("", None)
            for column in frame:
                if column.upper() in ("SUBJECT_ID", "HADM_ID", "SEQ_NUM"):
                    frame[column] = frame[column].astype("Int64")
            frame.to_parquet(path, index=False)
            continue
        opened = gzip.open if ending == ".csv.gz" else open
        with opened(path, "wt", encoding="utf-8", newline="") as file:
            sheet = csv.DictWriter(file, list(cased[0]), quoting=csv.QUOTE_ALL)
            sheet.writeheader()
            sheet.writerows(cased)
    return folder


def read(folder: Path, **fields: object) -> tuple[list[Patient], Attrition]:
    attrition = Attrition()
    source = MimicIII.model_validate({"folder": folder.name, **fields})
    return list(source.patients(root=folder.parent, attrition=attrition)), attrition


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_stays_codes_deaths_and_notes_are_joined_by_patient(tmp_path):
    (one, child), attrition = read(write(tmp_path / "iii", hospital(), ".csv.gz"))
    first, second = one.stays
    assert first.codes == (
        Code("icd-9-cm", "038.9"),
        Code("icd-9-cm", "967.8"),
        Code("icd-9-cm", "E950.2"),
        Code("icd-9-cm-procedures", "03.31"),
    )
    assert (first.planned, second.planned, child.stays[0].planned) == (False, True, None)
    assert (first.newborn, second.newborn, child.stays[0].newborn) == (False, False, True)
    assert (first.died, one.deaths_known) == (False, True)
    assert one.died == at("2196-06-01 23:59:59.999999")
    assert one.died_from == at("2196-06-01 00:00:00")
    assert child.died is None
    assert first.facts["ethnicity"] == "WHITE"
    assert "religion" not in first.facts
    assert [(item.at, item.kind, item.stay) for item in one.notes] == [
        (at("2196-03-01 23:59:59.999999"), "radiology", None),
        (at("2196-04-09 14:20:00"), "nursing/other", "165315"),
        (at("2196-04-10 23:59:59.999999"), "discharge", "165315"),
        (at("2196-04-12 23:59:59.999999"), "discharge", "165315"),
        (at("2196-05-03 10:00:00"), "discharge", "165316"),  # not on the day of the admission
    ]
    assert one.notes[-1].text == '"quoted",\nyes'
    assert attrition.counts == {"notes marked as errors": 1, "codes that are empty": 1}


def test_summaries_may_be_taken_as_written_at_the_discharge_but_addenda_not(tmp_path):
    (one, _), _ = read(write(tmp_path / "iii", hospital(), ".csv"), summaries="discharge")
    summaries = [item.at for item in one.notes if item.kind == "discharge"]
    assert summaries == [
        one.stays[0].discharged,
        at("2196-04-12 23:59:59.999999"),
        one.stays[1].discharged,
    ]


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_every_kind_and_case_of_file_gives_the_same_patients(tmp_path, ending, lower):
    wanted = read(write(tmp_path / "plain", hospital(), ".csv"))[0]
    assert read(write(tmp_path / "iii", hospital(), ending, lower=lower))[0] == wanted


def test_lost_zeros_refuse_the_file_and_name_a_code_only(tmp_path):
    tables = hospital()
    tables["DIAGNOSES_ICD"][1]["ICD9_CODE"] = "389"
    tables["DIAGNOSES_ICD"][0]["ICD9_CODE"] = "4112"
    with pytest.raises(SourceBroken) as refused:
        read(write(tmp_path / "iii", tables, ".csv"))
    assert str(refused.value).startswith(
        "DIAGNOSES_ICD.csv: column icd9_code has lost the zeros at the front of its codes: it has "
    )
    assert "165315" not in str(refused.value)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("HADM_ID", "165315.0", "NOTEEVENTS.csv record 1: column hadm_id was turned"),
        ("CHARTDATE", "4/10/2196", "NOTEEVENTS.csv record 1: column chartdate is not"),
        ("CHARTTIME", CANARY, "NOTEEVENTS.csv record 1: column charttime is not"),
    ],
)
def test_a_mangled_note_is_refused_without_its_values(tmp_path, column, value, said):
    tables = hospital()
    tables["NOTEEVENTS"][0] |= {column: value, "TEXT": CANARY}
    with pytest.raises(SourceBroken) as refused:
        read(write(tmp_path / "iii", tables, ".csv"))
    assert said in str(refused.value)
    for private in (CANARY, value, "165315"):
        assert private not in str(refused.value)


def test_missing_notes_are_said_with_what_to_do(tmp_path):
    folder = write(tmp_path / "iii", hospital(), ".csv")
    (folder / "NOTEEVENTS.csv").unlink()
    with pytest.raises(SourceBroken, match=r"iii: holds none of noteevents.csv, .*note_folder"):
        read(folder)

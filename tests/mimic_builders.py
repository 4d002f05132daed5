"""A small hospital in MIMIC-IV's columns, written in every way that its tables come."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime
from pathlib import Path

from client.sources.mimic_iv import MimicIV
from client.sources.source import Attrition
from tasks.records import Patient

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

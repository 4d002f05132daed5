"""mimic-iv: files that a spreadsheet or a program changed are refused, without their values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mimic_builders import Table, hospital, read, write

from privacy.errors import SourceBroken
from tasks.records import Code

CANARY = "Zebulon Quagmire"


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
            f"procedures_icd{{}}: {LOST}: it has 66, and ICD-9-CM volume 3 has 066;",
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
        (code("1-Oct"), "holds codes turned into dates, such as 1-Oct;"),
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

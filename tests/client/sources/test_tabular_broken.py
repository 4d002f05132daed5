"""csv and parquet: what is broken is named or counted, never shown."""

from __future__ import annotations

import pytest
from tabular_builders import (
    AT,
    CANARY,
    CODES,
    KINDS,
    SOURCE,
    STAYS,
    TABLES,
    alone,
    dated,
    read,
    write,
)

from client.sources.tabular import Csv
from privacy.errors import SourceBroken


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_column_is_named_and_those_there_are_not(tmp_path, kind):
    table = {CANARY: ["p"], "text": ["x"], "at": ["2024-01-05T12:00Z"]}
    with pytest.raises(SourceBroken, match=r"notes: has no column 'patient'") as error:
        alone(tmp_path, kind, table, notes=AT)
    assert CANARY not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_is_neither_true_nor_false_is_refused(tmp_path, kind):
    for name, table in TABLES.items():
        write(tmp_path, kind, name, table)
    write(tmp_path, kind, "stays", {**STAYS, "decision": ["DENIED", CANARY, ""]})
    with pytest.raises(SourceBroken, match=r"stays row 2: column decision: .* missing") as error:
        read(tmp_path, kind.model_validate(SOURCE))
    assert CANARY not in str(error.value)


def test_a_code_of_an_unknown_system_is_refused(tmp_path):
    for name, table in TABLES.items():
        write(tmp_path, Csv, name, table)
    write(tmp_path, Csv, "codes", {**CODES, "version": ["10", CANARY, "10", "10"]})
    with pytest.raises(SourceBroken, match=r"codes row 2: column version: .*code_sys") as error:
        read(tmp_path, Csv.model_validate(SOURCE))
    assert CANARY not in str(error.value)


def test_a_stay_of_two_patients_needs_the_patients_column_of_codes(tmp_path):
    for name, table in TABLES.items():
        write(tmp_path, Csv, name, table)
    write(tmp_path, Csv, "stays", {**STAYS, "enc": ["a", "b", "a"]})
    with pytest.raises(SourceBroken, match=r"stays row \d: its stay's id stands at another pat"):
        read(tmp_path, Csv.model_validate(SOURCE))
    write(tmp_path, Csv, "codes", {**CODES, "pid": ["10", "2", "2", ""]})
    codes = {**SOURCE["codes"], "columns": {**SOURCE["codes"]["columns"], "patient": "pid"}}
    (ten, two), attrition = read(tmp_path, Csv.model_validate({**SOURCE, "codes": codes}))
    assert [code.code for code in ten.stays[0].codes] == ["I10"]
    assert [code.code for code in two.stays[0].codes] == ["0411"]
    assert attrition.counts["codes of a stay that is not there"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_used_is_counted_by_rule(tmp_path, kind):
    write(
        tmp_path,
        kind,
        "notes",
        {
            "pid": ["1", "1", "1", "1", None, "1", "1"],
            "enc": ["a", "a", "a", "b", "a", "a", "nowhere"],
            "written": ["2024-01-05T10:00Z"] * 2 + [None] + ["2024-01-05T10:00Z"] * 3
            + ["2199-01-01T00:00Z"],
            "type": ["x"] * 7,
            "words": ["same", "same", "no time", " \n", CANARY, "be\x07ll", "later"],
        },
    )  # fmt: skip
    times = {
        "from": ["2024-01-01T00:00Z", "2024-01-01T00:00Z", "2024-01-02T00:00Z",
                 "2024-01-09T00:00Z", None, "2024-01-01T00:00Z", "2024-01-01T00:00Z"],
        "to": ["2024-01-05T00:00Z", "2024-01-05T00:00Z", "2199-01-06T00:00Z",
               "2024-01-08T00:00Z", "2024-01-08T00:00Z", "2024-01-08T00:00Z", "2024-01-08T00:00Z"],
    }  # fmt: skip
    stays = {"pid": ["1"] * 6 + [None], "enc": ["a", "a", "b", "c", "d", None, "e"], **times}
    write(tmp_path, kind, "stays", stays)
    codes = {"enc": ["a", "a", "a", "e", None], "icd": ["I10", "I10", " ", "I10", "I10"]}
    write(tmp_path, kind, "codes", codes)
    source = {
        "notes": SOURCE["notes"],
        "stays": {"paths": ["stays"], "columns": SOURCE["stays"]["columns"]},
        "codes": {
            "paths": ["codes"],
            "columns": {"stay": "enc", "code": "icd"},
            "code_system": "icd-10-cm",
        },
    }
    (one,), attrition = read(tmp_path, kind.model_validate(source))
    assert [note.text for note in one.notes] == ["same", "be ll", "later"]
    assert [stay.id for stay in one.stays] == ["a", "b"]
    assert attrition.counts == {
        "notes without a patient's id": 1,
        "notes that stand twice": 1,
        "notes without a time": 1,
        "notes without text": 1,
        "notes with control characters (kept)": 1,
        "notes of a stay that is not there (kept)": 1,
        "notes dated in the future (kept)": 1,
        "stays without a patient's id": 1,
        "stays without an id": 1,
        "stays without both of their times": 1,
        "stays that stand twice": 1,
        "stays discharged before they began": 1,
        "stays that overlap another (kept)": 1,
        "stays dated in the future (kept)": 1,
        "codes that stand twice at a stay": 1,
        "rows without a code": 1,
        "codes of a stay that is not there": 2,
    }
    assert attrition.first["stays without both of their times"] == "stays row 5"
    assert CANARY not in str(attrition.__dict__)


@pytest.mark.parametrize("kind", KINDS)
def test_long_notes_and_other_scripts_are_read_whole(tmp_path, kind):
    texts = ["слово " * 900_000, "שלום עליכם، مرحبا", "x" * 10 * 2**20]
    found, attrition = alone(tmp_path, kind, dated(patient=["Ж", "א", "z"], text=texts), notes=AT)
    assert {one.id: one.notes[0].text for one in found} == dict(
        zip(["Ж", "א", "z"], texts, strict=True)
    )
    assert attrition.counts == {}

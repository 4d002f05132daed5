"""vaers: what becomes of a report, and that a mangled file is named without its content."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from client.sources.source import Attrition
from client.sources.vaers import FLAGS, Vaers
from privacy.errors import SourceBroken
from tasks.records import Code, Patient

CANARY = "Zebulon Quagmire"
HEADER = ("VAERS_ID", "RECVDATE", "STATE", "AGE_YRS", "SEX", "SYMPTOM_TEXT", "RECOVD")
HEADER += tuple(FLAGS.values())
SYMPTOMS = ("VAERS_ID", *(f"SYMPTOM{number}" for number in range(1, 6)))


def report(number: int, **changes: str) -> dict[str, str]:
    row = dict.fromkeys(HEADER, "") | {
        "VAERS_ID": str(number),
        "RECVDATE": "07/09/1998",
        "STATE": "CA",
        "SYMPTOM_TEXT": f"rash {number}",
    }
    return row | changes


def table(columns: tuple[str, ...], rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def packed(folder: Path, year: int, files: dict[str, str | bytes]) -> Path:
    path = folder / f"{year}VAERSData.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(
                f"{year}{name}", content.encode("latin-1") if isinstance(content, str) else content
            )
    return path


def filed(
    folder: Path,
    *reports: dict[str, str],
    symptoms: list[dict[str, str]] | None = None,
    year: int = 1998,
) -> Path:
    files: dict[str, str | bytes] = {
        "VAERSDATA.csv": table(HEADER, list(reports)),
        "VAERSSYMPTOMS.csv": table(SYMPTOMS, symptoms or []),
    }
    return packed(folder, year, files)


def read(folder: Path, **fields: Any) -> tuple[list[Patient], Attrition]:
    source, attrition = Vaers.model_validate({"years": [1998], **fields}), Attrition()
    return list(source.patients(root=folder, attrition=attrition)), attrition


def refusal(folder: Path, **fields: Any) -> str:
    with pytest.raises(SourceBroken) as caught:
        read(folder, **fields)
    said = str(caught.value)
    assert CANARY not in said
    assert "\n" not in said
    return said


def test_a_report_is_a_patient_with_one_stay_and_one_note(tmp_path):
    ticked = report(
        7,
        DIED="Y",
        HOSPITAL="Y",
        RECOVD="N",
        SEX="F",
        STATE="ca",
        SYMPTOM_TEXT='a "red" rash,\r\nhot',
    )
    symptoms = [
        {"VAERS_ID": "7", "SYMPTOM1": "Rash", "SYMPTOM2": "Pyrexia"},
        {"VAERS_ID": "7", "SYMPTOM1": "Rash", "SYMPTOM2": " Pain "},
    ]
    filed(tmp_path, ticked, symptoms=symptoms)
    (one,), attrition = read(tmp_path)
    (stay,), (note,) = one.stays, one.notes
    assert (one.id, one.part, one.died, one.deaths_known) == ("7", None, None, False)
    assert (note.kind, note.text, note.stay) == ("report", 'a "red" rash,\r\nhot', stay.id)
    assert stay.admitted == stay.discharged == note.at == datetime(1998, 7, 9, tzinfo=UTC)
    assert stay.codes == tuple(Code("meddra-term", name) for name in ("Rash", "Pyrexia", "Pain"))
    assert stay.facts == {
        "died": True,
        "hospital": True,
        "emergency": False,
        "life_threat": False,
        "disability": False,
        "prolonged_stay": False,
        "recovered": False,
        "sex": "F",
        "state": "CA",
    }
    assert attrition.counts == {}


def test_what_a_report_does_not_say_is_absent(tmp_path):
    filed(tmp_path, report(1, SEX="U", STATE="", RECOVD="U"), report(2, RECOVD="Y", SEX="M"))
    first, second = (one.stays[0].facts for one in read(tmp_path)[0])
    assert set(first) == set(FLAGS)
    assert (second["recovered"], second["sex"]) == (True, "M")


def test_reports_without_a_narrative_are_counted(tmp_path):
    filed(tmp_path, report(1), report(2, SYMPTOM_TEXT=" \t"), report(3, SYMPTOM_TEXT=""))
    found, attrition = read(tmp_path)
    assert [one.id for one in found] == ["1"]
    assert attrition.counts == {"notes without text": 2, "patients without notes": 2}
    assert attrition.first["patients without notes"] == "1998VAERSDATA.csv row 2"


def test_symptoms_of_no_report_are_counted_by_the_whole_and_not_by_a_share(tmp_path):
    filed(tmp_path, report(1), symptoms=[{"VAERS_ID": "9", "SYMPTOM1": "Rash"}])
    counts = {"reports with symptoms and nothing else": 1}
    assert read(tmp_path)[1].counts == counts
    assert read(tmp_path, only={"states": ["CA"]})[1].counts == {}


def test_a_report_that_stands_twice_is_refused_also_in_another_year(tmp_path):
    filed(tmp_path, report(1), report(2))
    filed(tmp_path, report(2, RECVDATE="01/01/1999"), year=1999)
    said = refusal(tmp_path, years=[1998, 1999])
    assert said.startswith("1999VAERSDATA.csv row 1: its patient's id stood at 1998VAERSDATA.csv r")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"RECVDATE": f"{CANARY}"}, "row 2: column RECVDATE is not a date as MM/DD/YYYY"),
        ({"RECVDATE": "1998-07-09"}, "row 2: column RECVDATE"),
        ({"RECVDATE": "7/9/1998"}, "row 2: column RECVDATE"),
        ({"RECVDATE": "13/09/1998"}, "row 2: column RECVDATE"),
        ({"RECVDATE": "02/30/1998"}, "row 2: column RECVDATE"),
        ({"RECVDATE": ""}, "row 2: column RECVDATE"),
        ({"RECVDATE": "07/09/1998 "}, "row 2: column RECVDATE"),
        ({"DIED": CANARY}, "row 2: column DIED holds neither Y nor nothing"),
        ({"X_STAY": "N"}, "row 2: column X_STAY holds neither Y nor nothing"),
        ({"VAERS_ID": ""}, "row 2: column VAERS_ID is not a report's number"),
        ({"VAERS_ID": CANARY}, "row 2: column VAERS_ID is not a report's number"),
        ({"VAERS_ID": "1.2E+5"}, "row 2: column VAERS_ID is not a report's number"),
        ({"VAERS_ID": "1" * 5000}, "row 2: column VAERS_ID is not a report's number"),
    ],
)
def test_a_mangled_value_is_named_by_row_and_column(tmp_path, changes, said):
    filed(tmp_path, report(1, SYMPTOM_TEXT="two\r\nlines"), report(2, **changes))
    assert refusal(tmp_path).startswith(f"1998VAERSDATA.csv {said}")


@pytest.mark.parametrize("column", HEADER)
def test_every_column_that_is_read_must_be_there_once(tmp_path, column):
    data = table(HEADER, [report(1)])
    files = {"VAERSSYMPTOMS.csv": table(SYMPTOMS, [])}
    packed(tmp_path, 1998, files | {"VAERSDATA.csv": data.replace(column, "OTHER", 1)})
    if column == "AGE_YRS":  # not read
        assert len(read(tmp_path)[0]) == 1
        return
    expected = f"1998VAERSDATA.csv: column {column} is missing in its header"
    assert refusal(tmp_path) == expected
    packed(tmp_path, 1998, files | {"VAERSDATA.csv": data.replace("AGE_YRS", column, 1)})
    assert refusal(tmp_path) == expected.replace("is missing", "stands twice")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"1,{CANARY}\r\n", "row 1: has 2 values where the header has 13"),
        ("," * 20, "row 1: has 21 values where the header has 13"),
        (f'1,"{CANARY}" x,\r\n', "row 1: is not CSV"),
        (f'1,"{CANARY}', "row 1: is not CSV"),
    ],
)
def test_a_broken_row_is_named(tmp_path, row, said):
    data = table(HEADER, []) + row
    packed(tmp_path, 1998, {"VAERSDATA.csv": data, "VAERSSYMPTOMS.csv": table(SYMPTOMS, [])})
    assert refusal(tmp_path).startswith(f"1998VAERSDATA.csv {said}")


def test_a_broken_row_of_symptoms_is_named(tmp_path):
    filed(tmp_path, report(1), symptoms=[{"VAERS_ID": CANARY}])
    expected = "1998VAERSSYMPTOMS.csv row 1: column VAERS_ID is not a report's number"
    assert refusal(tmp_path) == expected


def test_a_zip_that_is_missing_or_broken_or_lacks_a_file_is_named(tmp_path):
    assert refusal(tmp_path) == f"1998VAERSData.zip: no such file in {tmp_path}"
    path = packed(tmp_path, 1998, {"VAERSDATA.csv": table(HEADER, [report(1)])})
    assert refusal(tmp_path).startswith("1998VAERSData.zip: has no 1998VAERSSYMPTOMS.csv in it")
    path = filed(tmp_path, *(report(number) for number in range(500)))
    whole = path.read_bytes()
    said = "1998VAERSData.zip: cannot be read as a zip"
    path.write_bytes(whole[: len(whole) // 2])
    assert refusal(tmp_path).startswith(said)
    path.write_bytes(whole[:200] + bytes(100) + whole[300:])
    assert refusal(tmp_path).startswith(said)
    path.write_bytes(b"")
    assert refusal(tmp_path).startswith(said)


def test_an_encoding_is_said_and_never_guessed(tmp_path):
    filed(tmp_path, report(1, SYMPTOM_TEXT="fièvre à 40°"))
    (one,), attrition = read(tmp_path)
    assert one.notes[0].text == "fièvre à 40°"
    assert attrition.counts == {}
    assert refusal(tmp_path, encoding="utf-8").startswith(
        "1998VAERSData.zip: 1998VAERSDATA.csv is not UTF-8"
    )


def test_utf_8_that_is_read_as_latin_1_is_counted(tmp_path):
    data = table(HEADER, [report(1, SYMPTOM_TEXT="fièvre"), report(2)]).encode()
    packed(tmp_path, 1998, {"VAERSDATA.csv": data, "VAERSSYMPTOMS.csv": table(SYMPTOMS, [])})
    rule = "notes in UTF-8 where latin-1 is said (kept)"
    assert read(tmp_path)[1].counts == {rule: 1}
    found, attrition = read(tmp_path, encoding="utf-8")
    assert found[0].notes[0].text == "fièvre"
    assert attrition.counts == {}


def test_a_narrative_of_ten_megabytes_and_one_with_control_characters_are_read(tmp_path):
    long = "fever " * 1_700_000
    filed(tmp_path, report(1, SYMPTOM_TEXT=long), report(2, SYMPTOM_TEXT="a\x00b\x85c"))
    found, attrition = read(tmp_path)
    assert found[0].notes[0].text == long
    assert found[1].notes[0].text == "a b c"
    assert attrition.counts == {"notes with control characters (kept)": 1}


def test_a_split_by_year_goes_by_the_date_of_the_report(tmp_path):
    dates = ("12/31/1997", "01/01/1998", "06/01/1999")
    filed(tmp_path, *(report(number, RECVDATE=date) for number, date in enumerate(dates)))
    found, attrition = read(tmp_path, part={"train": [1997], "heldout": [1998]})
    assert [(one.id, one.part) for one in found] == [("0", "train"), ("1", "heldout")]
    assert attrition.counts == {"reports in no part of the split": 1}
    assert attrition.first["reports in no part of the split"] == "1998VAERSDATA.csv row 3"


@pytest.mark.parametrize(
    "table_",
    [
        {"years": []},
        {"years": [1998, 1998]},
        {"years": [98]},
        {"years": [1998], "part": {"train": [1998], "heldout": [1998]}},
        {"years": [1998], "encoding": "ascii"},
    ],
)
def test_years_that_make_no_sense_are_refused(table_):
    with pytest.raises(ValueError, match=r"year|part|encoding"):
        Vaers.model_validate(table_)


def test_a_cut_gives_every_report_to_exactly_one_site(tmp_path):
    states = ["TX"] * 4 + ["NY"] * 3 + ["OH"] * 2 + ["", "", "", "", "ny"]
    filed(tmp_path, *(report(number, STATE=state) for number, state in enumerate(states)))
    pieces = Vaers(years=(1998,)).cut("STATE", largest=2, rest="rest", root=tmp_path)
    assert [(piece.name, piece.training_patients) for piece in pieces] == [
        ("NY", 4),
        ("TX", 4),
        ("rest", 6),
    ]
    ids = [
        one.id
        for piece in pieces
        for one in piece.source.patients(root=tmp_path, attrition=Attrition())
    ]
    assert sorted(map(int, ids)) == list(range(len(states)))


def test_a_cut_counts_training_reports_with_a_narrative_only(tmp_path):
    filed(
        tmp_path,
        report(1, STATE="TX", RECVDATE="01/01/1999"),
        report(2, STATE="TX", RECVDATE="01/01/1999"),
        report(3, STATE="NY"),
        report(4, STATE="NY", SYMPTOM_TEXT=" "),
    )
    source = Vaers.model_validate({"years": [1998], "part": {"train": [1998], "heldout": [1999]}})
    pieces = source.cut("STATE", largest=2, rest="rest", root=tmp_path)
    assert [(piece.name, piece.training_patients) for piece in pieces] == [("NY", 1), ("rest", 0)]
    attrition = Attrition()
    held_out = list(pieces[1].source.patients(root=tmp_path, attrition=attrition))
    assert [one.id for one in held_out] == ["1", "2"]


def test_a_cut_is_counted_anew_when_a_zip_changes(tmp_path):
    filed(tmp_path, report(1))
    source = Vaers(years=(1998,))
    assert source.cut("STATE", largest=1, rest="rest", root=tmp_path)[0].training_patients == 1
    filed(tmp_path, report(1), report(2))
    assert source.cut("STATE", largest=1, rest="rest", root=tmp_path)[0].training_patients == 2


def test_only_states_can_cut(tmp_path):
    with pytest.raises(ValueError, match="cut by the column 'STATE', not by 'SEX'"):
        Vaers(years=(1998,)).cut("SEX", largest=1, rest="rest", root=tmp_path)


def test_its_state_changes_with_its_zips(tmp_path):
    source = Vaers(years=(1998, 1999))
    states = [source.state(root=tmp_path)]
    filed(tmp_path, report(1))
    states += [source.state(root=tmp_path), source.state(root=tmp_path)]
    filed(tmp_path, report(2, RECVDATE="01/01/1999"), year=1999)
    states.append(source.state(root=tmp_path))
    assert states[1] == states[2]
    assert len(set(states)) == 3

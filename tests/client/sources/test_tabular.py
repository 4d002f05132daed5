"""csv and parquet: joined by patient, equal to each other; what is broken is named or counted."""

from __future__ import annotations

import csv
import gzip
import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tomli_w
from pydantic import ValidationError

from client.site import Site
from client.sources.source import Attrition
from client.sources.tabular import Csv, Parquet, Tabular
from privacy.errors import SourceBroken
from tasks.records import Code, Patient

CANARY = "Zebulon Quagmire"
INSTANT = timedelta(microseconds=1)

NOTES = {
    "pid": ["10", "2", "10", "2"],
    "enc": ["a", "c", "b", None],
    "written": ["2024-01-05 10:00", "2024-02-02 09:00", "2024-01-20 08:30", "2024-03-01 12:00"],
    "type": ["discharge", "discharge", "progress", None],
    "words": ["first", "second, with comma", 'third\r\n"quoted"', "fourth"],
}
STAYS = {
    "pid": ["10", "10", "2"],
    "enc": ["a", "b", "c"],
    "from": ["2024-01-01 08:00", "2024-01-15 08:00", "2024-02-01 22:00"],
    "to": ["2024-01-05 12:00", "2024-01-20 12:00", "2024-02-02 12:00"],
    "dead": ["0", "1", ""],
    "elective": ["y", "n", ""],
    "decision": ["DENIED", "PAID", ""],
    "ward": ["ICU", "", "7"],
    "triage": ["2024-01-01 07:00", "", "2024-02-01 21:00"],
}
CODES = {
    "enc": ["a", "a", "c", "zz"],
    "version": ["10", "9", "10", "10"],
    "icd": ["I10", "0411", "E119", "J18"],
}
FOLLOW_UP = {"pid": ["10", "3"], "died": ["2024-06-01", ""], "last": ["2024-07-01", "2024-07-01"]}

YES = {"true": ["1"], "false": ["0"]}
SOURCE: dict[str, Any] = {
    "time_zone": "Europe/Madrid",
    "notes": {
        "columns": {
            "patient": "pid",
            "at": "written",
            "kind": "type",
            "text": "words",
            "stay": "enc",
        },
        "paths": ["notes"],
    },
    "stays": {
        "columns": {"patient": "pid", "stay": "enc", "admitted": "from", "discharged": "to"},
        "paths": ["stays"],
        "died": {"column": "dead", **YES},
        "planned": {"column": "elective", "true": ["y"], "false": ["n"]},
        "facts": {
            "denied": {"column": "decision", "true": ["DENIED"], "false": ["PAID"]},
            "ward": {"column": "ward", "type": "category"},
        },
        "times": {"triaged": "triage"},
    },
    "codes": {
        "columns": {"stay": "enc", "code": "icd", "system": "version"},
        "paths": ["codes"],
        "code_systems": {"9": "icd-9-cm", "10": "icd-10-cm"},
    },
    "follow_up": {
        "columns": {"patient": "pid", "died": "died", "followed_until": "last"},
        "paths": ["follow_up"],
        "deaths_known": True,
    },
}
TABLES = {"notes": NOTES, "stays": STAYS, "codes": CODES, "follow_up": FOLLOW_UP}
KINDS: tuple[type[Tabular], ...] = (Csv, Parquet)


def write(folder: Path, kind: type[Tabular], name: str, table: dict[str, list[Any]]) -> None:
    if kind is Parquet:
        pq.write_table(pa.table(table), folder / name)
        return
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(table)
        out.writerows(zip(*table.values(), strict=True))


def read(folder: Path, source: Tabular) -> tuple[list[Patient], Attrition]:
    attrition = Attrition()
    return list(source.patients(root=folder, attrition=attrition)), attrition


def whole(folder: Path, kind: type[Tabular], **changes: Any) -> tuple[list[Patient], Attrition]:
    for name, table in TABLES.items():
        write(folder, kind, name, table)
    return read(folder, kind.model_validate({**SOURCE, **changes}))


def alone(
    folder: Path, kind: type[Tabular], table: dict[str, list[Any]], **source: Any
) -> tuple[list[Patient], Attrition]:
    """Notes that tell of their stays."""
    write(folder, kind, "notes", table)
    notes = {"paths": ["notes"], **source.pop("notes", {})}
    return read(folder, kind.model_validate({"notes": notes, **source}))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize("kind", KINDS)
def test_four_tables_become_patients_in_order_of_id(tmp_path, kind):
    (ten, two), attrition = whole(tmp_path, kind)
    assert (ten.id, two.id) == ("10", "2")
    first, second = ten.stays
    assert (first.admitted, first.discharged) == (utc(2024, 1, 1, 7), utc(2024, 1, 5, 11))
    assert first.codes == (Code("icd-10-cm", "I10"), Code("icd-9-cm", "0411"))
    assert (first.died, first.planned, first.newborn) == (False, True, None)
    assert first.facts == {"denied": True, "ward": "ICU"}
    assert first.times == {"triaged": utc(2024, 1, 1, 6)}
    assert (second.died, second.facts, second.times, second.codes) == (
        True,
        {"denied": False},
        {},
        (),
    )
    assert (two.stays[0].died, two.stays[0].planned, two.stays[0].facts) == (
        None,
        None,
        {"ward": "7"},
    )
    assert [(n.at, n.kind, n.text, n.stay) for n in ten.notes] == [
        (utc(2024, 1, 5, 9), "discharge", "first", "a"),
        (utc(2024, 1, 20, 7, 30), "progress", 'third\r\n"quoted"', "b"),
    ]
    assert [(n.kind, n.stay) for n in two.notes] == [("discharge", "c"), ("note", None)]
    assert (ten.died_from, ten.died, ten.deaths_known, ten.followed_until) == (
        utc(2024, 5, 31, 22),
        utc(2024, 6, 1, 22) - INSTANT,
        True,
        utc(2024, 6, 30, 22),
    )
    assert (two.died, two.deaths_known, two.followed_until) == (None, True, None)
    assert attrition.counts == {
        "codes of a stay that is not there": 1,
        "dates without a time of day (kept)": 3,
        "notes without a stay's id (kept)": 1,
        "patients without notes": 1,
    }
    assert attrition.first["codes of a stay that is not there"] == "codes row 4"
    assert attrition.first["patients without notes"] == "follow_up row 2"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("zone", "hours"), [("UTC", 0), ("Europe/Madrid", -1), ("America/New_York", 5)]
)
def test_dates_alone_of_notes_and_ends_are_the_days_end_in_the_sources_zone(
    tmp_path, kind, zone, hours
):
    table = {
        "patient": ["1"],
        "text": ["said in the afternoon"],
        "at": ["2020-01-05"],
        "from": ["2020-01-05"],
        "to": ["2020-01-09"],
    }
    dates = {"at", "from", "to"} if kind is Parquet else set()
    typed = {
        name: [date.fromisoformat(cell) if name in dates else cell for cell in cells]
        for name, cells in table.items()
    }
    columns = {"at": "at", "admitted": "from", "discharged": "to"}
    (one,), attrition = alone(
        tmp_path, kind, typed, notes={"columns": columns}, time_zone=zone, shifted=True
    )
    shift, end = timedelta(hours=hours), timedelta(days=1) - INSTANT
    assert one.notes[0].at == utc(2020, 1, 5) + shift + end
    assert one.stays[0].admitted == utc(2020, 1, 5) + shift
    assert one.stays[0].discharged == utc(2020, 1, 9) + shift + end
    assert sum(n for rule, n in attrition.counts.items() if rule.startswith("dates without")) == 3


def test_a_death_with_a_time_is_not_known_by_its_day(tmp_path, monkeypatch):
    monkeypatch.setitem(FOLLOW_UP, "died", ["2024-06-01 00:00", ""])
    (ten, _), _ = whole(tmp_path, Csv)
    assert (ten.died, ten.died_from) == (utc(2024, 5, 31, 22), None)


def test_both_kinds_read_the_same(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "p").mkdir()
    assert whole(tmp_path / "c", Csv)[0] == whole(tmp_path / "p", Parquet)[0]


def test_gzip_a_delimiter_and_latin_1_are_declared(tmp_path):
    text = "patient;at;text\n1;2024-01-01T10:00Z;Señora ÿ\n"
    (tmp_path / "n.csv.gz").write_bytes(gzip.compress(text.encode("latin-1")))
    source = {"notes": {"paths": ["n.csv.gz"], "columns": {"at": "at"}}, "delimiter": ";"}
    (one,), _ = read(tmp_path, Csv.model_validate({**source, "encoding": "latin-1"}))
    assert one.notes[0].text == "Señora ÿ"
    with pytest.raises(
        SourceBroken, match=r'^n\.csv\.gz line 2: is not utf-8; set encoding = "latin-1"'
    ):
        read(tmp_path, Csv.model_validate(source))


DOCUMENTS: dict[str, list[Any]] = {
    "patient": ["p1", "p1", "p2"],
    "stay": ["s1", "s1", "s2"],
    "to": ["2024-01-05T12:00Z", "2024-01-05T12:00Z", "2024-02-05T12:00Z"],
    "codes": ["I10; E11.9", "J18.9;I10", ""],
    "text": ["one", "two", "three"],
}
EMBEDDED = {
    "columns": {"stay": "stay", "discharged": "to", "codes": "codes"},
    "code_system": "icd-10-cm",
    "code_separator": ";",
}


@pytest.mark.parametrize("kind", KINDS)
def test_notes_alone_tell_of_their_stays(tmp_path, kind):
    (one, two), attrition = alone(tmp_path, kind, DOCUMENTS, notes=EMBEDDED)
    assert [code.code for code in one.stays[0].codes] == ["I10", "E11.9", "J18.9"]
    assert one.stays[0].admitted == one.stays[0].discharged == utc(2024, 1, 5, 12)
    assert {note.at for note in one.notes} == {utc(2024, 1, 5, 12)}
    assert (two.stays[0].id, two.stays[0].codes) == ("s2", ())
    assert attrition.counts == {}


def test_a_list_of_codes_in_parquet_needs_no_separator(tmp_path):
    table = {**DOCUMENTS, "codes": [["I10", "E11.9"], ["J18.9"], None]}
    notes = {key: value for key, value in EMBEDDED.items() if key != "code_separator"}
    (one, two), _ = alone(tmp_path, Parquet, table, notes=notes)
    assert len(one.stays[0].codes) == 3
    assert two.stays[0].codes == ()


@pytest.mark.parametrize("kind", KINDS)
def test_undated_notes_are_a_stay_each(tmp_path, kind):
    table = {"patient": ["a", "a", "b"], "text": ["x", "y", "z"], "codes": ["I10", "", "E11"]}
    notes = {"columns": {"codes": "codes"}, "code_system": "icd-10-cm", "code_separator": ","}
    (one, two), attrition = alone(tmp_path, kind, table, undated=True, notes=notes)
    assert [stay.id for stay in one.stays] == ["notes row 1", "notes row 2"]
    assert [note.stay for note in one.notes] == ["notes row 1", "notes row 2"]
    assert two.stays[0].codes == (Code("icd-10-cm", "E11"),)
    assert attrition.counts == {}


def test_rows_that_tell_a_stay_otherwise_are_counted(tmp_path):
    table = {**DOCUMENTS, "to": ["2024-01-05T12:00Z", "2024-01-06T12:00Z", "2024-02-05T12:00Z"]}
    (one, _), attrition = alone(tmp_path, Csv, table, notes=EMBEDDED)
    assert len(one.stays) == 1
    assert attrition.counts == {"rows that tell a stay otherwise": 1}
    assert attrition.first == {"rows that tell a stay otherwise": "notes row 2"}


def test_a_note_kind_may_be_fixed_and_notes_need_no_stays(tmp_path):
    table = {"patient": ["a"], "text": ["x"], "at": ["2024-01-05T12:00Z"]}
    notes = {"columns": {"at": "at"}, "note_kind": "discharge"}
    (one,), _ = alone(tmp_path, Csv, table, notes=notes, followed_until="2024-06-01T00:00Z")
    assert (one.notes[0].kind, one.stays) == ("discharge", ())
    assert one.followed_until == utc(2024, 6, 1)


# --- Ids, types ---------------------------------------------------------------------------------

AT = {"columns": {"at": "at"}}


def dated(**columns: list[Any]) -> dict[str, list[Any]]:
    rows = len(next(iter(columns.values())))
    table: dict[str, list[Any]] = {
        "patient": ["p"] * rows,
        "at": ["2024-01-05T12:00Z"] * rows,
        "text": [f"words {number}" for number in range(rows)],
    }
    return {**table, **columns}


def test_whole_numbers_become_ids_exactly(tmp_path):
    large = [10**17, 10**17 + 1, 2**63 - 1]
    found, _ = alone(tmp_path, Parquet, dated(patient=large), notes=AT)
    assert sorted(int(one.id) for one in found) == large


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("patient", [1e17], "notes: column patient is DOUBLE; write ids as text or whole numbers"),
        ("patient", [b"p"], "notes: column patient is BLOB; write ids as text"),
        ("text", [5], "notes: column text is BIGINT; write notes as text"),
        ("at", [5.5], "notes: column at is DOUBLE; write it as a timestamp"),
    ],
)
def test_a_column_that_could_lose_what_it_holds_is_refused(tmp_path, column, values, said):
    with pytest.raises(SourceBroken, match=said):
        alone(tmp_path, Parquet, dated(**{column: values}), notes=AT)


def test_codes_as_numbers_are_refused_for_their_leading_zeros(tmp_path):
    for name, table in TABLES.items():
        write(tmp_path, Parquet, name, table)
    write(tmp_path, Parquet, "codes", {**CODES, "icd": [10, 411, 119, 18]})
    with pytest.raises(SourceBroken, match=r"codes: column icd is BIGINT; .* lose leading zeros"):
        read(tmp_path, Parquet.model_validate(SOURCE))


def test_parquet_booleans_need_no_declared_values(tmp_path):
    stays = {**STAYS, "dead": [False, True, None], "elective": [True, None, False]}
    for name, table in {**TABLES, "stays": stays}.items():
        write(tmp_path, Parquet, name, table)
    own = {**SOURCE["stays"], "died": {"column": "dead"}, "planned": {"column": "elective"}}
    (ten, two), _ = read(tmp_path, Parquet.model_validate({**SOURCE, "stays": own}))
    assert [(stay.died, stay.planned) for stay in (*ten.stays, *two.stays)] == [
        (False, True),
        (True, None),
        (None, False),
    ]


def test_ids_of_several_types_are_joined_as_text(tmp_path):
    for name, table in TABLES.items():
        write(tmp_path, Parquet, name, table)
    write(tmp_path, Parquet, "stays", {**STAYS, "pid": [10, 10, 2]})
    (ten, two), _ = read(tmp_path, Parquet.model_validate(SOURCE))
    assert (len(ten.stays), len(two.stays)) == (2, 1)


def test_an_empty_cell_may_mean_no_where_the_site_says_so(tmp_path):
    own = {**SOURCE["stays"], "died": {"column": "dead", "true": ["1"], "false": ["0", ""]}}
    (_, two), _ = whole(tmp_path, Csv, stays=own)
    assert two.stays[0].died is False


# --- Times --------------------------------------------------------------------------------------


def test_parquet_times_with_and_without_a_zone_and_dates(tmp_path):
    table = dated(patient=["a", "b"])
    naive = [datetime(2024, 7, 1, 10), datetime(2024, 1, 1, 10)]  # noqa: DTZ001
    for values, expected in (
        (pa.array(naive, pa.timestamp("ns")), [utc(2024, 7, 1, 8), utc(2024, 1, 1, 9)]),
        (pa.array(naive, pa.timestamp("s")), [utc(2024, 7, 1, 8), utc(2024, 1, 1, 9)]),
        (
            pa.array([time.replace(tzinfo=UTC) for time in naive], pa.timestamp("us", tz="UTC")),
            [utc(2024, 7, 1, 10), utc(2024, 1, 1, 10)],
        ),
        (
            pa.array([date(2024, 7, 1), date(2024, 1, 1)]),
            [utc(2024, 7, 1, 22) - INSTANT, utc(2024, 1, 1, 23) - INSTANT],
        ),
    ):
        found, _ = alone(
            tmp_path, Parquet, {**table, "at": values}, notes=AT, time_zone="Europe/Madrid"
        )
        assert [one.notes[0].at for one in found] == expected
    with pytest.raises(SourceBroken, match="notes row 1: column at: a time without a zone; set ti"):
        alone(tmp_path, Parquet, {**table, "at": pa.array(naive, pa.timestamp("us"))}, notes=AT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("2024-01-05 10:00", "a time without a zone; set time_zone"),
        ("1/15/2024", "is not an ISO time; set time_format"),
        ("15.01.2024 10:00", "is not an ISO time"),
        ("20240115", "is not an ISO time"),
        ("2024-13-05 10:00Z", "is not an ISO time"),
        ("45306.5", "is not an ISO time"),
        ("0024-01-05T10:00Z", "a year before 1800"),
        ("9999-12-31T23:59:59Z", "a year before 1800 or after 2400"),
        (CANARY, "is not an ISO time"),
    ],
)
def test_a_time_that_is_not_what_was_declared_is_named_by_row_and_column(
    tmp_path, kind, time, said
):
    table = dated(patient=["a", "b"], at=["2024-01-05T12:00Z", time])
    with pytest.raises(SourceBroken) as error:
        alone(tmp_path, kind, table, notes=AT)
    assert str(error.value).startswith(f"notes row 2: column at: {said}")
    assert time not in str(error.value)
    assert "\n" not in str(error.value)


def test_each_table_may_have_a_format_of_its_own(tmp_path):
    table = dated(at=["05.01.2024 14:30"])
    (one,), _ = alone(
        tmp_path, Csv, table, notes=AT, time_format="%d.%m.%Y %H:%M", time_zone="Europe/Madrid"
    )
    assert one.notes[0].at == utc(2024, 1, 5, 13, 30)
    (one,), _ = alone(
        tmp_path,
        Csv,
        table,
        notes={**AT, "time_format": "%d.%m.%Y %H:%M"},
        time_zone="Europe/Madrid",
    )
    assert one.notes[0].at == utc(2024, 1, 5, 13, 30)


# --- What is broken -----------------------------------------------------------------------------


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


@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_any_script_are_merged_in_one_order(tmp_path, kind):
    names = ["Z", "a", "é", "Ж", "א", "漢", "🙂", "￼", "10", "9"]
    write(tmp_path, kind, "notes", dated(patient=names))
    write(
        tmp_path,
        kind,
        "stays",
        {
            "patient": names[::-1],
            "stay": [f"s{name}" for name in names[::-1]],
            "admitted": ["2024-01-01T00:00Z"] * 10,
            "discharged": ["2024-01-05T00:00Z"] * 10,
        },
    )
    source = {"notes": {"paths": ["notes"], **AT}, "stays": {"paths": ["stays"]}}
    found, _ = read(tmp_path, kind.model_validate(source))
    assert [(one.id, one.stays[0].id) for one in found] == [(n, f"s{n}") for n in sorted(names)]


# --- Configurations -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"undated": True}, "with a table of stays"),
        ({"notes": {"paths": ["n"]}}, "notes.columns.at: name the column"),
        ({"notes": {"paths": ["n"], "columns": {"at": "t", "discharged": "d"}}}, "with a table"),
        ({"stays": None}, "codes need a table of stays"),
        ({"stays": None, "codes": None, "notes": {"paths": ["n"]}}, "name when notes were written"),
        (
            {
                "stays": None,
                "codes": None,
                "notes": {"paths": ["n"], "columns": {"at": "t"}, "died": {"column": "d"}},
            },
            "notes.columns.discharged",
        ),
        ({"time_zone": "Madrid"}, "not a zone of the IANA"),
        ({"time_zone": "../../etc/passwd"}, "not a zone of the IANA"),
        ({"time_format": "%d/%m/%y"}, "%Y"),
        ({"time_format": "%d/%m/%Y %I:%M"}, "%p"),
        ({"encoding": "cp1252"}, "encoding"),
        ({"delimiter": ",,"}, "delimiter"),
        ({"codes": {"paths": ["c"]}}, "give either code_system"),
        ({"codes": {"paths": ["c"], "code_system": "icd-11"}}, "code_system"),
        ({"stays": {"paths": ["s"], "died": {"column": "d", "type": "category"}}}, "must be bool"),
        ({"stays": {"paths": ["s"], "facts": {"x": {"column": "d", "true": ["1"],
         "false": ["1"]}}}}, "stands twice"),
        ({"follow_up": {"paths": ["f"]}}, "must name died or followed_until"),
        ({"patient": "x"}, "no such key|Extra"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_by_key(changes, said):
    with pytest.raises(ValidationError, match=said):
        Csv.model_validate({**SOURCE, **changes})


def test_a_site_names_it_and_it_survives_toml_and_json(tmp_path):
    source = {"kind": "csv", **SOURCE, "followed_until": utc(2024, 6, 1)}
    table = {"name": "north", "declared_patients": 10, "policy": {"lifetime": {"epsilon": 1.0}}}
    path = tmp_path / "site.toml"
    path.write_text(tomli_w.dumps({**table, "source": source}))
    site = Site.read(path)
    assert site.source == Csv.model_validate({**SOURCE, "followed_until": utc(2024, 6, 1)})
    again = tomli_w.dumps({"kind": "csv", **site.source.model_dump(exclude_none=True)})
    path.write_text(tomli_w.dumps({**table, "source": tomllib.loads(again)}))
    assert Site.read(path).source == site.source
    assert site.source.content_hash()


# --- Splits, cuts, state ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_data_may_fix_who_is_held_out(tmp_path, kind):
    part = {"column": "split", "train": ["train"], "heldout": ["dev"]}
    table = dated(patient=["a", "b", "c", "a"], split=["train", "dev", "test", "test"])
    found, attrition = alone(tmp_path, kind, table, notes=AT, part=part)
    assert [(one.id, one.part, len(one.notes)) for one in found] == [
        ("a", "train", 1),
        ("b", "heldout", 1),
    ]
    assert attrition.counts == {"notes in no part of the split": 2}
    table = dated(patient=["a", "a"], split=["train", "dev"])
    with pytest.raises(SourceBroken, match="notes row 2: its patient is in two parts"):
        alone(tmp_path, kind, table, notes=AT, part=part)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_gives_every_patient_to_exactly_one_site(tmp_path, kind):
    places = ["x"] * 5 + ["y"] * 3 + ["z"] * 2 + ["w"]
    table = dated(patient=[f"p{n}" for n in range(11)], place=places, split=["train"] * 11)
    table["split"][0] = "dev"
    write(tmp_path, kind, "notes", table)
    part = {"column": "split", "train": ["train"], "heldout": ["dev"]}
    source = kind.model_validate({"notes": {"paths": ["notes"], **AT}, "part": part})
    pieces = source.cut("place", largest=2, rest="others", root=tmp_path)
    assert [(piece.name, piece.training_patients) for piece in pieces] == [
        ("x", 4),
        ("y", 3),
        ("others", 3),
    ]
    ids = [one.id for piece in pieces for one in read(tmp_path, piece.source)[0]]
    assert sorted(ids) == sorted(table["patient"])
    with pytest.raises(ValueError, match="notes: has no column 'journal'"):
        source.cut("journal", largest=2, rest="others", root=tmp_path)


def test_a_share_does_not_count_the_others_stays(tmp_path):
    whole(tmp_path, Csv)
    only = {"column": "pid", "values": ["2"]}
    (two,), attrition = read(tmp_path, Csv.model_validate({**SOURCE, "only": only}))
    assert two.id == "2"
    assert "patients without notes" not in attrition.counts


def test_its_state_changes_with_each_of_its_files(tmp_path):
    whole(tmp_path, Csv)
    source = Csv.model_validate(SOURCE)
    states = [source.state(root=tmp_path)]
    for name in TABLES:
        with (tmp_path / name).open("a") as file:
            file.write("\n")
        states.append(source.state(root=tmp_path))
    assert None not in states
    assert len(set(states)) == 5


def test_a_reader_that_stops_early_leaves_nothing_behind(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    whole(tmp_path, Csv)
    stream = Csv.model_validate(SOURCE).patients(root=tmp_path, attrition=Attrition())
    next(stream)
    assert list(scratch.iterdir())
    stream.close()
    assert not list(scratch.iterdir())


def test_the_clocks_rule(tmp_path):
    times = ["2024-10-27 02:30", "2024-03-31 02:30", "2024-03-31 03:30"]
    table = dated(patient=["a", "b", "c"], at=times)
    found, _ = alone(tmp_path, Csv, table, notes=AT, time_zone="Europe/Madrid")
    autumn, skipped, after = (one.notes[0].at for one in found)
    assert autumn == utc(2024, 10, 27, 0, 30)
    assert skipped == after == utc(2024, 3, 31, 1, 30)
    assert autumn.utcoffset() == timedelta(0)


@pytest.mark.parametrize("id", ["1.0E+07", "10000000.0", "1e+07"])
def test_ids_that_a_spreadsheet_made_one_are_refused(tmp_path, id):
    (tmp_path / "n.csv").write_text(f"patient,text\n7,Zebulon\n{id},Quagmire\n")
    source = Csv.model_validate({"notes": {"paths": ["n.csv"]}, "undated": True})
    with pytest.raises(SourceBroken, match="turned into numbers") as error:
        list(source.patients(root=tmp_path, attrition=Attrition()))
    assert "n.csv" in str(error.value)
    assert id not in str(error.value).replace("such as 1.0E+07", "")


def test_an_id_of_blanks_is_none(tmp_path):
    (tmp_path / "n.csv").write_text("patient,text\n7,one\n  ,two\n ,three\n1E5B,four\n")
    source, attrition = (
        Csv.model_validate({"notes": {"paths": ["n.csv"]}, "undated": True}),
        Attrition(),
    )
    found = list(source.patients(root=tmp_path, attrition=attrition))
    assert [one.id for one in found] == ["1E5B", "7"]
    assert sum(attrition.counts.values()) == 2

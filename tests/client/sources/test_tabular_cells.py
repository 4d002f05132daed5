"""csv and parquet: ids, types and times are what was declared, or are refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from tabular_builders import (
    AT,
    CANARY,
    CODES,
    INSTANT,
    KINDS,
    SOURCE,
    STAYS,
    TABLES,
    alone,
    dated,
    read,
    utc,
    whole,
    write,
)

from client.sources.source import Attrition
from client.sources.tabular import Csv, Parquet
from privacy.errors import SourceBroken


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


def test_parquet_times_with_and_without_a_zone_and_dates(tmp_path):
    table = dated(patient=["a", "b"])
    naive = [datetime(2024, 7, 1, 10), datetime(2024, 1, 1, 10)]  # noqa: DTZ001 - without a zone
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


def test_the_clocks_rule(tmp_path):
    times = ["2024-10-27 02:30", "2024-03-31 02:30", "2024-03-31 03:30"]
    table = dated(patient=["a", "b", "c"], at=times)
    found, _ = alone(tmp_path, Csv, table, notes=AT, time_zone="Europe/Madrid")
    autumn, skipped, after = (one.notes[0].at for one in found)
    assert autumn == utc(2024, 10, 27, 0, 30)
    assert skipped == after == utc(2024, 3, 31, 1, 30)
    assert autumn.utcoffset() == timedelta(0)

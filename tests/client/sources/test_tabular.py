"""csv and parquet: joined by patient, and equal to each other."""

from __future__ import annotations

import gzip
import tomllib
from datetime import date, timedelta

import pytest
import tomli_w
from pydantic import ValidationError
from tabular_builders import (
    AT,
    DOCUMENTS,
    EMBEDDED,
    FOLLOW_UP,
    INSTANT,
    KINDS,
    SOURCE,
    alone,
    dated,
    read,
    utc,
    whole,
    write,
)

from client.site import Site
from client.sources.tabular import Csv, Parquet
from privacy.errors import SourceBroken
from tasks.records import Code


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

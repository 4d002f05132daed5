"""omop: what stands in a real PostgreSQL is what comes out, as of one moment."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import omop_tables
import pytest
import sqlalchemy
from omop_rows import at, concept, note, one, read, small, source
from omop_tables import INPATIENT, create, fill, insert
from sqlalchemy.pool import NullPool

from client.sources.omop import Omop
from client.sources.omop_database import LAYOUT, VOCABULARY
from client.sources.source import Attrition
from client.sources.synthetic.source import SyntheticSource
from tasks.records import Code, Note, Patient, Stay

ROOT = Path(__file__).parents[3]
SCHEMAS = Path(os.environ.get("FEDWARD_DATA") or ROOT.parent / "shared" / "data") / "schemas"

NOON = datetime(2024, 3, 5, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def database(postgres_server) -> str:
    return postgres_server.emptied("cdm")


@pytest.fixture
def hospital(database) -> str:
    return small(database)


# --- Laws ----------------------------------------------------------------------------------------


def as_read(patient: Patient, ids: dict[str, str], numbers: dict[str, str]) -> Patient:
    """What must come back, by `omop_tables`."""
    stays = tuple(
        Stay(
            numbers[stay.id],
            stay.admitted,
            stay.discharged,
            stay.codes,
            stay.died,
            planned=False if stay.newborn and stay.planned is None else stay.planned,
            newborn=bool(stay.newborn),
        )
        for stay in patient.stays
    )
    notes = tuple(
        Note(note.at, note.kind, note.text, None if note.stay is None else numbers[note.stay])
        for note in patient.notes
    )
    return Patient(
        ids[patient.id], stays, notes, died=patient.died, followed_until=patient.followed_until
    )


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_a_synthetic_hospital_comes_back_as_it_was_written(database, zone):
    invented = SyntheticSource(hospital="elm", patient_count=30)
    # A period ends on a day; the test below looks at that.
    written = [
        replace(patient, followed_until=None)
        for patient in invented.patients(root=Path(), attrition=Attrition())
    ]
    ids = fill(database, iter(written), time_zone=zone)
    numbers = {
        stay.id: str(number)
        for number, stay in enumerate((s for p in written for s in p.stays), start=1)
    }
    found, counts = read(database, time_zone=zone)
    assert found == [as_read(patient, ids, numbers) for patient in written]
    assert counts == {}


def test_everything_that_a_patient_can_have_comes_back(database):
    codes = (
        Code("icd-9-cm", "041.12"),
        Code("snomed-ct", "38341003"),
        Code("icd-10-cm", "I10"),
        Code("icd-9-cm-procedures", "38.93"),
        Code("icd-10-pcs", "0DTJ4ZZ"),
    )
    birth = Stay("a", NOON - 9 * DAY, NOON - 8 * DAY, died=False, planned=None, newborn=True)
    last = Stay("b", NOON - DAY, NOON, codes, died=True, planned=True)
    middle = Stay("c", NOON - 5 * DAY, NOON - 4 * DAY, codes[:1], died=False, planned=False)
    notes = (
        Note(NOON - 9 * DAY, "nursing", "naïve Ψ", "a"),
        Note(NOON - 2 * DAY, "phone call", "Привет עולם", None),
        Note(NOON, "discharge", "x" * 3_000_000, "b"),
    )
    followed = datetime(2024, 6, 1, 23, 59, 59, 999999, tzinfo=UTC)
    patient = Patient(
        "p", (birth, middle, last), notes, died=NOON, deaths_known=True, followed_until=followed
    )
    ids = fill(database, [patient], schema="cdm")
    found = one(database, cdm_schema="cdm", deaths="all")
    want = as_read(patient, ids, {"a": "1", "c": "2", "b": "3"})
    assert (found.stays, found.notes) == (want.stays, want.notes)
    assert (found.died, found.deaths_known, found.followed_until) == (NOON, True, followed)


def test_a_person_of_whom_nearly_everything_is_null_is_read_as_not_known(database):
    create(database)
    insert(database, "person", {"person_id": 1})
    insert(
        database,
        "visit_occurrence",
        {
            "visit_occurrence_id": 5,
            "person_id": 1,
            "visit_concept_id": INPATIENT,
            "visit_start_date": date(2001, 2, 3),
            "visit_end_date": date(2001, 2, 4),
        },
    )
    for kind in ("condition", "procedure"):
        insert(database, f"{kind}_occurrence", {f"{kind}_occurrence_id": 1, "person_id": 1})
    insert(database, "note", {"note_id": 1, "person_id": 1, "note_text": "words"})
    insert(database, "observation_period", {"person_id": 1})
    (found,), counts = read(database)
    (stay,) = found.stays
    assert stay.admitted == datetime(2001, 2, 3, tzinfo=UTC)
    assert stay.discharged == datetime(2001, 2, 4, 23, 59, 59, 999999, tzinfo=UTC)
    assert (stay.codes, stay.died, stay.planned) == ((), None, None)
    assert found.notes == (
        Note(datetime(2000, 1, 1, 23, 59, 59, 999999, tzinfo=UTC), "note", "words", None),
    )
    assert (found.died, found.deaths_known) == (None, False)
    assert counts == {
        "conditions of no stay": 1,
        "procedures of no stay": 1,
        "notes whose concepts have no name (kept as `note`)": 1,
    }


# --- Times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [None, at(5)])
def test_a_note_with_a_date_alone_is_written_at_the_end_of_that_day(hospital, time):
    insert(hospital, "note", note(701, 7, note_datetime=time))
    found = one(hospital, time_zone="Europe/Vienna")
    assert found.notes[-1].at == datetime(2024, 3, 5, 22, 59, 59, 999999, tzinfo=UTC)


def test_times_with_a_zone_of_their_own_keep_it(hospital):
    engine = sqlalchemy.create_engine(hospital, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "alter table note alter note_datetime type timestamptz "
            "using note_datetime at time zone 'UTC'"
        )
    assert one(hospital, time_zone="Asia/Tokyo").notes[0].at == datetime(2024, 3, 5, 13, tzinfo=UTC)


def test_the_year_9999_is_no_crash(hospital):
    insert(
        hospital,
        "observation_period",
        {
            "observation_period_id": 1,
            "person_id": 7,
            "observation_period_end_date": date(9999, 12, 31),
        },
    )
    assert one(hospital, time_zone="America/New_York").followed_until.year == 9999


def test_a_site_can_say_when_its_data_were_extracted(hospital):
    found = one(hospital, followed_until=date(2025, 1, 1))
    assert found.followed_until == datetime(2025, 1, 1, 23, 59, 59, 999999, tzinfo=UTC)


# --- Streaming -----------------------------------------------------------------------------------


def many(url: str, number: int) -> None:
    def invented() -> Iterator[Patient]:
        for place in range(number):
            stay = Stay(f"s{place}", NOON - DAY, NOON)
            yield Patient(f"p{place}", (stay,), (Note(NOON, "discharge", "words", stay.id),))

    fill(url, invented())


def ask(url: str) -> Callable[[str], list[Any]]:
    def asked(query: str) -> list[Any]:
        with sqlalchemy.create_engine(url, poolclass=NullPool).connect() as connection:
            return list(connection.exec_driver_sql(query).all())

    return asked


def test_rows_come_from_cursors_at_the_server_in_one_read_only_snapshot(database, monkeypatch):
    many(database, 60)
    seen: dict[str, Any] = {}
    plain = Omop._database

    def watching(self: Omop, connection: Any) -> Any:
        seen["connection"] = connection
        return plain(self, connection)

    monkeypatch.setattr(Omop, "_database", watching)
    attrition = Attrition()
    stream = source(database).patients(root=Path(), attrition=attrition)
    first = next(stream)
    connection = seen["connection"]
    assert connection.exec_driver_sql("show transaction_isolation").scalar() == "repeatable read"
    assert connection.exec_driver_sql("show transaction_read_only").scalar() == "on"
    # Most of the notes are still at the server: what its cursor gives next is not the last one.
    (name,) = connection.exec_driver_sql(
        "select name from pg_cursors where statement like '%%FROM public.note %%'"
    ).scalars()
    waiting = connection.exec_driver_sql(f'fetch 1 from "{name}"').all()
    assert waiting
    taken = 1 + sum(1 for _ in islice(stream, 10))
    assert (first.id, taken) == ("1", 11)
    stream.close()
    with pytest.raises(sqlalchemy.exc.ResourceClosedError):
        connection.exec_driver_sql("select 1")


def test_what_is_committed_meanwhile_is_not_half_read(database):
    many(database, 60)
    stream = source(database).patients(root=Path(), attrition=Attrition())
    found = [next(stream)]
    engine = sqlalchemy.create_engine(database, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("delete from note")
        connection.exec_driver_sql("delete from visit_occurrence where person_id > 5")
    found += stream
    assert len(found) == 60
    assert all(patient.stays for patient in found)


# --- State ---------------------------------------------------------------------------------------


def changed(url: str, before: str | None) -> bool:
    """Whether the state becomes another one; the server counts a moment after the commit."""
    import time

    end = time.monotonic() + 20
    while time.monotonic() < end:
        if source(url).state(root=Path()) != before:
            return True
        time.sleep(0.05)
    return False


OTHERS = """select count(*) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""


def settled(url: str) -> str:
    """The state, once what was written before is counted: a connection counts as it ends."""
    import time

    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    end = time.monotonic() + 60
    with engine.connect() as connection:
        while connection.exec_driver_sql(OTHERS).scalar():
            assert time.monotonic() < end
            connection.rollback()
            time.sleep(0.02)
    before = source(url).state(root=Path())
    assert before is not None
    return before


@pytest.mark.parametrize(
    "statement",
    [
        "insert into note select 9, person_id, note_date, null, 0, 0, null, 'new', 0, 0 from note",
        "update note set note_text = 'other words'",
        "delete from note",
        "truncate death, condition_occurrence",
        "update concept set concept_name = 'another'",
    ],
)
def test_the_state_changes_with_each_change_and_with_nothing_else(hospital, statement):
    concept(hospital, 1, "LOINC", "1-1")
    before = settled(hospital)
    read(hospital)
    assert source(hospital).state(root=Path()) == before
    engine = sqlalchemy.create_engine(hospital, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert changed(hospital, before)


def test_views_have_no_state(hospital):
    engine = sqlalchemy.create_engine(hospital, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("alter table note rename to real_note")
        connection.exec_driver_sql("create view note as select * from real_note")
    assert source(hospital).state(root=Path()) is None
    assert one(hospital).id == "7"


# --- Layout --------------------------------------------------------------------------------------


def test_every_column_that_is_read_is_one_of_the_tables_of_the_tests():
    for table, columns in (LAYOUT | VOCABULARY).items():
        assert set(columns) <= set(omop_tables.columns(table)), table


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="no shared data here (FEDWARD_DATA)")
def test_the_tables_of_the_tests_are_those_of_the_common_data_model():
    known: dict[str, list[tuple[str, bool]]] = {}
    with (SCHEMAS / "columns.csv").open() as file:
        for row in csv.DictReader(file):
            if row["model"] == "omop_cdm_5.4":
                must = row["nullable"] == "no"
                known.setdefault(row["table"].lower(), []).append((row["column"].lower(), must))
    for table in omop_tables.TABLES:
        given = [(name, must) for name, (_, must) in omop_tables.columns(table).items()]
        assert given == known[table], table

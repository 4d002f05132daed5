"""omop: what stands in a real PostgreSQL is what comes out, and nothing is lost uncounted."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import omop_tables
import pytest
import sqlalchemy
from omop_tables import DIED, HOME, INPATIENT, READ_BACK, create, fill, insert
from sqlalchemy.pool import NullPool

from client.sources.kinds import SOURCES
from client.sources.omop import Omop
from client.sources.omop_database import LAYOUT, VOCABULARY
from client.sources.source import Attrition
from client.sources.synthetic.source import SyntheticSource
from tasks.records import Code, Note, Patient, Stay

ROOT = Path(__file__).parents[3]
SCHEMAS = Path(os.environ.get("FEDWARD_DATA") or ROOT.parent / "shared" / "data") / "schemas"

NOON = datetime(2024, 3, 5, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)
PLAIN = 30
"""A concept of notes."""


def at(day: int, hour: int = 0, *, month: int = 3) -> datetime:
    """A time as the tables have it, in no zone."""
    return datetime(2024, month, day, hour)  # noqa: DTZ001


@pytest.fixture
def database(postgres_server) -> str:
    return postgres_server.emptied("cdm")


@pytest.fixture
def hospital(database) -> str:
    """One person with one stay, one note and no code."""
    create(database)
    insert(database, "person", {"person_id": 7, "year_of_birth": 1950})
    insert(database, "visit_occurrence", visit(70, 7))
    concept(database, PLAIN, "LOINC", "34109-9", "Note")
    insert(database, "note", note(700, 7, visit_occurrence_id=70))
    return database


def visit(number: int, person: int, **changes: Any) -> dict[str, Any]:
    return {
        "visit_occurrence_id": number,
        "person_id": person,
        "visit_concept_id": INPATIENT,
        "visit_start_date": date(2024, 3, 1),
        "visit_start_datetime": at(1, 8),
        "visit_end_date": date(2024, 3, 5),
        "visit_end_datetime": at(5, 14),
    } | changes


def note(number: int, person: int, **changes: Any) -> dict[str, Any]:
    return {
        "note_id": number,
        "person_id": person,
        "note_date": date(2024, 3, 5),
        "note_datetime": at(5, 13),
        "note_class_concept_id": PLAIN,
        "note_text": "words",
    } | changes


def source(url: str, **fields: Any) -> Omop:
    return SOURCES.parse({**READ_BACK, "url": url, **fields})


def read(url: str, **fields: Any) -> tuple[list[Patient], dict[str, int]]:
    attrition = Attrition()
    found = list(source(url, **fields).patients(root=Path(), attrition=attrition))
    return found, attrition.counts


def one(url: str, **fields: Any) -> Patient:
    (found,), _ = read(url, **fields)
    return found


def concept(url: str, number: int, vocabulary: str, code: str, name: str = "a name") -> None:
    insert(
        url,
        "concept",
        {
            "concept_id": number,
            "concept_name": name,
            "vocabulary_id": vocabulary,
            "concept_code": code,
        },
    )


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
    written = list(invented.patients(root=Path(), attrition=Attrition()))
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


# --- Stays ---------------------------------------------------------------------------------------


def test_notes_of_visits_that_are_not_stays_are_kept_without_a_stay(hospital):
    insert(hospital, "visit_occurrence", visit(71, 7, visit_concept_id=9202))
    insert(hospital, "note", note(701, 7, visit_occurrence_id=71))
    (found,), counts = read(hospital)
    assert [stay.id for stay in found.stays] == ["70"]
    assert [note.stay for note in found.notes] == ["70", None]
    assert counts["visits that are not stays"] == 1
    assert "notes of a stay that is not there (kept)" not in counts
    found = one(hospital, visit_concepts=[9202])
    assert ([stay.id for stay in found.stays], found.notes[0].stay) == (["71"], None)


def test_a_stay_that_goes_on_and_one_that_ends_before_it_began_are_left_out(hospital):
    insert(
        hospital,
        "visit_occurrence",
        visit(71, 7, visit_type_concept_id=32220),
        visit(72, 7, discharged_to_concept_id=32220),
        visit(73, 7, visit_end_date=date(2024, 2, 1), visit_end_datetime=at(1, 9, month=2)),
    )
    insert(hospital, "note", note(701, 7, visit_occurrence_id=71))
    (found,), counts = read(hospital)
    assert [stay.id for stay in found.stays] == ["70"]
    assert counts["stays that had not ended"] == 2
    assert counts["stays discharged before they began"] == 1
    assert counts["notes of a stay that is not there (kept)"] == 1


FIFTH, SIXTH = date(2024, 3, 5), date(2024, 3, 6)


@pytest.mark.parametrize(
    ("discharged_to", "death", "deaths", "died"),
    [
        (None, None, "some", None),
        (0, None, "some", None),
        (None, None, "stays", False),
        (None, None, "all", False),
        (HOME, None, "some", False),
        (DIED, None, "stays", True),
        (None, FIFTH, "some", True),
        (None, SIXTH, "some", False),
        (DIED, FIFTH, "some", True),
        (HOME, FIFTH, "some", False),
        (HOME, date(2024, 3, 3), "some", None),
        (DIED, SIXTH, "some", None),
        (None, date(2024, 2, 1), "some", None),
    ],
)
def test_whether_somebody_died_in_a_stay(hospital, discharged_to, death, deaths, died):
    set_visit(hospital, discharged_to_concept_id=discharged_to)
    if death:
        insert(hospital, "death", {"person_id": 7, "death_date": death})
    found = one(hospital, deaths=deaths)
    assert found.stays[0].died is died
    assert found.deaths_known is (deaths == "all")
    if death:
        assert found.died == datetime(death.year, death.month, death.day, 23, 59, 59, 999999, UTC)


def set_visit(url: str, **values: Any) -> None:
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    table = sqlalchemy.table("visit_occurrence", *map(sqlalchemy.column, values))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.update(table).values(**values))


def test_of_two_stays_on_the_day_of_death_the_last_is_the_fatal_one(hospital):
    insert(
        hospital,
        "visit_occurrence",
        visit(71, 7, visit_start_date=FIFTH, visit_start_datetime=at(5, 14)),
    )
    insert(hospital, "death", {"person_id": 7, "death_date": FIFTH})
    assert [stay.died for stay in one(hospital).stays] == [False, True]


def test_source_values_of_a_discharge_may_tell_of_a_death(hospital):
    set_visit(hospital, discharged_to_concept_id=0, discharged_to_source_value="EXPIRED")
    assert one(hospital).stays[0].died is None
    assert one(hospital, died_to=[DIED, "EXPIRED"]).stays[0].died is True
    set_visit(hospital, discharged_to_source_value="HOME")
    assert one(hospital, died_to=[DIED, "EXPIRED"]).stays[0].died is False


@pytest.mark.parametrize(
    ("came", "fields", "planned"),
    [
        ("ELECTIVE", {}, True),
        ("URGENT", {}, False),
        (None, {}, None),
        ("ELECTIVE", {"planned": []}, None),
        ("ELECTIVE", {"planned": [11]}, None),
    ],
)
def test_planned_is_what_the_site_says_that_it_is(hospital, came, fields, planned):
    set_visit(hospital, admitted_from_source_value=came)
    assert one(hospital, **fields).stays[0].planned is planned


def test_concepts_may_say_planned_too(hospital):
    set_visit(hospital, admitted_from_concept_id=11)
    assert one(hospital, planned=[11]).stays[0].planned is True
    assert one(hospital, planned=[12]).stays[0].planned is False
    set_visit(hospital, admitted_from_concept_id=0)
    assert one(hospital, planned=[0, 12]).stays[0].planned is None


@pytest.mark.parametrize(
    ("born", "newborn"),
    [
        ((2024, 3, 1), True),
        ((2024, 2, 28), False),
        ((2024, 3, 2), None),
        ((2024, None, None), None),
        ((2023, 12, None), None),
        ((2022, None, None), False),
        ((2024, 2, 31), None),
    ],
)
def test_a_stay_that_begins_on_the_day_of_birth_is_a_newborns(database, born, newborn):
    create(database)
    names = ("year_of_birth", "month_of_birth", "day_of_birth")
    insert(database, "person", {"person_id": 7, **dict(zip(names, born, strict=True))})
    insert(database, "visit_occurrence", visit(70, 7))
    insert(database, "note", note(700, 7))
    assert one(database, newborn=[]).stays[0].newborn is newborn


# --- Codes ---------------------------------------------------------------------------------------


def coded(url: str, kind: str = "condition", **values: Any) -> None:
    table = f"{kind}_occurrence"
    row = {f"{table}_id": 1, "person_id": 7, "visit_occurrence_id": 70}
    insert(url, table, row | {f"{kind}_{name}": value for name, value in values.items()})


def codes(url: str, **fields: Any) -> tuple[tuple[Code, ...], dict[str, int]]:
    (found,), counts = read(url, **fields)
    return found.stays[0].codes, counts


@pytest.mark.parametrize(
    ("vocabulary", "kind", "system"),
    [
        ("ICD9CM", "condition", "icd-9-cm"),
        ("ICD10CM", "condition", "icd-10-cm"),
        ("SNOMED", "condition", "snomed-ct"),
        ("ICD9Proc", "procedure", "icd-9-cm-procedures"),
        ("ICD10PCS", "procedure", "icd-10-pcs"),
    ],
)
def test_a_source_concept_is_its_code(hospital, vocabulary, kind, system):
    concept(hospital, 44, vocabulary, "0CODE.1")
    coded(hospital, kind, source_concept_id=44, concept_id=45)
    assert codes(hospital) == ((Code(system, "0CODE.1"),), {})


def test_a_standard_procedure_needs_no_source_concept(hospital):
    concept(hospital, 44, "ICD10PCS", "0DTJ4ZZ")
    coded(hospital, "procedure", concept_id=44, source_concept_id=None)
    assert codes(hospital)[0] == (Code("icd-10-pcs", "0DTJ4ZZ"),)


def test_source_values_are_read_only_as_what_the_site_says_that_they_are(hospital):
    coded(hospital, source_value=" i10 ", source_concept_id=0)
    assert codes(hospital) == ((), {"conditions without a code": 1})
    assert codes(hospital, condition_source_values="icd-10-cm")[0] == (Code("icd-10-cm", "I10"),)
    found, counts = codes(hospital, condition_source_values="icd-9-cm")
    assert found == ()
    assert counts == {
        "conditions whose source value is no code of icd-9-cm": 1,
        "conditions without a code": 1,
    }


def test_a_code_of_another_vocabulary_falls_back_to_the_standard_concept(hospital):
    concept(hospital, 44, "Read", "G20..")
    concept(hospital, 45, "SNOMED", "59621000")
    coded(hospital, source_concept_id=44, concept_id=45)
    assert codes(hospital)[0] == (Code("snomed-ct", "59621000"),)


def relate(url: str, one: int, two: int, what: str, invalid: str | None = None) -> None:
    insert(
        url,
        "concept_relationship",
        {
            "concept_id_1": one,
            "concept_id_2": two,
            "relationship_id": what,
            "invalid_reason": invalid,
        },
    )


@pytest.mark.parametrize("backwards", [True, False])
def test_snomed_is_mapped_back_only_where_asked_for_and_only_to_one_code(hospital, backwards):
    concept(hospital, 45, "SNOMED", "59621000")
    concept(hospital, 46, "ICD10CM", "I10")
    concept(hospital, 47, "ICD10CM", "I15.9")
    concept(hospital, 48, "ICD9CM", "401.9")
    coded(hospital, concept_id=45)

    def related(number: int, invalid: str | None = None) -> None:
        if backwards:
            relate(hospital, 45, number, "Mapped from", invalid)
        else:
            relate(hospital, number, 45, "Maps to", invalid)

    snomed = (Code("snomed-ct", "59621000"),)
    few = "conditions of SNOMED CT that no code of ICD-10-CM map to (kept as they are)"
    many = "conditions of SNOMED CT that several codes of ICD-10-CM map to (kept as they are)"
    related(48)
    related(47, "D")
    assert codes(hospital) == (snomed, {})
    assert codes(hospital, map_snomed=True) == (snomed, {few: 1})
    related(46, "")
    assert codes(hospital, map_snomed=True) == (
        (Code("icd-10-cm", "I10"),),
        {"conditions mapped back from SNOMED CT to ICD-10-CM (kept)": 1},
    )
    assert codes(hospital) == (snomed, {})
    related(47)
    assert codes(hospital, map_snomed=True) == (snomed, {many: 1})


def test_conditions_of_other_types_and_of_no_stay_are_counted(hospital):
    concept(hospital, 44, "ICD10CM", "I10")
    for number, (kind, where) in enumerate([(5, 70), (6, 70), (5, None), (5, 999)]):
        row = {
            "condition_occurrence_id": number,
            "person_id": 7,
            "condition_type_concept_id": kind,
            "condition_source_concept_id": 44,
            "visit_occurrence_id": where,
        }
        insert(hospital, "condition_occurrence", row)
    found, counts = codes(hospital, condition_types=[5])
    assert found == (Code("icd-10-cm", "I10"),)
    assert counts == {"conditions of another type": 1, "conditions of no stay": 2}


# --- Notes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Physician Discharge summary", "discharge"),
        ("Radiology report", "radiology"),
        ("Nursing note", "nursing note"),
    ],
)
def test_kinds_come_from_the_names_of_concepts_or_from_the_site(hospital, name, kind):
    concept(hospital, 33, "LOINC", "1-1", name)
    insert(hospital, "note", note(701, 7, note_class_concept_id=33, note_type_concept_id=34))
    insert(hospital, "note", note(702, 7, note_class_concept_id=0, note_type_concept_id=33))
    assert [note.kind for note in one(hospital).notes[1:]] == [kind, kind]
    found = one(hospital, kinds={"33": "mine", "34": "other"})
    assert [note.kind for note in found.notes[1:]] == ["mine", "mine"]


def test_rows_of_nobody_and_persons_without_notes_are_counted(hospital):
    insert(hospital, "person", {"person_id": 3}, {"person_id": 9})
    insert(hospital, "note", *(note(number, number) for number in (1, 8, 100)))
    insert(hospital, "death", {"person_id": 100, "death_date": FIFTH})
    found, counts = read(hospital)
    assert [patient.id for patient in found] == ["7"]
    assert counts["rows of NOTE whose person is not in PERSON"] == 3
    assert counts["rows of DEATH whose person is not in PERSON"] == 1
    assert counts["patients without notes"] == 2


def test_views_may_hold_nulls_and_duplicates_that_the_cdm_forbids(hospital):
    engine = sqlalchemy.create_engine(hospital, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in (
            "alter table person drop constraint person_pkey",
            "alter table person alter person_id drop not null",
            "alter table note alter person_id drop not null",
            "alter table note alter note_date drop not null",
            "alter table visit_occurrence alter visit_end_date drop not null",
            "insert into person select * from person",
        ):
            connection.exec_driver_sql(statement)
    insert(hospital, "person", {"person_id": None})
    insert(hospital, "note", note(701, None), note(702, 7, note_date=None, note_datetime=None))
    insert(hospital, "visit_occurrence", visit(71, 7, visit_end_date=None, visit_end_datetime=None))
    (found,), counts = read(hospital)
    assert (len(found.notes), len(found.stays)) == (1, 1)
    assert counts == {
        "persons who stand twice in PERSON (the first is used)": 1,
        "rows of NOTE whose person is not in PERSON": 1,
        "rows of PERSON whose person is not in PERSON": 1,
        "notes without a date": 1,
        "stays without a beginning or an end": 1,
    }


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


def settled(url: str) -> str:
    """The state, once what was written before is counted."""
    import time

    before = None
    while before != (before := source(url).state(root=Path())):
        time.sleep(0.3)
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

"""omop: which stays, codes and notes rows become, and that nothing is lost uncounted."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy
from omop_rows import at, concept, note, one, read, small, visit
from omop_tables import DIED, HOME, create, insert
from sqlalchemy.pool import NullPool

from tasks.records import Code


@pytest.fixture
def database(postgres_server) -> str:
    return postgres_server.emptied("cdm")


@pytest.fixture
def hospital(database) -> str:
    return small(database)


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
        assert found.died_from == datetime(death.year, death.month, death.day, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["Europe/Madrid", "America/New_York"])
@pytest.mark.parametrize("hour", [None, 0, 15])
def test_a_death_known_by_its_day_is_that_day_of_the_hospital(hospital, zone, hour):
    local = datetime(2024, 3, 20, hour or 0, tzinfo=ZoneInfo(zone))
    at = None if hour is None else local.replace(tzinfo=None)
    insert(hospital, "death", {"person_id": 7, "death_date": local.date(), "death_datetime": at})
    found = one(hospital, time_zone=zone)
    if hour:
        assert (found.died, found.died_from) == (local, None)
    else:
        last = local.replace(hour=23, minute=59, second=59, microsecond=999999)
        assert (found.died, found.died_from) == (last, local)


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

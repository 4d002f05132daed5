"""omop: what can be wrong with a database is one clear line, without a value or the password."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from omop_tables import READ_BACK, create, insert
from sqlalchemy.pool import NullPool

from client.sources.kinds import SOURCES
from client.sources.omop_connection import read_password
from client.sources.source import Attrition
from privacy.errors import SourceBroken

CANARY = "Zebulon Quagmire"


@pytest.fixture
def database(postgres_server) -> str:
    return postgres_server.emptied("cdm")


@pytest.fixture
def hospital(database) -> str:
    create(database)
    insert(database, "person", {"person_id": 1}, {"person_id": 2})
    insert(database, "note", *({"note_id": n, "person_id": n, "note_text": CANARY} for n in (1, 2)))
    return database


def read(url: str, root: Path = Path(), **fields: Any) -> int:
    source = SOURCES.parse({**READ_BACK, "url": url, **fields})
    return sum(1 for _ in source.patients(root=root, attrition=Attrition()))


def trouble(url: str, root: Path = Path(), **fields: Any) -> str:
    with pytest.raises(SourceBroken) as error:
        read(url, root, **fields)
    said = str(error.value)
    assert "\n" not in said
    assert CANARY not in said
    # A traceback must not show what the server said, either.
    assert error.value.__suppress_context__ or error.value.__context__ is None
    return said


def change(url: str, *statements: str) -> None:
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def password_file(folder: Path, password: str, mode: int = 0o600) -> str:
    path = folder / "omop.password"
    path.write_text(f"{password}\nnot this line\n")
    path.chmod(mode)
    return path.name


# --- site.toml -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": f"postgresql://me:{CANARY}@localhost/cdm"}, "url: holds a password"),
        ({"url": f"postgresql://me@localhost/cdm?password={CANARY}"}, "url: holds a password"),
        ({"url": "sqlite:///here.db"}, "url: must be postgresql://.*other databases are not"),
        ({"url": CANARY}, "url: must be postgresql://"),
        ({"time_zone": "Mars/Olympus"}, "time_zone: no such time zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone: no such time zone"),
        ({"time_zone": None}, "time_zone: "),
        ({"visit_concepts": []}, "visit_concepts: "),
    ],
)
def test_a_wrong_field_is_named_without_its_value(fields, said):
    with pytest.raises(ValueError, match=said) as error:
        SOURCES.parse({**READ_BACK, "url": "postgresql://me@localhost/cdm", **fields})
    assert CANARY not in str(error.value)


def test_the_time_zone_must_be_said():
    with pytest.raises(ValueError, match="time_zone: Field required"):
        SOURCES.parse({"kind": "omop", "url": "postgresql://me@localhost/cdm"})


# --- Getting in ----------------------------------------------------------------------------------


def test_the_password_comes_from_a_file(postgres_server, hospital, tmp_path):
    url = postgres_server.readable("cdm")
    name = password_file(tmp_path, postgres_server.password)
    assert read(url, tmp_path, password_file=name) == 2


def test_the_password_may_come_from_libpq(postgres_server, hospital, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", postgres_server.password)
    assert read(postgres_server.readable("cdm")) == 2


def test_a_wrong_password_and_none_are_told_apart(postgres_server, hospital, tmp_path, monkeypatch):
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "absent"))
    url = postgres_server.readable("cdm")
    name = password_file(tmp_path, f"{CANARY}-secret")
    said = trouble(url, tmp_path, password_file=name)
    assert said.endswith(": the server refused user or password")
    assert f"database cdm at 127.0.0.1:{postgres_server.port}" in said
    assert "secret" not in said
    assert "wants a password" in trouble(url)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"secret\n", 0o640, "open to its group or to others"),
        (b"\nsecret\n", 0o600, "is empty"),
        (b"\xff\xfe\n", 0o600, "is not UTF-8"),
        (None, 0, r"cannot be read \(FileNotFoundError\)"),
    ],
)
def test_a_password_file_that_is_not_what_it_must_be_is_named(tmp_path, content, mode, said):
    path = tmp_path / "omop.password"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(SourceBroken, match=rf"omop\.password.*{said}") as error:
        read_password(path)
    assert "secret" not in str(error.value)


def test_a_server_that_is_down_or_a_database_that_is_not_there(postgres_server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "nobody listens there" in trouble(f"postgresql://me@127.0.0.1:{port}/cdm")
    assert "nobody listens there" in trouble("postgresql://me@/cdm?host=/nowhere")
    assert "no such host" in trouble("postgresql://me@nowhere.invalid/cdm")
    assert "no such database" in trouble(postgres_server.of("absent"))


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        port = mute.getsockname()[1]
        said = trouble(f"postgresql://me@127.0.0.1:{port}/cdm?connect_timeout=2")
    assert "does not answer" in said


def test_state_says_why_too(tmp_path):
    source = SOURCES.parse({**READ_BACK, "url": "postgresql://me@/cdm?host=/nowhere"})
    with pytest.raises(SourceBroken, match="nobody listens there"):
        source.state(root=tmp_path)


# --- What stands in it ---------------------------------------------------------------------------


def test_an_empty_note_table_is_a_clear_answer(database):
    create(database)
    insert(database, "person", {"person_id": 1})
    said = trouble(database)
    assert "table NOTE of schema public is there and has no row" in said


def test_a_missing_schema_table_or_column_is_named(hospital):
    assert "there is no schema cdm;" in trouble(hospital, cdm_schema="cdm")
    assert "there is no schema voc;" in trouble(hospital, vocabulary_schema="voc")
    change(hospital, "alter table note drop column note_datetime")
    assert "table NOTE has no column note_datetime" in trouble(hospital)
    change(hospital, "alter table note add column note_datetime text")
    assert "table NOTE: column note_datetime must be a timestamp" in trouble(hospital)
    change(hospital, "drop table death")
    assert "schema public has no table DEATH" in trouble(hospital)


def test_the_relationships_are_needed_only_where_they_are_used(hospital):
    change(hospital, "drop table concept_relationship")
    assert read(hospital) == 2
    assert "has no table CONCEPT_RELATIONSHIP" in trouble(hospital, map_snomed=True)


@pytest.mark.parametrize("table", ["note", "concept", "death"])
def test_a_table_that_may_not_be_read_is_named(postgres_server, hospital, tmp_path, table):
    url = postgres_server.readable("cdm")
    change(hospital, f"revoke select on {table} from reader")  # noqa: S608 - ours
    insert(hospital, "condition_occurrence", {"person_id": 1, "condition_source_concept_id": 5})
    name = password_file(tmp_path, postgres_server.password)
    said = trouble(url, tmp_path, password_file=name)
    assert f"table {table.upper()}: the user may not read it" in said


def test_a_statement_timeout_is_told(postgres_server, hospital, tmp_path):
    url = postgres_server.readable("cdm")
    change(
        hospital,
        "alter role reader set statement_timeout = '1500ms'",
        "alter table note rename to real_note",
        "create view note as select person_id, note_id, note_date, note_datetime, "
        "note_type_concept_id, note_class_concept_id, visit_occurrence_id, "
        "note_text || pg_sleep(60)::text as note_text from real_note",
        "grant select on note to reader",
    )
    name = password_file(tmp_path, postgres_server.password)
    try:
        assert "table NOTE: the server's statement_timeout" in trouble(
            url, tmp_path, password_file=name
        )
    finally:
        change(hospital, "alter role reader reset statement_timeout")


def test_a_connection_that_is_cut_while_reading_is_told(hospital):
    insert(
        hospital,
        "note",
        *({"note_id": n, "person_id": 2, "note_text": CANARY} for n in range(10, 200)),
    )
    stream = SOURCES.parse({**READ_BACK, "url": hospital}).patients(
        root=Path(), attrition=Attrition()
    )
    next(stream)
    change(
        hospital,
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'fedward'",
    )
    with pytest.raises(SourceBroken, match=r"table [A-Z]+: the server or its administrator"):
        next(stream)


@pytest.mark.parametrize("value", ["infinity", "12345-01-01"])
def test_a_date_that_no_calendar_has_is_told_without_it(hospital, value):
    insert(hospital, "observation_period", {"person_id": 1})
    change(hospital, f"update observation_period set observation_period_end_date = '{value}'")  # noqa: S608 - ours
    said = trouble(hospital)
    assert "table OBSERVATION_PERIOD: holds a date outside the years" in said
    assert value not in said

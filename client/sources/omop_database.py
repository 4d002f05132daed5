"""The tables behind `omop`: what is read of them, whether it is there, rows in order of person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from client.sources.omop_connection import in_words
from privacy.errors import SourceBroken

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Executable, FromClause
    from sqlalchemy import RowMapping as Row
    from sqlalchemy.types import TypeEngine

Sort = Literal["id", "day", "time", "text"]

LAYOUT: dict[str, dict[str, Sort]] = {
    "person": {
        "person_id": "id",
        "year_of_birth": "id",
        "month_of_birth": "id",
        "day_of_birth": "id",
    },
    "visit_occurrence": {
        "person_id": "id",
        "visit_occurrence_id": "id",
        "visit_concept_id": "id",
        "visit_type_concept_id": "id",
        "visit_start_date": "day",
        "visit_start_datetime": "time",
        "visit_end_date": "day",
        "visit_end_datetime": "time",
        "admitted_from_concept_id": "id",
        "admitted_from_source_value": "text",
        "discharged_to_concept_id": "id",
        "discharged_to_source_value": "text",
    },
    "condition_occurrence": {
        "person_id": "id",
        "condition_occurrence_id": "id",
        "condition_concept_id": "id",
        "condition_type_concept_id": "id",
        "condition_source_value": "text",
        "condition_source_concept_id": "id",
        "visit_occurrence_id": "id",
    },
    "procedure_occurrence": {
        "person_id": "id",
        "procedure_occurrence_id": "id",
        "procedure_concept_id": "id",
        "procedure_type_concept_id": "id",
        "procedure_source_value": "text",
        "procedure_source_concept_id": "id",
        "visit_occurrence_id": "id",
    },
    "death": {"person_id": "id", "death_date": "day", "death_datetime": "time"},
    "observation_period": {"person_id": "id", "observation_period_end_date": "day"},
    "note": {
        "person_id": "id",
        "note_id": "id",
        "note_date": "day",
        "note_datetime": "time",
        "note_type_concept_id": "id",
        "note_class_concept_id": "id",
        "note_text": "text",
        "visit_occurrence_id": "id",
    },
}
"""The columns of OMOP CDM 5.4 that are read, and of which sort each is."""

VOCABULARY: dict[str, dict[str, Sort]] = {
    "concept": {
        "concept_id": "id",
        "concept_name": "text",
        "vocabulary_id": "text",
        "concept_code": "text",
    },
    "concept_relationship": {
        "concept_id_1": "id",
        "concept_id_2": "id",
        "relationship_id": "text",
        "invalid_reason": "text",
    },
}

ROWS_AT_A_TIME = 1000
NOTES_AT_A_TIME = 16
"""Notes of 10 MB are held 16 at a time."""


class Database:
    """A snapshot of an OMOP database; over a connection of `omop_connection`."""

    def __init__(
        self, connection: Connection, *, name: str, cdm_schema: str, vocabulary_schema: str
    ) -> None:
        self._connection = connection
        self._name = name
        self._cursors: list[CursorResult[Any]] = []
        self._schemas = {
            **dict.fromkeys(LAYOUT, cdm_schema),
            **dict.fromkeys(VOCABULARY, vocabulary_schema),
        }

    def close(self) -> None:
        """Closes what is being streamed; the connection stays."""
        from sqlalchemy.exc import SQLAlchemyError

        for cursor in self._cursors:
            with suppress(SQLAlchemyError):  # the connection is lost already
                cursor.close()

    def check(self, tables: Sequence[str]) -> None:
        """Looks whether the tables are there, with the columns that are read.

        Raises:
            SourceBroken: Names schema, table and column.
        """
        from sqlalchemy import inspect
        from sqlalchemy.engine.reflection import ObjectKind

        for schema in dict.fromkeys(self._schemas[table] for table in tables):
            wanted = [table for table in tables if self._schemas[table] == schema]
            with in_words(f"{self._name}: schema {schema}"):
                inspector = inspect(self._connection)
                if not inspector.has_schema(schema):
                    raise SourceBroken(
                        f"{self._name}: there is no schema {schema}; cdm_schema and "
                        "vocabulary_schema say which"
                    )
                found = inspector.get_multi_columns(
                    schema=schema, filter_names=wanted, kind=ObjectKind.ANY
                )
            for table in wanted:
                # (as the inspector names tables; None is the default schema)
                columns = found.get((schema, table))
                if columns is None:
                    raise SourceBroken(
                        f"{self._name}: schema {schema} has no table {table.upper()}; make an "
                        "empty one where the hospital has nothing to put in it"
                    )
                self._check_columns(table, {one["name"]: one["type"] for one in columns})

    def _check_columns(self, table: str, types: Mapping[str, TypeEngine[Any]]) -> None:
        for column, sort in (LAYOUT | VOCABULARY)[table].items():
            where = f"{self._name}: table {table.upper()}"
            if column not in types:
                raise SourceBroken(f"{where} has no column {column}, which OMOP CDM 5.4 has")
            if not _fits(types[column], sort):
                said = {"id": "an integer", "day": "a date", "time": "a timestamp", "text": "text"}
                raise SourceBroken(
                    f"{where}: column {column} must be {said[sort]}, as in OMOP CDM 5.4"
                )

    def empty(self, table: str) -> bool:
        """Whether a table has no row."""
        from sqlalchemy import literal, select

        found = self.rows(select(literal(1)).select_from(self.table(table)).limit(1), about=table)
        return not found

    def by_person(self, table: str) -> Iterator[Row]:
        """Streams a table's rows in order of person, from a cursor at the server.

        The query runs at once, so that what the user may not read is known before the first row.
        """
        from sqlalchemy import select

        found = self.table(table)
        number = NOTES_AT_A_TIME if table == "note" else ROWS_AT_A_TIME
        query = select(*found.columns).order_by(found.c.person_id)
        where = f"{self._name}: table {table.upper()}"
        with in_words(where):
            cursor = self._connection.execute(query.execution_options(yield_per=number))
        self._cursors.append(cursor)
        result = cursor.mappings()

        def stream() -> Iterator[Row]:
            while True:
                with in_words(where):
                    some = result.fetchmany(number)
                if not some:
                    return
                yield from some

        return stream()

    def rows(self, query: Executable, *, about: str) -> Sequence[Row]:
        """All rows of a small query.

        Args:
            query: What is asked.
            about: The table that an error names.
        """
        with in_words(f"{self._name}: table {about.upper()}"):
            return self._connection.execute(query).mappings().all()

    def table(self, name: str) -> FromClause:
        """A table with the columns that are read of it."""
        from sqlalchemy import column, table

        columns = (LAYOUT | VOCABULARY)[name]
        return table(name, *map(column, columns), schema=self._schemas[name])

    def state(self, tables: Sequence[str]) -> list[list[Any]] | None:
        """What changes with each committed change of the tables, from the server's own counts.

        None where the server does not count: before PostgreSQL 15 counts may be lost, a standby
        has none of its own, and a view has none at all.
        """
        from sqlalchemy import text

        server = self.rows(text(_SERVER), about="pg_stat_database")[0]
        if server["version"] < 150_000 or server["standby"] or server["counts"] != "on":
            return None
        found: list[list[Any]] = [[str(server["reset"])]]
        for table in tables:
            bound = text(_COUNTS).bindparams(schema=self._schemas[table], name=table)
            rows = self.rows(bound, about=table)
            if not rows or rows[0]["sort"] not in ("r", "m"):
                return None
            found.append([str(value) for value in rows[0].values()])
        return found


_SERVER = """
select current_setting('server_version_num')::int as version, pg_is_in_recovery() as standby,
  current_setting('track_counts') as counts, stats_reset as reset
from pg_stat_database where datname = current_database()
"""
# A truncated or refreshed table is another file under the same name.
_COUNTS = """
select c.relkind::text as sort, c.oid::bigint as id, pg_relation_filenode(c.oid)::bigint as file,
  s.n_tup_ins, s.n_tup_upd, s.n_tup_del
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_stat_all_tables s on s.relid = c.oid
where n.nspname = :schema and c.relname = :name
"""


def _fits(given: TypeEngine[Any], sort: Sort) -> bool:
    from sqlalchemy import types
    from sqlalchemy.dialects.postgresql import DOMAIN

    kind = given.data_type if isinstance(given, DOMAIN) else given
    wanted: dict[Sort, tuple[type[TypeEngine[Any]], ...]] = {
        "id": (types.Integer,),
        "day": (types.Date, types.DateTime),
        "time": (types.DateTime, types.Date),
        "text": (types.String,),
    }
    return isinstance(kind, wanted[sort])

"""Tables: CSV and Parquet files joined and sorted in bounded memory, on DuckDB.

Every column of a CSV file is read as text: a reader that guesses types takes `04112` for 4,112.
What does not fit into memory is sorted in a temporary folder that only this user can open, in files
that DuckDB encrypts, and that is removed at the end.
"""

from __future__ import annotations

import csv
import gzip
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from privacy.errors import SourceBroken

if TYPE_CHECKING:
    import duckdb

Encoding = Literal["utf-8", "latin-1"]

ROWS_AT_A_TIME = 256
LONGEST_LINE = 48 * 1024 * 1024
"""Bytes of one record of a CSV file, of which a note of 10 MB is a small part."""

FILE, ROW = "_file", "_row"
"""Columns that every table has: its file's name, and the record's number in it, from 1."""


class Tables:
    """Some files, open for queries; a context manager.

    Args:
        memory_mb: What DuckDB may hold in memory; what is more goes to the temporary folder.
    """

    def __init__(self, *, memory_mb: int = 512) -> None:
        self._memory = memory_mb
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._db: duckdb.DuckDBPyConnection | None = None
        self._made: dict[str, tuple[str, ...]] = {}

    def __enter__(self) -> Self:
        """Opens a database in memory that can neither load extensions nor reach a network."""
        import duckdb

        self._scratch = tempfile.TemporaryDirectory(prefix="fedward-")  # mode 0700
        self._db = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{self._memory}MB",
                "threads": 2,
                "temp_directory": self._scratch.name,
                "temp_file_encryption": True,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "preserve_insertion_order": True,
            },
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it and removes what was on disk."""
        if self._db is not None:
            self._db.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def csv(
        self,
        name: str,
        paths: Sequence[Path],
        *,
        encoding: Encoding = "utf-8",
        delimiter: str = ",",
        lower: bool = False,
    ) -> tuple[str, ...]:
        """Names CSV files, gzipped or not, as a table; every column is text, empty ones are null.

        Args:
            name: Of the table.
            paths: Files with the same columns in any order.
            encoding: Of the files.
            delimiter: Between columns.
            lower: Makes the columns' names lower-case.

        Returns:
            The columns that all files have, as in the first.

        Raises:
            SourceBroken: A file is not there, has no header, or a column stands in it twice.
        """
        parts: list[tuple[list[str], str, Path]] = []
        shared: list[str] = []
        for path in paths:
            header = _header(path, encoding, delimiter)
            columns = [column.lower() if lower else column for column in header]
            _once(columns, path)
            given = ", ".join(f"{_text(column)}: 'VARCHAR'" for column in columns)
            read = (
                f"read_csv({_text(str(path))}, header = true, auto_detect = false, "
                f"columns = {{{given}}}, delim = {_text(delimiter)}, quote = '\"', "
                f"escape = '\"', encoding = {_text(encoding)}, strict_mode = true, "
                f"max_line_size = {LONGEST_LINE}, buffer_size = {LONGEST_LINE})"
            )
            parts.append((columns, read, path))
            shared = [column for column in shared or columns if column in columns]
        self._named(name, parts, shared)
        return tuple(shared)

    def parquet(self, name: str, paths: Sequence[Path], *, lower: bool = False) -> dict[str, str]:
        """Names Parquet files as a table; columns keep their types.

        Returns:
            The columns that all files have, and DuckDB's name of each one's type.

        Raises:
            SourceBroken: A file is not there or is not Parquet.
        """
        parts: list[tuple[list[str], str, Path]] = []
        types: dict[str, str] = {}
        shared: list[str] = []
        for path in paths:
            with _plain(path):
                _there(path)
                read = f"read_parquet({_text(str(path))})"
                described = self._open.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()
            found = {row[0].lower() if lower else row[0]: str(row[1]) for row in described}
            _once([row[0].lower() if lower else row[0] for row in described], path)
            renamed = ", ".join(
                f"{_name(row[0])} AS {_name(new)}"
                for row, new in zip(described, found, strict=True)
            )
            parts.append((list(found), f"(SELECT {renamed} FROM {read})", path))
            for column, kind in found.items():
                if types.setdefault(column, kind) != kind:
                    raise SourceBroken(
                        f"{path.name}: column {column} is of another type than in "
                        f"{paths[0].name}; write both files the same way"
                    )
            shared = [column for column in shared or list(found) if column in found]
        self._named(name, parts, shared)
        return {column: types[column] for column in shared}

    def make(self, name: str, **columns: str) -> None:
        """Makes an empty table of what is not in a file of rows; columns by DuckDB's types."""
        self._made[name] = tuple(columns.values())
        given = ", ".join(f"{_name(column)} {kind}" for column, kind in columns.items())
        with _plain(None):
            self._open.execute(f"CREATE TABLE {_name(name)} ({given})")

    def add(self, name: str, rows: Sequence[Sequence[object]]) -> None:
        """Adds rows to a table of `make` in one step; some thousands at a time are fastest."""
        if rows:
            given = ", ".join(f"unnest(CAST(? AS {kind}[]))" for kind in self._made[name])
            with _plain(None):
                self._open.execute(
                    f"INSERT INTO {_name(name)} SELECT {given}",
                    [list(column) for column in zip(*rows, strict=True)],
                )

    def rows(self, query: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Streams the rows of a SELECT.

        Raises:
            SourceBroken: A file cannot be read; names the file and line only.
        """
        with _plain(None):
            cursor = self._open.cursor()
            cursor.execute(query, list(parameters))
        while True:
            with _plain(None):
                some = cursor.fetchmany(ROWS_AT_A_TIME)
            if not some:
                return
            yield from some

    def one(self, query: str, parameters: Sequence[object] = ()) -> tuple[Any, ...]:
        """The first row of a SELECT."""
        return next(self.rows(query, parameters))

    @property
    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._db is None:
            raise ValueError("Tables is used in a with statement")
        return self._db

    def _named(
        self, name: str, parts: list[tuple[list[str], str, Path]], shared: list[str]
    ) -> None:
        chosen = ", ".join(map(_name, shared))
        each = [
            f"SELECT {chosen}, {_text(path.name)} AS {FILE}, row_number() OVER () AS {ROW} "
            f"FROM {source}"
            for _, source, path in parts
        ]
        with _plain(None):
            self._open.execute(f"CREATE VIEW {_name(name)} AS {' UNION ALL '.join(each)}")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _there(path: Path) -> None:
    if not path.is_file():
        raise SourceBroken(f"{path.name}: no such file in {path.parent}")


def _header(path: Path, encoding: Encoding, delimiter: str) -> list[str]:
    _there(path)
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig" if encoding == "utf-8" else encoding,
                    newline="") as file:  # fmt: skip
            found = next(csv.reader(file, delimiter=delimiter), [])
    except (OSError, EOFError) as error:
        raise SourceBroken(f"{path.name}: cannot be read ({type(error).__name__})") from None
    except UnicodeDecodeError:
        raise SourceBroken(f"{path.name}: is not {encoding}; say which it is") from None
    except csv.Error:
        raise SourceBroken(f"{path.name}: its first line is not a CSV header") from None
    if not found:
        raise SourceBroken(f"{path.name}: is empty; it must begin with its columns' names")
    return found


def _once(columns: list[str], path: Path) -> None:
    for column in columns:
        if columns.count(column) > 1 or column in (FILE, ROW):
            raise SourceBroken(f"{path.name}: two columns have one name; rename one")


@contextmanager
def _plain(path: Path | None) -> Iterator[None]:
    """DuckDB's errors repeat values; what is said instead is the file and the line."""
    import duckdb

    try:
        yield
    except (duckdb.Error, MemoryError) as error:
        raise SourceBroken(_said(str(error), path, type(error).__name__)) from None


def _said(text: str, path: Path | None, kind: str) -> str:
    file = re.search(r"^\s*file = (.+)$", text, re.MULTILINE)
    name = path.name if path is not None else Path(file[1]).name if file else "a file"
    line = re.search(r"(?:CSV Error on )?Line:? (\d+)", text, re.IGNORECASE)
    where = f"{name} line {line[1]}" if line else name
    if kind == "OutOfMemoryException":
        return f"{where}: there is not enough memory or temporary disk to sort it"
    if re.search(r"utf-?8|unicode|encod", text, re.IGNORECASE):
        return f"{where}: is not in the encoding that site.toml says; say which it is"
    return f"{where}: cannot be read as a table ({kind}); write it anew"

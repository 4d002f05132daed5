"""Tables: CSV and Parquet files joined and sorted in bounded memory, on DuckDB.

Rows are sorted without their long texts, which `client.sources.texts` keeps: DuckDB sorts those
only where about all of them fit into memory.

Every column of a CSV file is read as text: a reader that guesses types takes `04112` for 4,112.
What does not fit into memory is sorted in a temporary folder that only this user can open and that
is removed at the end, or, after a kill, when the next tables are opened. DuckDB encrypts what it
writes there, which keeps a leftover from a casual look and from no expert: the files of notes
themselves lie at the site in clear.

| a CSV file | becomes |
| --- | --- |
| ends its lines with LF, CRLF or CR, with line ends of any kind between quotes | rows |
| ends some lines with LF and others with CRLF | `SourceBroken` |
| begins with a byte order mark | as if it did not |
| has an empty line | no row, except in a file of one column |
| has a column without a name, such as the index that pandas writes | that column is not read |
| has a row with a field too many or too few, or a quote that does not end | `SourceBroken` |
| has bytes that its encoding does not have; latin-1 has none of 0x80 to 0x9f | `SourceBroken` |
| is a workbook, Parquet or UTF-16 | `SourceBroken` |
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from client.sources.complaints import (
    LONGEST_LINE,
    Encoding,
    complaint,
    refuse_encoding,
    refuse_foreign,
)
from client.sources.scratch import Scratch
from privacy.errors import SourceBroken

if TYPE_CHECKING:
    import duckdb

__all__ = ["FILE", "LONGEST_LINE", "ROW", "Encoding", "Tables", "quoted"]

ROWS_AT_A_TIME = 64
FILE, ROW = "_file", "_row"
"""Columns that every table has: its file's name, and the record's number in it, from 1."""

UNNAMED = "_unnamed_"


class Tables:
    """Some files, open for queries; a context manager.

    Args:
        memory_mb: What DuckDB may hold in memory; what is more goes to the temporary folder.
    """

    def __init__(self, *, memory_mb: int = 512) -> None:
        self._memory = memory_mb
        self._scratch: Scratch | None = None
        self._db: duckdb.DuckDBPyConnection | None = None
        self._files: dict[Path, Encoding | None] = {}
        self._made: dict[str, tuple[str, ...]] = {}

    def __enter__(self) -> Self:
        """Opens a database in memory that can neither load extensions nor reach a network."""
        import duckdb

        self._scratch = Scratch()
        self._db = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{self._memory}MB",
                "threads": 2,
                "temp_directory": str(self._scratch.path),
                "temp_file_encryption": True,
                # Its own crypto module draws keys from a generator that it does not call secure,
                # and the module that it would rather have is an extension to be downloaded.
                "force_mbedtls_unsafe": True,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                "extension_directory": f"{self._scratch.path}/none",
                "preserve_insertion_order": True,
            },
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it and removes what was on disk."""
        if self._db is not None:
            self._db.close()
        if self._scratch is not None:
            self._scratch.close()

    def csv(
        self,
        name: str,
        paths: Sequence[Path],
        *,
        encoding: Encoding = "utf-8",
        delimiter: str = ",",
        lower: bool = False,
        needs: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Names CSV files, gzipped or not, as a table; every column is text, empty ones are null.

        Args:
            name: Of the table.
            paths: Files with the same columns in any order.
            encoding: Of the files.
            delimiter: Between columns.
            lower: Makes the columns' names lower-case.
            needs: Columns that every file must have.

        Returns:
            The columns that all files have, as in the first.

        Raises:
            SourceBroken: A file is not there, has no header, lacks a column that is needed, or
                has one twice.
        """
        parts: list[tuple[list[str], str, Path]] = []
        shared: list[str] = []
        for path in paths:
            self._files[path] = encoding
            header = _header(path, encoding, delimiter)
            columns = [column.lower() if lower else column for column in header]
            named = [column for column in columns if column]
            _once(named, path)
            _has(needs, named, path)
            given = ", ".join(
                f"{_text(column or f'{UNNAMED}{number}')}: 'VARCHAR'"
                for number, column in enumerate(columns)
            )
            read = (
                f"read_csv({_path(path)}, header = true, auto_detect = false, "
                f"columns = {{{given}}}, delim = {_text(delimiter)}, quote = '\"', "
                f"escape = '\"', encoding = {_text(encoding)}, strict_mode = true, "
                f"max_line_size = {LONGEST_LINE}, buffer_size = {LONGEST_LINE})"
            )
            parts.append((named, read, path))
            shared = [column for column in shared or named if column in named]
        self._named(name, parts, shared)
        return tuple(shared)

    def parquet(
        self,
        name: str,
        paths: Sequence[Path],
        *,
        lower: bool = False,
        needs: Collection[str] = (),
    ) -> dict[str, str]:
        """Names Parquet files as a table; columns keep their types.

        Args:
            name: Of the table.
            paths: Files with the same columns in any order.
            lower: Makes the columns' names lower-case.
            needs: Columns that every file must have.

        Returns:
            The columns that all files have, and DuckDB's name of each one's type.

        Raises:
            SourceBroken: A file is not there, is not Parquet, or lacks a column that is needed.
        """
        parts: list[tuple[list[str], str, Path]] = []
        types: dict[str, str] = {}
        shared: list[str] = []
        for path in paths:
            self._files[path] = None
            with self._plain(path):
                _there(path)
                read = f"read_parquet({_path(path)})"
                described = self._open.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()
            found = {row[0].lower() if lower else row[0]: str(row[1]) for row in described}
            _once([row[0].lower() if lower else row[0] for row in described], path)
            _has(needs, found, path)
            renamed = ", ".join(
                f"{quoted(row[0])} AS {quoted(new)}"
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
        given = ", ".join(f"{quoted(column)} {kind}" for column, kind in columns.items())
        with self._plain():
            self._open.execute(f"CREATE TABLE {quoted(name)} ({given})")

    def add(self, name: str, rows: Sequence[Sequence[object]]) -> None:
        """Adds rows to a table of `make` in one step; some thousands at a time are fastest."""
        if rows:
            given = ", ".join(f"unnest(CAST(? AS {kind}[]))" for kind in self._made[name])
            with self._plain():
                self._open.execute(
                    f"INSERT INTO {quoted(name)} SELECT {given}",
                    [list(column) for column in zip(*rows, strict=True)],
                )

    def rows(self, query: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Streams the rows of a SELECT.

        Raises:
            SourceBroken: A file cannot be read; names the file and line only.
        """
        with self._plain():
            cursor = self._open.cursor()
            cursor.execute(query, list(parameters))
        try:
            while True:
                with self._plain():
                    some = cursor.fetchmany(ROWS_AT_A_TIME)
                if not some:
                    return
                yield from some
        finally:
            cursor.close()

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
        chosen = "".join(f"{quoted(column)}, " for column in shared)
        names = _apart([path for _, _, path in parts])
        each = [
            f"SELECT {chosen}{_text(names[path])} AS {FILE}, row_number() OVER () AS {ROW} "
            f"FROM {source}"
            for _, source, path in parts
        ]
        with self._plain():
            self._open.execute(f"CREATE VIEW {quoted(name)} AS {' UNION ALL '.join(each)}")

    @contextmanager
    def _plain(self, path: Path | None = None) -> Iterator[None]:
        """DuckDB's errors repeat values; what is said instead is the file and the line."""
        import duckdb

        try:
            yield
        except (duckdb.Error, MemoryError) as error:
            files = self._files if path is None else {path: self._files[path]}
            raise complaint(error, files) from None


def quoted(value: str) -> str:
    """A name of a table or column, for SQL."""
    return '"' + value.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _path(path: Path) -> str:
    """A path for SQL; without the brackets DuckDB would take `*` for any name."""
    return _text(re.sub(r"[\[*?]", r"[\g<0>]", str(path)))


def _apart(paths: list[Path]) -> dict[Path, str]:
    """Each file's name, with as many folders as tell all of them apart."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        found = {path: "/".join(path.parts[-depth:]) for path in paths}
        if len(set(found.values())) == len(paths):
            return found
    raise SourceBroken(f"{paths[0].name}: a file is named twice; name each once")


def _there(path: Path) -> None:
    if not path.is_file():
        raise SourceBroken(f"{path.name}: no such file in {path.parent}")


def _header(path: Path, encoding: Encoding, delimiter: str) -> list[str]:
    _there(path)
    refuse_foreign(path)
    try:
        with _opened(path, encoding) as file:
            found = next(csv.reader(file, delimiter=delimiter), [])
    except (OSError, EOFError, zlib.error) as error:
        raise SourceBroken(f"{path.name}: cannot be read ({type(error).__name__})") from None
    except UnicodeDecodeError:
        refuse_encoding(path, encoding)
        raise
    except csv.Error:
        raise SourceBroken(f"{path.name}: its first line is not a CSV header") from None
    if not found:
        raise SourceBroken(f"{path.name}: is empty; it must begin with its columns' names")
    return found


def _opened(path: Path, encoding: Encoding) -> IO[str]:
    real = "utf-8-sig" if encoding == "utf-8" else encoding
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding=real, newline="")
    return path.open(encoding=real, newline="")


def _once(columns: list[str], path: Path) -> None:
    for column in columns:
        if columns.count(column) > 1 or column in (FILE, ROW):
            raise SourceBroken(f"{path.name}: two columns have one name; rename one")


def _has(needs: Collection[str], columns: Collection[str], path: Path) -> None:
    # The columns that are there stay unsaid: in a file without a header they are a patient's row.
    for column in needs:
        if column not in columns:
            raise SourceBroken(
                f"{path.name}: has no column {column!r}; name one of its first line in site.toml "
                "(and its delimiter, where that is not a comma)"
            )

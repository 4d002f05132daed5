"""MIMIC's tables: where they stand in a folder, and their records in the order of patients.

Every cell is read as text, whatever the file is, so that `csv`, `csv.gz` and Parquet give the
same; names of files and columns may be in upper or lower case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from client.sources.tables import FILE, ROW, Tables
from client.sources.texts import Texts
from privacy.errors import SourceBroken

ENDINGS = (".csv", ".csv.gz", ".parquet")
DEEPEST = 3
"""Folders below the one that is named in which a table is looked for."""


def find(folder: Path, table: str, *, hint: str = "") -> Path:
    """The file of a table, in a folder or up to `DEEPEST` folders below it.

    Args:
        folder: Such as that of `hosp/` and `note/`.
        table: Such as `admissions`.
        hint: What to do where there is none.

    Raises:
        SourceBroken: There is none, or more than one.
    """
    if not folder.is_dir():
        raise SourceBroken(f"{folder.name}: no such folder to read MIMIC's tables from")
    found = [
        path
        for path in _files(folder)
        for ending in ENDINGS
        if path.name.endswith(ending) and path.name.removesuffix(ending).lower() == table
    ]
    if not found:
        names = ", ".join(table + ending for ending in ENDINGS)
        raise SourceBroken(f"{folder.name}: holds none of {names}; {hint or 'put one there'}")
    if len(found) > 1:
        both = " and ".join(path.relative_to(folder).as_posix() for path in found[:2])
        raise SourceBroken(f"{folder.name}: {both} are both table {table}; leave one of them there")
    return found[0]


class Table:
    """One file of MIMIC as a table of text.

    Args:
        tables: Where it is read.
        name: Of the table; it stands in queries.
        path: Of the file.
    """

    def __init__(self, tables: Tables, name: str, path: Path) -> None:
        self._tables, self._name, self._file = tables, name, path.name
        if path.suffix == ".parquet":
            self.columns = frozenset(tables.parquet(name, [path], lower=True))
        else:
            self.columns = frozenset(tables.csv(name, [path], lower=True))

    def demand(self, columns: Sequence[str]) -> None:
        """Checks that columns are there.

        Raises:
            SourceBroken: One is not.
        """
        for column in columns:
            if column not in self.columns:
                raise SourceBroken(f"{self._file}: has no column {column}, which MIMIC's has")

    def sorted(self, columns: Sequence[str]) -> Iterator[list[Any]]:
        """Records in the order of patients, those of one patient in the order of the file.

        Args:
            columns: The patient's id first; those that the file has not are None.

        Returns:
            For each record: its file, its number there, then the columns without spaces around.
        """
        chosen = [_trimmed(column) if column in self.columns else "NULL" for column in columns]
        query = (
            f"SELECT {FILE}, {ROW}, {', '.join(chosen)} FROM {_name(self._name)} "
            f"ORDER BY {chosen[0]} NULLS LAST, {ROW}"
        )
        return map(list, self._tables.rows(query))

    def with_texts(self, columns: Sequence[str], texts: Texts) -> Iterator[list[Any]]:
        """As `sorted`, with the column `text` as it is at the end of each record.

        Args:
            columns: As in `sorted`.
            texts: An empty one, where the texts are kept; open while records are read.
        """
        who = _trimmed(columns[0])
        query = f"SELECT {FILE}, {ROW}, {who}, CAST(text AS VARCHAR) FROM {_name(self._name)}"
        texts.keep(self._tables.rows(query))
        for row in self.sorted(columns):
            yield [*row, texts.get(row[0], row[1], row[2])]

    def counted(self, columns: Sequence[str]) -> Iterator[list[Any]]:
        """Each combination of values: the file, the values, the number of records."""
        chosen = [_trimmed(column) if column in self.columns else "NULL" for column in columns]
        query = (
            f"SELECT {FILE}, {', '.join(chosen)}, count(*) FROM {_name(self._name)} GROUP BY ALL"
        )
        return map(list, self._tables.rows(query + " ORDER BY ALL"))


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for depth in range(DEEPEST + 1):
        found += (path for path in folder.glob("*/" * depth + "*") if path.is_file())
    return sorted(found)


def _trimmed(column: str) -> str:
    return f"nullif(trim(CAST({_name(column)} AS VARCHAR)), '')"


def _name(column: str) -> str:
    return '"' + column + '"'

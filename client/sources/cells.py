"""Cells: the rows of a table that are read, in order of patient, and tables merged by patient.

DuckDB sorts the rows of a table without their notes, which wait in `Texts`; of the result one
patient's rows at a time are held in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from client.sources.layout import Fact
from client.sources.mangled import is_number
from client.sources.moments import Moments, since_epoch
from client.sources.source import Attrition
from client.sources.tables import FILE, ROW, Tables, quoted
from client.sources.texts import Texts
from privacy.errors import SourceBroken

Role = Literal["id", "text", "word", "code", "codes", "time", "fact"]
"""What a column is read as: an id, a note, any word, a code, several codes, a moment, a fact."""

_WHOLE = frozenset(
    f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")
) | {"INTEGER", "UINTEGER"}

_ENDS = frozenset({"at", "discharged"})
"""Times of which a date alone is the day's last moment: a note is never taken for older than it may
be, nor a stay for over before it may be. Of the others it is the first, and of a death both."""

_ADVICE: Mapping[Role, str] = {
    "id": "write ids as text or whole numbers, because others lose digits",
    "text": "write notes as text",
    "word": "write it as text or whole numbers",
    "code": "write codes as text, because numbers lose leading zeros",
    "codes": "write codes as lists of text, or as text and set code_separator",
    "time": "write it as a timestamp, a date or text",
    "fact": "write it as text, whole numbers or booleans",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is read.

    Attributes:
        name: Under which its values are found.
        column: Its name in the files.
        role: What it is read as.
        fact: Of the role `fact`, how.
    """

    name: str
    column: str
    role: Role
    fact: Fact | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What was read of a row.

    Attributes:
        file: Its name.
        place: File and row.
        values: By the columns' names; None where the cell is empty.
    """

    file: str
    place: str
    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values.get(name)


@dataclass(frozen=True, slots=True)
class Reading:
    """A table, and how it is read.

    Attributes:
        table: Its name in `Tables`.
        types: Of its columns, as DuckDB calls them.
        columns: Those that are read.
        moments: Reads its times.
        separator: Between several codes in one cell.
        source: In SQL, where the rows come from, where that is not the table alone.
    """

    table: str
    types: Mapping[str, str]
    columns: Sequence[Column]
    moments: Moments
    separator: str | None = None
    source: str | None = None

    def rows(
        self,
        tables: Tables,
        texts: Texts | None = None,
        *,
        where: str = "true",
        parameters: Sequence[object] = (),
    ) -> Iterator[Row]:
        """The rows in order of patient, those without one first, within a patient as they stand.

        Args:
            tables: Where the files are open.
            texts: An empty one, where the table has a column of notes; open while rows are read.
            where: Which rows are read, in SQL.
            parameters: Of `where`.

        Raises:
            SourceBroken: A cell cannot be read as what it must be; names file, row and column.
        """
        source, patient = self.source or quoted(self.table), self._of("patient")
        chosen = ["NULL" if c.role == "text" else self._expression(c) for c in self.columns]
        if texts is not None:
            texts.keep(
                tables.rows(
                    f"SELECT {FILE}, {ROW}, {patient}, CASE WHEN {where} THEN {self._of('text')} "
                    f"END FROM {source}",
                    parameters,
                )
            )
        found = tables.rows(
            f"SELECT {FILE}, {ROW}, {', '.join(chosen)} FROM {source} WHERE {where} "
            f"ORDER BY {patient} NULLS FIRST, {FILE}, {ROW}",
            parameters,
        )
        readers = [(column, self._reader(column)) for column in self.columns]
        for file, number, *cells in found:
            place = f"{file} row {number}"
            values: dict[str, Any] = {}
            for (column, read), cell in zip(readers, cells, strict=True):
                try:
                    values[column.name] = read(cell)
                except ValueError as error:
                    raise SourceBroken(f"{place}: column {column.column}: {error}") from None
            if texts is not None:
                values["text"] = texts.get(file, number, values["patient"])
            yield Row(file, place, values)

    def _of(self, name: str) -> str:
        """The one column of a name, for SQL."""
        (found,) = (self._expression(column) for column in self.columns if column.name == name)
        return found

    def _expression(self, column: Column) -> str:
        cell, found = quoted(column.column), self.types[column.column]
        base = found.partition("(")[0]
        timed = base.startswith("TIMESTAMP")
        whole = base in _WHOLE or re.fullmatch(r"DECIMAL\(\d+,0\)", found) is not None
        text = base in ("VARCHAR", "ENUM")
        match column.role:
            case "time" if timed:
                return f"epoch_us({cell})"
            case "time" if base == "DATE":
                return cell
            case "codes" if found == "VARCHAR[]" or (text and self.separator is not None):
                return cell
            case "text" | "code" | "time" if text:
                return f"NULLIF(CAST({cell} AS VARCHAR), '')"
            case "id" if text or whole or base == "UUID":
                given = f"CAST({cell} AS VARCHAR)"
                return f"CASE WHEN trim({given}) = '' THEN NULL ELSE {given} END"
            case "word" | "fact" if text or whole or base == "BOOLEAN":
                return f"NULLIF(CAST({cell} AS VARCHAR), '')"
        # The base alone: an ENUM's full type lists its values.
        raise SourceBroken(
            f"{self.table}: column {column.column} is {base}; {_ADVICE[column.role]}"
        )

    def _reader(self, column: Column) -> Callable[[Any], Any]:
        found, fact = self.types[column.column], column.fact
        if column.role == "time":
            read = self._time(column.name)
            if found.startswith("TIMESTAMP"):
                zoned = "WITH TIME ZONE" in found
                return lambda cell: None if cell is None else read(since_epoch(cell, zoned=zoned))
            return lambda cell: None if cell is None else read(cell)
        if column.role == "fact" and fact is not None:
            if found == "BOOLEAN" and fact.type == "boolean" and not (fact.true or fact.false):
                return lambda cell: None if cell is None else cell == "true"
            return fact.said
        if column.role == "codes":
            return lambda cell: _codes(cell, self.separator)
        return _identifier if column.role == "id" else lambda cell: cell

    def _time(self, name: str) -> Callable[[Any], Any]:
        """How a time is read, by what it is the time of."""
        if name == "died":
            return self.moments.span
        if name in _ENDS:
            return lambda value: self.moments.span(value).last
        return self.moments.of


def _identifier(cell: str | None) -> str | None:
    """An id as it stands.

    Raises:
        ValueError: A spreadsheet wrote it as a number: different ids have become one.
    """
    if cell is not None and is_number(cell):
        raise ValueError(
            "holds ids that were turned into numbers such as 1.0E+07; export it as text"
        )
    return cell


def _codes(cell: str | list[str | None] | None, separator: str | None) -> tuple[str, ...]:
    some = cell.split(separator) if isinstance(cell, str) else cell or ()
    return tuple(code.strip() for code in some if code is not None and code.strip())


def by_patient(
    rows: Iterator[Row], *, without: str, attrition: Attrition
) -> Iterator[tuple[str, list[Row]]]:
    """Rows in order of patient, together for each patient.

    Args:
        rows: With a value `patient`.
        without: The rule under which rows without a patient are counted and left out.
        attrition: Where.
    """
    for patient, some in groupby(rows, key=lambda row: row["patient"]):
        if patient is None:
            for row in some:
                attrition.add(without, row.place)
        else:
            yield patient, list(some)


def merged(
    streams: Sequence[Iterator[tuple[str, list[Row]]]],
) -> Iterator[tuple[str, list[list[Row]]]]:
    """Several tables in order of patient as one: each patient with its rows of every table.

    DuckDB orders texts by their bytes in UTF-8, which is how Python orders them.
    """
    heads = [next(stream, None) for stream in streams]
    while any(head is not None for head in heads):
        patient = min(head[0] for head in heads if head is not None)
        found: list[list[Row]] = []
        for number, head in enumerate(heads):
            if head is not None and head[0] == patient:
                found.append(head[1])
                heads[number] = next(streams[number], None)
            else:
                found.append([])
        yield patient, found

"""Zipped: the records of a CSV file in a zip, streamed without unpacking it to the disk."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.sources.tables import LONGEST_LINE, Encoding
from privacy.errors import SourceBroken


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a CSV file.

    Attributes:
        file: Its name.
        number: Of the record in it, from 1, without the header.
        values: By the columns that were asked for.
    """

    file: str
    number: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values[column]

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"{self.file} row {self.number}"

    def broken(self, column: str, what: str) -> SourceBroken:
        """The error that a column of this record holds what it must not; never says what."""
        return SourceBroken(f"{self.place}: column {column} {what}")


def records(
    path: Path, member: str, *, columns: Sequence[str], encoding: Encoding
) -> Iterator[Record]:
    """Streams the records of one CSV file in a zip, one at a time in memory.

    Args:
        path: The zip.
        member: The file's name in it, upper- or lower-case.
        columns: What is read; the file may have more.
        encoding: Of the file.

    Raises:
        SourceBroken: Zip or file is not there or cannot be read, a column is missing or stands
            twice, or a record does not have one value for each column.
    """
    # The limit is the whole process's; a narrative of 10 MB is longer than its default.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
    try:
        with zipfile.ZipFile(path) as archive:
            name = _member(archive, path, member)
            codec = "utf-8-sig" if encoding == "utf-8" else encoding
            with archive.open(name) as raw, io.TextIOWrapper(raw, codec, newline="") as text:
                yield from _records(csv.reader(text, strict=True), Path(name).name, columns)
    except FileNotFoundError:
        raise SourceBroken(f"{path.name}: no such file in {path.parent}") from None
    except UnicodeDecodeError:
        raise SourceBroken(
            f"{path.name}: {member} is not UTF-8; say encoding = 'latin-1' if it is that"
        ) from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError,
            NotImplementedError) as error:  # fmt: skip
        # RuntimeError: a password is wanted; NotImplementedError: packed by an unknown method.
        raise SourceBroken(
            f"{path.name}: cannot be read as a zip ({type(error).__name__}); fetch it again"
        ) from None


def _member(archive: zipfile.ZipFile, path: Path, member: str) -> str:
    for name in archive.namelist():
        if name.lower() == member.lower():
            return name
    raise SourceBroken(f"{path.name}: has no {member} in it; fetch it again")


def _records(reader: Iterator[list[str]], file: str, columns: Sequence[str]) -> Iterator[Record]:
    number = 0
    try:
        header = next(reader, [])
        places = [(column, _place(header, column, file)) for column in columns]
        for row in reader:
            number += 1
            if len(row) != len(header):
                raise SourceBroken(
                    f"{file} row {number}: has {len(row)} values where the header has {len(header)}"
                )
            yield Record(file, number, {column: row[place] for column, place in places})
    except csv.Error:
        raise SourceBroken(f"{file} row {number + 1}: is not CSV; was the file edited?") from None


def _place(header: list[str], column: str, file: str) -> int:
    if header.count(column) != 1:
        what = "stands twice" if column in header else "is missing"
        raise SourceBroken(f"{file}: column {column} {what} in its header")
    return header.index(column)

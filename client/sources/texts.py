"""Texts: long texts on disk, sealed, found again by the file and row in which they stood.

DuckDB cannot sort rows of 10 kB in bounded memory, so tables are sorted without their texts, and
these are fetched from here: each file is read once for its texts and once for all else.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Self

from client.sources.sealed_file import SealedFile
from privacy.errors import SourceBroken


class Texts:
    """The texts of a table, whose rows come file by file; a context manager.

    A row takes eight bytes of memory, its text none.

    Guarantees:
        A text is given only to whom it was kept for.
    """

    def __init__(self) -> None:
        self._sealed = SealedFile()
        self._ends = array("Q", [0])
        self._starts: dict[str, int] = {}
        self._last = ("", 0)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Removes the file."""
        self._sealed.__exit__(*error)

    def keep(self, rows: Iterable[tuple[str, int, str | None, str | None]]) -> None:
        """Keeps the texts of a table.

        Args:
            rows: Every row in order, each (file, number in it from 1, owner, text); a row without
                a text, or without anybody whose it is, keeps its number.

        Raises:
            SourceBroken: The temporary disk is full, or rows are not in order: their file changed.
        """
        for file, row, owner, text in rows:
            before, number = self._last
            if row != (number + 1 if file == before else 1):
                raise _changed(file)
            self._starts.setdefault(file, len(self._ends) - 1)
            self._last = (file, row)
            length = 0
            if text and owner is not None:
                length = self._sealed.keep(text.encode(), owner.encode())[1]
            self._ends.append(self._ends[-1] + length)

    def get(self, file: str, row: int, owner: str | None) -> str | None:
        """The text of a row; None where there was none.

        Raises:
            SourceBroken: It was kept for somebody else, or was not there: the file changed while
                it was read.
        """
        at = self._starts.get(file, len(self._ends)) + row
        if at >= len(self._ends):
            raise _changed(file)
        start, length = self._ends[at - 1], self._ends[at] - self._ends[at - 1]
        if not length:
            return None
        return self._sealed.get(start, length, (owner or "").encode()).decode()


def _changed(file: str) -> SourceBroken:
    return SourceBroken(f"{file}: changed while it was read; read it anew")

"""Texts: long texts on disk, sealed, found again by number.

DuckDB cannot sort rows of 10 kB in bounded memory, so tables are sorted without their texts, and
these are fetched from here.
"""

from __future__ import annotations

from array import array
from typing import Self

from client.sources.sealed_file import SealedFile


class Texts:
    """Texts in the order in which they came; a context manager.

    Guarantees:
        A text is given only to whom it was kept for.
    """

    def __init__(self) -> None:
        self._sealed = SealedFile()
        self._ends = array("Q", [0])

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Removes the file."""
        self._sealed.__exit__(*error)

    def keep(self, text: str | None, owner: str) -> None:
        """Adds a text; the first is number 1.

        Raises:
            SourceBroken: The temporary disk is full.
        """
        length = self._sealed.keep(text.encode(), owner.encode())[1] if text else 0
        self._ends.append(self._ends[-1] + length)

    def get(self, number: int, owner: str) -> str | None:
        """A text; None where there was none.

        Raises:
            SourceBroken: It was kept for somebody else: the file changed while it was read.
        """
        start, end = self._ends[number - 1], self._ends[number]
        return (
            self._sealed.get(start, end - start, owner.encode()).decode() if end > start else None
        )

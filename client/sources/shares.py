"""Shares: which of a source's records are read, and into which part of the split they go."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from client.sources.source import Piece, Source
from privacy.spec import Spec
from tasks.records import Part

UNDATED = datetime(1900, 1, 1, tzinfo=UTC)
"""The one moment at which everything happens in a source that says it has no dates."""


class PartColumn(Spec):
    """A column that fixes the split: which of its values may be trained on, which are held out.
    A document with any other value is left out and counted.
    """

    column: str
    train: tuple[str, ...]
    heldout: tuple[str, ...]

    def part(self, value: object) -> Part | Literal["neither"]:
        """The part that a value of the column puts a record into."""
        if value in self.train:
            return "train"
        return "heldout" if value in self.heldout else "neither"


class Only(Spec):
    """Reads only the documents whose column has one of these values, or none of them."""

    column: str
    values: tuple[str, ...]
    exclude: bool = False


def pieces(
    counts: Mapping[str, int],
    share: Callable[[Only], Source],
    *,
    column: str,
    largest: int,
    rest: str,
) -> list[Piece]:
    """The pieces of a cut: the largest by number and then name, and one of all others.

    Args:
        counts: How many training patients each value has: 0 where all of them are held out. Those
            of no value (`""`) belong to the others.
        share: Makes the source of one piece.
        column: See `Source.cut`.
        largest: See `Source.cut`.
        rest: See `Source.cut`.
    """
    trained = [value for value in counts if value and counts[value]]
    own = tuple(sorted(trained, key=lambda value: (-counts[value], value))[:largest])
    found = [
        Piece(value, share(Only(column=column, values=(value,))), counts[value]) for value in own
    ]
    others = [number for value, number in counts.items() if value not in own]
    if others:  # also where all of them are held out: nobody is lost
        left = share(Only(column=column, values=own, exclude=True))
        found.append(Piece(rest, left, sum(others)))
    return found


def files_state(paths: Sequence[Path]) -> str:
    """What changes whenever one of these files does: the size and time of each."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            file = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((file.st_ino, file.st_size, file.st_mtime_ns))
    return json.dumps(found)

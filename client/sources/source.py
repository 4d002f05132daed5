"""Source, where a site's patients come from, and Attrition, what was left out on the way."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from privacy.spec import Kind
from tasks.records import Patient


class Attrition:
    """What was kept and what was left out, by rule.

    Holds counts and, for each rule, the first place where it struck (a file and line, an
    ordinal), never a value. It is private to the site: the counts are data about patients.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, str] = {}

    def add(self, rule: str, place: str = "", number: int = 1) -> None:
        """Counts `number` more under `rule`, such as `notes without text`."""
        self.counts[rule] = self.counts.get(rule, 0) + number
        if place:
            self.first.setdefault(rule, place)


@dataclass(frozen=True, slots=True)
class Piece:
    """One site's share of pooled data.

    Attributes:
        name: Of the site.
        source: Gives the share's patients only.
        training_patients: How many of them may be trained or tuned on.
    """

    name: str
    source: Source
    training_patients: int


class Source(Kind):
    """Where patients come from. Other packages add kinds under `fedward.sources`."""

    @abstractmethod
    def patients(self, *, root: Path, attrition: Attrition) -> Iterator[Patient]:
        """Streams every patient once, in a stable order, in bounded memory.

        Args:
            root: What relative paths in this source are relative to.
            attrition: Where unusable records are counted.

        Raises:
            SourceBroken: The records cannot be read; names the file and line only.
        """

    def state(self, *, root: Path) -> str | None:
        """What changes whenever the records do, cheap to ask; None where that is not known.

        Args:
            root: As in `patients`.
        """
        del root
        return None

    def cut(self, column: str, *, largest: int, rest: str, root: Path) -> list[Piece]:
        """Cuts pooled data into the sites of a simulation by the values of a column.

        Args:
            column: Whose value names a record's site.
            largest: This many sites of their own, those with the most training patients.
            rest: The name of one more site for all others.
            root: As in `patients`.

        Raises:
            ValueError: This kind of source cannot be cut, or has no such column.
        """
        del column, largest, rest, root
        raise ValueError(f"a source of kind {self.kind!r} cannot be cut into sites")

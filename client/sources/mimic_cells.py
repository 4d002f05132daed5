"""Cells of MIMIC's tables, refused where a spreadsheet or a program has changed how they look.

MIMIC's times have no zone and are shifted, each patient's by another number of years: only the
spans between one patient's times mean something. They are read as UTC, which has no change of
clocks, so that every span is what the tables say.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from client.sources.mangled import is_number
from privacy.errors import SourceBroken

_A_TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,9})?)?")

TO_END_OF_DAY = timedelta(days=1) - timedelta(microseconds=1)


class Place(NamedTuple):
    """Where a record stands.

    Attributes:
        file: Its name.
        row: Number of the record, from 1.
    """

    file: str
    row: int

    def __str__(self) -> str:
        """As errors and counts name it."""
        return f"{self.file} record {self.row}"


def identifier(value: str | None, column: str, place: Place) -> str | None:
    """An id as text; None where the cell is empty.

    Raises:
        SourceBroken: It was made a number, `1.0E+07` or `10004235.0`: what it was is lost, or two
            tables would not join.
    """
    if value is not None and is_number(value, whole=True):
        raise SourceBroken(
            f"{place}: column {column} was turned into decimal numbers by a spreadsheet or a "
            "program; take the file as PhysioNet gives it, or write ids as whole numbers"
        )
    return value


def moment(value: str | None, column: str, place: Place) -> datetime | None:
    """A time; a day alone is its first moment. None where the cell is empty.

    Raises:
        SourceBroken: It is not `YYYY-MM-DD HH:MM:SS`, which a spreadsheet turns into `2/24/2196
            14:38`: then nothing says which number is the month.
    """
    if value is None:
        return None
    if _A_TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        except ValueError:
            pass
    raise SourceBroken(
        f"{place}: column {column} is not a time as MIMIC writes it, YYYY-MM-DD HH:MM:SS; a "
        "spreadsheet may have changed it: take the file as PhysioNet gives it"
    )


def end_of_day(time: datetime) -> datetime:
    """The last moment of a time's day."""
    return time.replace(hour=0, minute=0, second=0, microsecond=0) + TO_END_OF_DAY


def flag(value: str | None, column: str, place: Place) -> bool | None:
    """A yes or no; None where the cell is empty.

    Raises:
        SourceBroken: It is neither 0 nor 1.
    """
    if value is None:
        return None
    if value not in ("0", "1"):
        raise SourceBroken(f"{place}: column {column} must be 0, 1 or empty")
    return value == "1"

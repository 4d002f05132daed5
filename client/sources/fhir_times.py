"""FHIR's dates and times, which may say a year, a month, a day or a moment.

| precision | read as |
| --- | --- |
| a time with a zone | itself |
| a time without a zone | itself in the zone that site.toml declares |
| a day, a month, a year | from its first to its last moment in that zone |
| anything else, or a year before 1800 or after 2400 | absent |
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from client.sources.assembly import FIRST_YEAR, LAST_YEAR
from privacy.errors import SourceBroken

_PARTIAL = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was, as well as it is known.

    Attributes:
        first: Not before this.
        last: Not after this; equal to `first` where the time is known.
    """

    first: datetime
    last: datetime

    @property
    def partial(self) -> bool:
        """Whether only a day, a month or a year is known."""
        return self.first != self.last

    @property
    def of_a_day(self) -> bool:
        """Whether at least the day is known."""
        return self.first.date() == self.last.date()


def moment(value: object, *, zone: ZoneInfo | None, place: str) -> Moment | None:
    """A FHIR `date`, `dateTime` or `instant`; None where it cannot be read.

    Args:
        value: What the resource says.
        zone: Of times without one.
        place: File and line.

    Raises:
        SourceBroken: A zone is needed and none is declared.

    >>> moment("2020-02", zone=ZoneInfo("UTC"), place="").last.isoformat()
    '2020-02-29T23:59:59.999999+00:00'
    """
    if not isinstance(value, str):
        return None
    partial = _PARTIAL.fullmatch(value)
    try:
        if partial is None:
            return _time(value, zone, place)
        return _partial(partial, zone, place)
    except ValueError:  # a thirteenth month, a leap second
        return None


def _time(value: str, zone: ZoneInfo | None, place: str) -> Moment | None:
    if not _TIME.fullmatch(value):
        return None
    # FHIR has any number of decimals, datetime six.
    at = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value))
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=_declared(zone, place))
    return Moment(at, at)


def _partial(found: re.Match[str], zone: ZoneInfo | None, place: str) -> Moment | None:
    year, month, day = (int(part) if part else None for part in found.groups())
    if year is None or not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    end_month = month or 12
    end_day = day or calendar.monthrange(year, end_month)[1]
    start = datetime(year, month or 1, day or 1)  # noqa: DTZ001 - zone below
    end = datetime(year, end_month, end_day, 23, 59, 59, 999_999)  # noqa: DTZ001 - zone below
    declared = _declared(zone, place)
    return Moment(start.replace(tzinfo=declared), end.replace(tzinfo=declared))


def _declared(zone: ZoneInfo | None, place: str) -> ZoneInfo:
    if zone is None:
        raise SourceBroken(
            f"{place}: a date without a time zone; say `zone` in the site's source, such as "
            '"Europe/Berlin"'
        )
    return zone

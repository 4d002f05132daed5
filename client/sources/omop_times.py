"""Times of an OMOP database: dates with or without a time, in the hospital's own zone.

OMOP CDM 5.4 tells whoever fills it to write midnight where no time is known. So a time of exactly
00:00:00 counts as a date alone, and a date alone is the day's beginning for what begins and the
day's end for what ends or is written: a note is never taken for older than it may be.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

LAST = datetime.max.replace(tzinfo=UTC)
FIRST = datetime.min.replace(tzinfo=UTC)


def moment(
    at: datetime | date | None, day: datetime | date | None, *, zone: ZoneInfo, late: bool
) -> datetime | None:
    """When something was, in UTC.

    Args:
        at: The column with a time; in the hospital's zone if it says none.
        day: The column with a date.
        zone: The hospital's.
        late: Takes the end of a day, and the second of two equal times when clocks go back.

    Returns:
        None where neither column says anything.
    """
    local = _local(at, zone)
    if local is None or local.time() == time.min:
        known = local.date() if local is not None else _day(day, zone)
        if known is None:
            return None
        local = datetime.combine(known, time.max if late else time.min)
    try:
        return local.replace(tzinfo=zone, fold=int(late)).astimezone(UTC)
    except OverflowError:  # the year 9999 stands for `never` in some databases
        return LAST if local.year > 1 else FIRST


def day_alone(
    at: datetime | date | None, day: datetime | date | None, *, zone: ZoneInfo
) -> datetime | None:
    """The first moment of the day, where no time of it is known; else None."""
    first, last = (moment(at, day, zone=zone, late=late) for late in (False, True))
    local = _local(at, zone)
    known = local is not None and local.time() != time.min
    return None if known or first == last else first


def day_of(
    at: datetime | date | None, day: datetime | date | None, *, zone: ZoneInfo
) -> date | None:
    """The hospital's day of a moment; the date's column comes first."""
    local = _local(at, zone)
    return _day(day, zone) or (local.date() if local is not None else None)


def _local(at: datetime | date | None, zone: ZoneInfo) -> datetime | None:
    if at is None:
        return None
    if not isinstance(at, datetime):
        return datetime.combine(at, time.min)
    return at if at.tzinfo is None else at.astimezone(zone).replace(tzinfo=None)


def _day(day: datetime | date | None, zone: ZoneInfo) -> date | None:
    found = _local(day, zone)
    return None if found is None else found.date()

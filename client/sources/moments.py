"""Moments: how the times of a table become times with a zone, as site.toml declares.

| a time | becomes |
| --- | --- |
| with an offset of its own, or a Parquet timestamp with a zone | that moment |
| without one | a moment in `time_zone`; `SourceBroken` where site.toml names none |
| that the clocks show twice, in autumn | the first of the two |
| that the clocks skip, in spring | as far after the change as it reads: 02:30 is 03:30 |
| a date alone | its first moment, or its last where that is asked for, and counted |
| before 1800 or after 2400 | `SourceBroken`: a mangled year |

The two lines on clocks are one rule: the offset of before the change holds. Every moment is kept
in UTC, because Python compares two times of one zone by their clocks.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from client.sources.assembly import FIRST_YEAR, LAST_YEAR

_ISO = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z| ?[+-]\d\d(:?\d\d)?)?)?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError, a folder an OSError
        raise ValueError("not a zone of the IANA database, such as Europe/Madrid") from None
    except KeyError:
        raise ValueError("not a zone of the IANA database, such as Europe/Madrid") from None
    return name


def _format(text: str) -> str:
    found = set(re.findall(r"%(.)", text.replace("%%", "")))
    if text == "iso":
        return text
    if "Y" not in found:
        raise ValueError("must be iso, or have a year of four digits (%Y)")
    if not ({"d"} & found and {"m", "b", "B"} & found) and "j" not in found:
        raise ValueError("must have a month (%m, %b or %B) and a day (%d)")
    if found & set("ycxZDGUVWuw"):
        raise ValueError("must not have what can be read in two ways (%y, %c, %x, %Z, weeks)")
    if ("I" in found) != ("p" in found):
        raise ValueError("must have %p where it has hours up to 12 (%I), and only there")
    return text


TimeZone = Annotated[str, AfterValidator(_zone)]
TimeFormat = Annotated[str, AfterValidator(_format)]


class Span(NamedTuple):
    """When something was: between two moments, which differ where a date alone is known."""

    first: datetime
    last: datetime


class Moments:
    """Reads times.

    Args:
        time_format: `iso`, or as `datetime.strptime` takes it.
        time_zone: Of times that have none.
        dates: Told of each date that has no time of day.
    """

    def __init__(
        self, *, time_format: str, time_zone: str | None, dates: Callable[[], None]
    ) -> None:
        self._format = time_format
        self._zone = None if time_zone is None else zoneinfo.ZoneInfo(time_zone)
        self._dates = dates

    def of(self, value: str | date | datetime) -> datetime:
        """A moment, of a text, a date, or a time with or without a zone; of a date its first.

        Raises:
            ValueError: It is none; the text says what to do and does not repeat it.
        """
        return self.span(value).first

    def span(self, value: str | date | datetime) -> Span:
        """The first and the last moment of a date in its zone; of a time, it is both.

        Raises:
            ValueError: It is none; the text says what to do and does not repeat it.
        """
        if isinstance(value, str):
            value = self._read(value)
        if not isinstance(value, datetime):
            self._dates()
            midnight = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - zone below
            first = self._in_utc(midnight)
            # Up to the next midnight on the clocks: a day may have 23 hours or 25.
            return Span(first, self._in_utc(midnight + timedelta(days=1)) - _INSTANT)
        at = self._in_utc(value)
        return Span(at, at)

    def _in_utc(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            if self._zone is None:
                raise ValueError("a time without a zone; set time_zone in site.toml")
            value = value.replace(tzinfo=self._zone, fold=0)
        if not FIRST_YEAR <= value.year <= LAST_YEAR:
            raise ValueError(f"a year before {FIRST_YEAR} or after {LAST_YEAR}; mend the file")
        return value.astimezone(UTC)

    def _read(self, text: str) -> date | datetime:
        text = text.strip()
        try:
            if self._format != "iso":
                found = datetime.strptime(text, self._format)  # noqa: DTZ007 - as above
                return found if _has_hours(self._format) else found.date()
            if _ISO.fullmatch(text):
                if len(text) == 10:
                    return date.fromisoformat(text)
                return datetime.fromisoformat(_microseconds(text))
        except ValueError:
            pass
        said = "an ISO time" if self._format == "iso" else f"a time as {self._format!r}"
        raise ValueError(
            f"is not {said}; set time_format to what the file has, or restore the file where a "
            "spreadsheet has rewritten it"
        )


def since_epoch(microseconds: int, *, zoned: bool) -> datetime:
    """A time of a Parquet file, with the zone UTC where the file has zones and none otherwise.

    Raises:
        ValueError: It is beyond what a calendar has, such as infinity.
    """
    try:
        found = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise ValueError("not a time that a calendar has; mend the file") from None
    return found if zoned else found.replace(tzinfo=None)


@lru_cache(maxsize=16)
def _has_hours(time_format: str) -> bool:
    return bool(re.search(r"%[HIXfTRr]", time_format.replace("%%", "")))


def _microseconds(text: str) -> str:
    """An ISO text with at most six digits behind the second, of which SQL Server writes seven."""
    return re.sub(r"[.,](\d{1,6})\d*", r".\1", text).replace(" +", "+").replace(" -", "-")

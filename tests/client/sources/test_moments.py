"""Moments: what a time becomes, and that nothing is guessed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from client.sources import fhir_times
from client.sources.assembly import FIRST_YEAR, LAST_YEAR
from client.sources.moments import Moments, Span, TimeFormat, TimeZone, since_epoch

FORMAT, ZONE = TypeAdapter(TimeFormat), TypeAdapter(TimeZone)


def moments(time_format: str = "iso", zone: str | None = "Europe/Madrid") -> Moments:
    return Moments(time_format=time_format, time_zone=zone, dates=lambda: None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-07-01T10:00:00", datetime(2024, 7, 1, 8, tzinfo=UTC)),
        ("2024-01-01 10:00", datetime(2024, 1, 1, 9, tzinfo=UTC)),
        (" 2024-01-01 10:00:30.5 ", datetime(2024, 1, 1, 9, 0, 30, 500_000, tzinfo=UTC)),
        ("2024-01-01 10:00:30,1234567", datetime(2024, 1, 1, 9, 0, 30, 123_456, tzinfo=UTC)),
        ("2024-01-01T10:00Z", datetime(2024, 1, 1, 10, tzinfo=UTC)),
        ("2024-01-01T10:00:00+0530", datetime(2024, 1, 1, 4, 30, tzinfo=UTC)),
        ("2024-01-01 10:00:00 -05:00", datetime(2024, 1, 1, 15, tzinfo=UTC)),
        ("2024-01-01T10:00-05", datetime(2024, 1, 1, 15, tzinfo=UTC)),
        # Both 02:30 of the autumn's change are the first; that of spring is 03:30.
        ("2024-10-27 02:30", datetime(2024, 10, 27, 0, 30, tzinfo=UTC)),
        ("2024-03-31 02:30", datetime(2024, 3, 31, 1, 30, tzinfo=UTC)),
        ("2024-03-31 03:30", datetime(2024, 3, 31, 1, 30, tzinfo=UTC)),
    ],
)
def test_iso(text, expected):
    assert moments().of(text) == expected
    assert moments().of(text).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    ["1/15/2024", "15/01/2024", "20240115", "2024-1-15", "2024-W03-1", "2024-01", "45306", "",
     "2024-02-30", "2024-01-01 24:30", "2024-01-01 10", "10:00", "2024-01-01T10:00 PST",
     "٢٠٢٤-01-01", "2024-01-01 10:00Zebulon"],
)  # fmt: skip
def test_what_is_not_iso_is_refused_without_repeating_it(text):
    with pytest.raises(ValueError, match="is not an ISO time; set time_format") as error:
        moments().of(text)
    assert not text or text not in str(error.value)


def test_a_format_is_kept_to_the_letter():
    spanish = moments("%d/%m/%Y %H:%M")
    assert spanish.of("02/01/2024 10:00") == datetime(2024, 1, 2, 9, tzinfo=UTC)
    for text in ("2024-01-02 10:00", "13/13/2024 10:00", "02/01/2024", "02/01/2024 10:00 x"):
        with pytest.raises(ValueError, match="is not a time as '%d/%m/%Y %H:%M'"):
            spanish.of(text)
    assert moments("%d.%m.%Y %H:%M %z", None).of("02.01.2024 10:00 +0200") == datetime(
        2024, 1, 2, 8, tzinfo=UTC
    )


def test_dates_begin_where_they_are_and_are_told():
    told: list[int] = []
    for time_format, value in (("iso", "2024-07-01"), ("%d/%m/%Y", "01/07/2024")):
        own = Moments(
            time_format=time_format, time_zone="Europe/Madrid", dates=lambda: told.append(1)
        )
        assert own.of(value) == datetime(2024, 6, 30, 22, tzinfo=UTC)
        assert own.of(date(2024, 7, 1)) == datetime(2024, 6, 30, 22, tzinfo=UTC)
        own.of("2024-07-01 00:00" if time_format == "iso" else "02/07/2024")
    assert len(told) == 5


@pytest.mark.parametrize(
    ("zone", "text", "first", "hours"),
    [
        ("UTC", "2020-01-09", datetime(2020, 1, 9, tzinfo=UTC), 24),
        ("Europe/Madrid", "2020-01-09", datetime(2020, 1, 8, 23, tzinfo=UTC), 24),
        ("America/New_York", "2020-01-09", datetime(2020, 1, 9, 5, tzinfo=UTC), 24),
        ("Europe/Madrid", "2024-03-31", datetime(2024, 3, 30, 23, tzinfo=UTC), 23),
        ("Europe/Madrid", "2024-10-27", datetime(2024, 10, 26, 22, tzinfo=UTC), 25),
        # Clocks that skip midnight: the day begins at 01:00, and the one before ends there.
        ("America/Sao_Paulo", "2018-11-04", datetime(2018, 11, 4, 3, tzinfo=UTC), 23),
        ("America/Sao_Paulo", "2018-11-03", datetime(2018, 11, 3, 3, tzinfo=UTC), 24),
    ],
)
def test_a_date_lasts_to_the_next_midnight_of_its_zone(zone, text, first, hours):
    last = first + timedelta(hours=hours) - timedelta(microseconds=1)
    assert moments(zone=zone).span(text) == Span(first, last)
    assert moments(zone=zone).span(date.fromisoformat(text)) == Span(first, last)
    assert moments(zone=zone).of(text) == first


def test_a_time_is_a_moment_also_at_midnight():
    at = datetime(2020, 1, 8, 23, tzinfo=UTC)
    assert moments().span("2020-01-09 00:00") == Span(at, at)


def test_a_time_without_a_zone_needs_one():
    for value in ("2024-01-01 10:00", "2024-01-01", date(2024, 1, 1)):
        with pytest.raises(ValueError, match="a time without a zone; set time_zone"):
            moments(zone=None).of(value)
    assert moments(zone=None).of("2024-01-01T10:00Z") == datetime(2024, 1, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize("year", [1, 1799, 2401, 9999])
def test_years_that_no_patient_lives_in_are_refused(year):
    with pytest.raises(ValueError, match="a year before 1800 or after 2400"):
        moments().of(f"{year:04}-01-01 10:00")


@pytest.mark.parametrize("year", [1799, 1800, 2400, 2401])
def test_fhir_has_the_same_years(year):
    said = f"{year}-06-01T10:00:00Z"
    found = fhir_times.moment(said, zone=None, place="")
    assert (found is not None) is (FIRST_YEAR <= year <= LAST_YEAR)
    if found is not None:
        assert found.first == moments().of(said)


def test_microseconds_since_the_epoch():
    assert since_epoch(1_500_000, zoned=True) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert since_epoch(-1, zoned=False).tzinfo is None
    for infinite in (2**63 - 1, -(2**63) + 1):
        with pytest.raises(ValueError, match="not a time that a calendar has"):
            since_epoch(infinite, zoned=True)


@given(st.datetimes(datetime(1850, 1, 1), datetime(2150, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001 - naive
def test_an_offset_of_its_own_always_holds(naive, minutes):
    aware = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert moments().of(aware.isoformat()) == aware
    assert moments(zone=None).of(aware.isoformat(" ")) == aware


@pytest.mark.parametrize("zone", ["Madrid", "CET+1", "../../etc/passwd", "/etc/localtime", "", "."])
def test_a_zone_is_one_of_the_database(zone):
    with pytest.raises(ValidationError, match="not a zone of the IANA database"):
        ZONE.validate_python(zone)


@pytest.mark.parametrize(
    "time_format",
    ["", "ISO", "%d/%m/%y", "%m/%d", "%Y-%m", "%Y-%d", "%c", "%Y %x", "%Y-%m-%d %Z", "%G-%V-%u",
     "%Y-%m-%d %I:%M", "%Y-%m-%d %H:%M %p", "%Y-%m-%%d"],
)  # fmt: skip
def test_a_format_that_can_be_read_in_two_ways_is_refused(time_format):
    with pytest.raises(ValidationError, match="must"):
        FORMAT.validate_python(time_format)


@pytest.mark.parametrize(
    "time_format", ["iso", "%Y-%m-%d", "%d %b %Y %I:%M %p", "%Y%j", "%Y%m%d%H%M%S%z"]
)
def test_a_format_that_cannot_is_taken(time_format):
    assert FORMAT.validate_python(time_format) == time_format

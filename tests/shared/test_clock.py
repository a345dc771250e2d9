"""Timestamps and versions."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.clock import UNIX_EPOCH, Timestamp, next_version, system_clock, to_micros

TIMES = st.datetimes(timezones=st.just(UTC))


@given(TIMES)
def test_microseconds_are_exact(time: datetime) -> None:
    assert UNIX_EPOCH + timedelta(microseconds=to_micros(time)) == time


@given(TIMES, st.integers(0, 2**62))
def test_a_version_is_greater_than_the_last(now: datetime, last: int) -> None:
    assert next_version(now, last) > last
    assert next_version(now, last) >= to_micros(now)


def test_a_clock_set_back_does_not_decrease_versions() -> None:
    first = next_version(UNIX_EPOCH + timedelta(days=20_000))
    assert next_version(UNIX_EPOCH + timedelta(days=19_999), first) == first + 1


def test_the_system_clock_is_in_utc() -> None:
    assert system_clock().tzinfo is UTC


def test_a_timestamp_has_an_offset() -> None:
    assert TypeAdapter[datetime](Timestamp).validate_python("2026-11-20T10:12:00+01:00") == datetime(
        2026, 11, 20, 9, 12, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-20T10:12:00",
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_a_timestamp_without_offset_or_at_the_end_of_the_calendar_is_invalid(time: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter[datetime](Timestamp).validate_python(time)

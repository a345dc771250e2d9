"""Moments and stamps."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.clock import EPOCH, Moment, micros, stamp, system_clock

MOMENTS = st.datetimes(timezones=st.just(UTC))


@given(MOMENTS)
def test_micros_are_exact(moment: datetime) -> None:
    assert EPOCH + timedelta(microseconds=micros(moment)) == moment


@given(MOMENTS, st.integers(0, 2**62))
def test_a_stamp_is_always_more_than_the_last_one(now: datetime, last: int) -> None:
    assert stamp(now, last) > last
    assert stamp(now, last) >= micros(now)


def test_a_clock_that_was_set_back_does_not_set_stamps_back() -> None:
    first = stamp(EPOCH + timedelta(days=20_000))
    assert stamp(EPOCH + timedelta(days=19_999), first) == first + 1


def test_the_system_clock_says_utc() -> None:
    assert system_clock().tzinfo is UTC


def test_a_moment_in_a_message_has_an_offset() -> None:
    assert TypeAdapter[datetime](Moment).validate_python("2026-11-20T10:12:00+01:00") == datetime(
        2026, 11, 20, 9, 12, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "moment",
    [
        "2026-11-20T10:12:00",
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_a_moment_without_an_offset_or_at_an_end_of_the_calendar_is_refused(moment: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter[datetime](Moment).validate_python(moment)

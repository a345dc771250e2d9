"""Time and the monotonic versions that are made from it.

A *version* counts microseconds since 1970 by the writer's clock, and is always greater than the last
version of the same thing. A restored database or a new topic therefore cannot set it back.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias

from pydantic import AwareDatetime, Field

MAX_VERSION = 2**58
"""No version is greater (in the year 11,104), so that there is always a next one that fits into 64 bits, also
after a message that nobody should have written."""

Clock = Callable[[], datetime]
"""Returns the present time: aware, in UTC."""

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Timestamp: TypeAlias = Annotated[
    AwareDatetime,
    Field(ge=datetime(2, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC)),
]
"""A time in a message. It has an offset, and is far enough from both ends of the calendar for any zone."""


def system_clock() -> datetime:
    """The machine's clock. Only `__main__` modules select it."""
    return datetime.now(UTC)


def to_micros(time: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    return (time - UNIX_EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The time of a version."""
    return UNIX_EPOCH + timedelta(microseconds=micros)


def to_milliseconds(duration: timedelta) -> int:
    """A duration in the unit of Kafka's and MongoDB's settings."""
    return duration // timedelta(milliseconds=1)


def next_version(now: datetime, after: int = 0) -> int:
    """The next version of a thing whose last version was `after`."""
    return max(to_micros(now), after + 1)

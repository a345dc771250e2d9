"""Time comes in through one door, and stamps are made from it.

A *stamp* is microseconds since 1970 by the writer's clock, but always more than the last stamp of
the same thing, so that a restored database or a new topic cannot set it back.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias

from pydantic import AwareDatetime, Field

Clock = Callable[[], datetime]
"""Answers the present moment, aware, in UTC."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


Moment: TypeAlias = Annotated[
    AwareDatetime, Field(ge=datetime(2, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC))
]
"""A time in a message: with an offset, and nowhere near the ends of the calendar, where no other zone can tell it."""


def system_clock() -> datetime:
    """The machine's clock. Only `__main__` modules choose it."""
    return datetime.now(UTC)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware moment."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def stamp(now: datetime, after: int = 0) -> int:
    """The next stamp of a thing whose last one was `after`."""
    return max(micros(now), after + 1)

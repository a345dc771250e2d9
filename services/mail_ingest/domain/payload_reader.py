"""Reads Graph's JSON, whatever it is: a value that differs from Graph's schema is passed over and counted."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from shared.time_zones import time_zone

EXCHANGE_NEVER_YEAR = 1601
"""Exchange writes dates up to this year for `none` (`0001-01-01`, and the start of its own calendar)."""
LATEST_TIME = datetime(9998, 12, 1, tzinfo=UTC)
"""Stands for every later time. `shared.clock.Timestamp` ends a month later: a capture window fits between."""
HALF_SURROGATE_PAIR = re.compile("[\ud800-\udfff]")


class Oddity(StrEnum):
    """What a payload had that an activity cannot have."""

    UNREADABLE = "unreadable"  # a value of a type that Graph's schema does not have there
    HALF_CHARACTER = "half_character"  # half a surrogate pair, which no encoding has
    NAMES_CUT = "names_cut"
    SUBJECT_CUT = "subject_cut"


class PayloadReader:
    """The fields of a JSON object. No method raises an error for what the object holds.

    Args:
        payload: a JSON object, or anything in its place.
        oddities: counts what is passed over; the readers of parts count there too.
    """

    def __init__(self, payload: Any, oddities: Counter[Oddity]) -> None:
        self.oddities = oddities
        self._fields: dict[str, Any] = payload if isinstance(payload, dict) else {}

    def has_type(self, part: str) -> bool:
        """True when the name of Graph's type has this part, in any case."""
        return part in str(self._fields.get("@odata.type", "")).lower()

    def text(self, name: str) -> str | None:
        """A text with content, valid in every encoding; None where there is none."""
        value = self._value(name, str)
        if not value or value.isascii():
            return value or None
        text, halves = HALF_SURROGATE_PAIR.subn("\ufffd", value)
        if halves:
            self.oddities[Oddity.HALF_CHARACTER] += halves
        return text

    def flag(self, name: str) -> bool:
        """A boolean; False where there is none."""
        return bool(self._value(name, bool))

    def object(self, name: str) -> "PayloadReader":
        """An object; an empty one where there is none."""
        return PayloadReader(self._value(name, dict), self.oddities)

    def objects(self, name: str) -> Iterator["PayloadReader"]:
        """The objects of a list."""
        for value in self._value(name, list) or ():
            if isinstance(value, dict):
                yield PayloadReader(value, self.oddities)
            else:
                self._pass_over()

    def time(self, name: str) -> datetime | None:
        """The UTC time of a DateTimeOffset; seven digits of a second and any offset occur."""
        time = self._parsed(name)
        return _utc(time.replace(tzinfo=time.tzinfo or UTC)) if time else None

    def zoned_time(self, name: str) -> datetime | None:
        """The UTC time of a dateTimeTimeZone.

        Raises:
            UnknownTimeZoneError: no table has its time zone.
        """
        part = self.object(name)
        time = part._parsed("dateTime")  # noqa: SLF001  # the reader of a part
        if time is None:
            return None
        return _utc(time if time.tzinfo else time.replace(tzinfo=time_zone(part.text("timeZone") or "UTC")))

    def day(self, name: str) -> datetime | None:
        """The date of a dateTimeTimeZone, as its midnight in UTC: a day begins at midnight in every zone."""
        time = self.object(name)._parsed("dateTime")  # noqa: SLF001  # the reader of a part
        return _utc(time.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)) if time else None

    def _parsed(self, name: str) -> datetime | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            self._pass_over()
            return None
        return None if time.year <= EXCHANGE_NEVER_YEAR else time

    def _value(self, name: str, expected: type) -> Any:
        value = self._fields.get(name)
        if value is None or isinstance(value, expected):
            return value
        self._pass_over()
        return None

    def _pass_over(self) -> None:
        self.oddities[Oddity.UNREADABLE] += 1


def _utc(time: datetime) -> datetime:
    """The time in UTC, at most `LATEST_TIME`."""
    if time.replace(tzinfo=UTC) >= LATEST_TIME:
        return LATEST_TIME
    return min(time.astimezone(UTC), LATEST_TIME)

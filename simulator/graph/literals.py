"""Numbers and date-times in query options, as Graph writes them: ASCII digits, ISO 8601."""

import re
from datetime import UTC, datetime

from . import errors
from .errors import GraphError

MAX_NUMBER = 2**31 - 1
_NUMBER = re.compile(r"[0-9]{1,10}")
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,7})?)?"
_OFFSET = r"Z|[+-][0-9]{2}:[0-9]{2}"
_DATE_TIME = re.compile(f"{_DATE}(?:{_TIME}(?:{_OFFSET})?)?", re.IGNORECASE)
_MOMENT = re.compile(f"{_DATE}(?:{_TIME}(?:{_OFFSET}))?", re.IGNORECASE)


def parse_number(text: str) -> int | None:
    """A number from 0 to 2^31 - 1; None for any other text."""
    number = int(text) if _NUMBER.fullmatch(text) else MAX_NUMBER + 1
    return number if number <= MAX_NUMBER else None


def parse_date_time(text: str) -> datetime:
    """A date or a date-time; without an offset it is in UTC.

    Raises:
        GraphError: the text is no date-time.
    """
    return _parse(text, _DATE_TIME)


def parse_moment(text: str) -> datetime:
    """The literal of a moment in a filter: a date, or a date-time with its offset.

    Raises:
        GraphError: the text is no such literal.
    """
    return _parse(text, _MOMENT)


def _parse(text: str, form: re.Pattern[str]) -> datetime:
    try:
        if not form.fullmatch(text):
            raise ValueError(text)
        value = datetime.fromisoformat(text.upper())
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise GraphError(errors.FILTER, f"'{text}' is not a date-time") from error

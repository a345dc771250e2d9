"""Values of Graph's JSON: times, participants, identities.

The functions raise an error of `MALFORMED_ERRORS` for a value that differs from Graph's schema.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from shared.events import Participant, ParticipantRole

from .activities import Payload

MALFORMED_ERRORS = (AttributeError, LookupError, OverflowError, TypeError, ValueError)
"""Errors of reading a payload that differs from Graph's schema."""
EXCHANGE_NEVER_YEAR = 1601
"""Exchange writes dates up to this year for `none` (`0001-01-01`, and the start of its own calendar)."""


class UnknownTimeZoneError(Exception):
    """A time zone is neither UTC nor an IANA name; the item is not captured."""


def parse_time(text: str | None) -> datetime | None:
    """The UTC time of a DateTimeOffset; seven digits of a second and any offset occur."""
    if not text:
        return None
    time = datetime.fromisoformat(text)
    if time.year <= EXCHANGE_NEVER_YEAR:
        return None
    return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)


def parse_zoned_time(value: Payload | None) -> datetime | None:
    """The UTC time of a dateTimeTimeZone; raises UnknownTimeZoneError."""
    text = (value or {}).get("dateTime")
    if not text:
        return None
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=_time_zone((value or {}).get("timeZone") or "UTC"))
    return None if time.year <= EXCHANGE_NEVER_YEAR else time.astimezone(UTC)


def _time_zone(name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, OSError, ValueError) as error:
        raise UnknownTimeZoneError("not an IANA name") from error


def format_time(time: datetime) -> str:
    """A time as Graph's queries and bodies take it: UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def participants(role: ParticipantRole, recipients: Any) -> Iterator[Participant]:
    """The participants of a list of recipients; a recipient without an address is skipped."""
    for recipient in recipients or ():
        email = (recipient or {}).get("emailAddress") or {}
        if (address := email.get("address")) and address.strip():
            yield Participant(role=role, address=address, name=email.get("name") or None)


def identity(*parts: str | datetime | None) -> str:
    """A digest that is equal for all copies of one message or meeting."""
    texts = (part.isoformat() if isinstance(part, datetime) else part or "" for part in parts)
    return sha256("\x1f".join(texts).encode(errors="surrogatepass")).hexdigest()[:32]

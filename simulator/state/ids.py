"""Identifiers in the format of Exchange, and as stable as the real ones.

An item has two ids: the immutable id, which survives a move between folders, and the default id,
which changes with every move. The id of an occurrence of a series contains its original start, so
that the mailbox does not store occurrences.

Graph documents that ids may have `/`, `+` and `=`. All immutable ids have `/` and `=` here, and many `+`;
default ids have `=` alone.
"""

import re
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from uuid import NAMESPACE_URL, UUID, uuid5

IMMUTABLE = "AAkALgAAAAAAHYQDEapmEc2byACqAC/EWg0A"
DEFAULT = "AAMkAGI1YTc4ZjBkLWI2MjktNGY3NS04"
FOLDER = "AQMkADZlNzM4ZgAALWM1YzEtNDQ4Ny1h"
CONVERSATION = "AAQkAGI1YTc4ZjBkLWI2MjktNGY3NS04"
TAIL = "AAA="
GLOBAL = "040000008200E00074C5B7101A82E008"
"""Prefix of the iCalUId of a meeting that was created in Outlook."""

_BODY = 32
"""Characters of an id between prefix and tail: 16 bytes of digest, 8 bytes of original start."""

_FORM = re.compile(r"A[A-Za-z0-9+/_-]{39,}={0,2}")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def digest(*parts: object) -> bytes:
    """Hash the parts to 16 bytes."""
    return blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).digest()


def item_id(form: str, key: bytes, original_start: datetime | None = None) -> str:
    """Build the id of an item, or of one occurrence of it, with the prefix of a form of id."""
    ticks = 0 if original_start is None else (original_start - _EPOCH) // _MICROSECOND
    encode = b64encode if form == IMMUTABLE else urlsafe_b64encode
    return form + encode(key + ticks.to_bytes(8, "big", signed=True)).decode() + TAIL


def occurrence_id(item: str, original_start: datetime) -> str:
    """Build the id, in the same form, of the occurrence of a series at an original start."""
    body = item[-len(TAIL) - _BODY : -len(TAIL)]
    return item_id(item[: -len(TAIL) - _BODY], _decode(body)[:16], original_start)


def split_occurrence(item: str) -> tuple[str, datetime | None]:
    """Split an id into the id of the item and the original start; None if the id has no original start."""
    head, body = item[: -len(TAIL) - _BODY], item[-len(TAIL) - _BODY : -len(TAIL)]
    try:
        raw = _decode(body)
        ticks = int.from_bytes(raw[16:], "big", signed=True)
        if len(raw) != 24 or not ticks:
            return item, None
        return item_id(head, raw[:16]), _EPOCH + ticks * _MICROSECOND
    except (ValueError, OverflowError):
        return item, None


def is_well_formed(item: str) -> bool:
    """Whether a text has the form of an item's id: Base64 of Exchange's length, in either alphabet."""
    return len(item) % 4 == 0 and _FORM.fullmatch(item) is not None


def _decode(body: str) -> bytes:
    """Decode either alphabet of Base64."""
    return urlsafe_b64decode(body.replace("+", "-").replace("/", "_"))


def change_key(*parts: object) -> str:
    """Build a change key, which differs for every version of an item."""
    return "CQAAABYAAAB" + b64encode(digest(*parts) + b"\x00\x00").decode().rstrip("=")


def conversation(*parts: object) -> tuple[str, str]:
    """Build the id of a conversation and its conversation index."""
    key = digest(*parts)
    index = b64encode(b"\x01" + key + b"\x00" * 5).decode()
    return CONVERSATION + "AQAQA" + urlsafe_b64encode(key).decode().rstrip("=") + "=", index


def global_object_id(key: bytes) -> str:
    """Build the iCalUId of a meeting as Outlook creates it; its zeros are the place of a date."""
    return f"{GLOBAL}00000000{key.hex().upper()}0000000010000000{key[::-1].hex().upper()}"


def ical_uid_of_occurrence(uid: str, original_start: datetime) -> str:
    """Build the iCalUId of one occurrence: Outlook writes the date into the iCalUId of the series.

    A uid that Outlook did not create has no place for a date and stays unchanged.
    """
    if not uid.startswith(GLOBAL):
        return uid
    day = original_start
    return f"{GLOBAL}{day.year:04X}{day.month:02X}{day.day:02X}{uid[len(GLOBAL) + 8 :]}"


def object_id(tenant: str, name: str) -> str:
    """Build the directory object id for a name; equal names of a tenant have equal ids."""
    return str(uuid5(uuid5(NAMESPACE_URL, f"simulator:{tenant}"), name))


def is_guid(text: str) -> bool:
    """Whether the text is a GUID."""
    try:
        return len(text) == 36 and bool(UUID(text))
    except ValueError:
        return False

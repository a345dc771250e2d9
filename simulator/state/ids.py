"""Identifiers shaped like Exchange's, safe in a URL, and stable as the real ones are.

An item has two: the immutable id, which survives a move between folders, and the default id,
which changes with every move. An occurrence of a series carries its original start in its id,
so that it needs no place of its own in a mailbox.
"""

from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from uuid import NAMESPACE_URL, UUID, uuid5

IMMUTABLE = "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A"
DEFAULT = "AAMkAGI1YTc4ZjBkLWI2MjktNGY3NS04"
FOLDER = "AQMkADZlNzM4ZgAALWM1YzEtNDQ4Ny1h"
CONVERSATION = "AAQkAGI1YTc4ZjBkLWI2MjktNGY3NS04"
TAIL = "AAA="
GLOBAL = "040000008200E00074C5B7101A82E008"
"""How the iCalUId of a meeting begins that was made in Outlook."""

_BODY = 32
"""Characters of an id between its head and its tail: 16 bytes of digest, 8 of original start."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def digest(*parts: object) -> bytes:
    """Sixteen bytes that differ wherever a part differs."""
    return blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).digest()


def item_id(form: str, key: bytes, original_start: datetime | None = None) -> str:
    """The id of an item, or of one occurrence of it, in the form asked for."""
    ticks = 0 if original_start is None else (original_start - _EPOCH) // _MICROSECOND
    return form + urlsafe_b64encode(key + ticks.to_bytes(8, "big", signed=True)).decode() + TAIL


def of_occurrence(item: str, original_start: datetime) -> str:
    """The id, in the same form, of the occurrence of a series at that original start."""
    body = item[-len(TAIL) - _BODY : -len(TAIL)]
    return item_id(item[: -len(TAIL) - _BODY], urlsafe_b64decode(body)[:16], original_start)


def split_occurrence(item: str) -> tuple[str, datetime | None]:
    """The id of the item itself and the original start that an id names, if it names one."""
    head, body = item[: -len(TAIL) - _BODY], item[-len(TAIL) - _BODY : -len(TAIL)]
    try:
        raw = urlsafe_b64decode(body)
        ticks = int.from_bytes(raw[16:], "big", signed=True)
        if len(raw) != 24 or not ticks:
            return item, None
        return item_id(head, raw[:16]), _EPOCH + ticks * _MICROSECOND
    except (ValueError, OverflowError):
        return item, None


def change_key(*parts: object) -> str:
    """A change key: another one for every version of an item."""
    return "CQAAABYAAAB" + b64encode(digest(*parts) + b"\x00\x00").decode().rstrip("=")


def conversation(*parts: object) -> tuple[str, str]:
    """A conversation's id and the conversation index that belongs to it."""
    key = digest(*parts)
    index = b64encode(b"\x01" + key + b"\x00" * 5).decode()
    return CONVERSATION + "AQAQA" + urlsafe_b64encode(key).decode().rstrip("=") + "=", index


def global_object_id(key: bytes) -> str:
    """An iCalUId of a meeting made in Outlook; the zeros in it are where a date goes."""
    return f"{GLOBAL}00000000{key.hex().upper()}0000000010000000{key[::-1].hex().upper()}"


def ical_uid_of_occurrence(uid: str, original_start: datetime) -> str:
    """The iCalUId of one occurrence: Outlook writes its date into the series' own.

    A uid that came from elsewhere has no place for a date and stays as it is.
    """
    if not uid.startswith(GLOBAL):
        return uid
    day = original_start
    return f"{GLOBAL}{day.year:04X}{day.month:02X}{day.day:02X}{uid[len(GLOBAL) + 8 :]}"


def object_id(tenant: str, name: str) -> str:
    """The directory object id of what is called by this name, always the same."""
    return str(uuid5(uuid5(NAMESPACE_URL, f"simulator:{tenant}"), name))


def is_guid(text: str) -> bool:
    """Whether this is written as a GUID."""
    try:
        return len(text) == 36 and bool(UUID(text))
    except ValueError:
        return False

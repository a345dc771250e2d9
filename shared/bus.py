"""Between events and Kafka's records: keys, CloudEvents headers, JSON, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Generic, TypeVar

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from .errors import Rejected
from .events import Event
from .records import AnyRecord, parse_key, parse_record, rejected
from .topics import Topic

Headers = list[tuple[str, bytes]]
ENVELOPE = (
    "ce_specversion",
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_time",
    "ce_version",
    "ce_epoch",
    "ce_count",
    "content-type",
)
"""The headers of a message of ours; they hold ids, times and numbers, nothing that people wrote."""
LARGEST = 2**63 - 1
"""Versions, epochs and counts are stored as 64 bits."""
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent.

    Attributes:
        key: the parts of the key, as the topic names them.
        value: None is a tombstone.
        version: a stamp; for what has no version of its own, the moment it is said.
        epoch, count: only on `matches`.
    """

    topic: Topic
    key: tuple[str, ...]
    value: Event | None
    version: int
    epoch: int | None = None
    count: int | None = None

    def encode(self, source: str, now: datetime) -> tuple[bytes, bytes | None, Headers]:
        """Kafka's key, value and headers."""
        key = self.topic.join(*self.key)
        kind = self.value.ce_type if self.value else f"{self.topic.messages[0].ce_type}.gone"
        of_key = f"{key.decode()}@{self.version}"
        headers: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", (of_key if self.epoch is None else f"{of_key}/{self.epoch}.{self.count}").encode()),
            ("ce_type", kind.encode()),
            ("ce_source", source.encode()),
            ("ce_time", _time(now)),
            ("ce_version", str(self.version).encode()),
            ("content-type", b"application/json"),
        ]
        if self.epoch is not None:
            headers += [("ce_epoch", str(self.epoch).encode()), ("ce_count", str(self.count).encode())]
        return key, None if self.value is None else self.value.model_dump_json().encode(), headers


@dataclass(frozen=True, slots=True)
class Position:
    """Where a message stands."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Received(Generic[V]):
    """A message as read: either taken, or refused with the reason.

    Attributes:
        key: the parts of the key; empty where the key itself is refused.
        value: None is a tombstone, or refused.
        version: of an upstream record: when it was published.
        raw: Kafka's record, bytes and all.
    """

    topic: Topic
    at: Position
    key: tuple[str, ...]
    value: V | None
    version: int
    epoch: int
    count: int
    refused: Rejected | None
    raw: "ConsumerRecord[bytes, bytes]"


def header(record: "ConsumerRecord[bytes, bytes]", name: str) -> bytes | None:
    """The last header of that name."""
    return dict(record.headers).get(name)


def decode(topic: Topic, record: "ConsumerRecord[bytes, bytes]") -> Received[Event]:
    """Reads a message of ours by its envelope; never raises, says `refused` instead."""
    at = _at(record)
    key: tuple[str, ...] = ()
    value: Event | None = None
    refused: Rejected | None = None
    version = epoch = count = 0
    try:
        key = _key(topic, record.key)
        headers = dict(record.headers)  # of two with one name the last counts
        version, epoch, count = (
            _number(headers, "ce_version"),
            _number(headers, "ce_epoch"),
            _number(headers, "ce_count"),
        )
        if record.value is not None:
            model = topic.model_of.get((headers.get("ce_type") or b"").decode(errors="replace"))
            if model is None:
                raise Rejected("no such message on this topic", "ce_type")
            value = model.model_validate_json(record.value)
    except ValidationError as invalid:
        refused = rejected(invalid)
    except Rejected as reason:
        refused = reason
    return Received(topic, at, key, value, version, epoch, count, refused, record)


def decode_record(
    topic: Topic, tenants: Sequence[str], record: "ConsumerRecord[bytes, bytes]"
) -> Received[AnyRecord]:
    """Reads a message of an upstream system; never raises, says `refused` instead."""
    at = _at(record)
    key: tuple[str, ...] = ()
    value: AnyRecord | None = None
    refused: Rejected | None = None
    try:
        claimed = parse_key(record.key)
        if "*" not in tenants and claimed[0] not in tenants:
            # It has no key here, or whoever may write this topic could unsay another tenant's record.
            raise Rejected("this tenant may not appear in this topic", "key")
        key = claimed
        if record.value is not None:
            value = parse_record(record.key, record.value)
    except Rejected as reason:
        refused = reason
    version = min(max(0, record.timestamp * 1000), LARGEST)
    return Received(topic, at, key, value, version, 0, 0, refused, record)


@lru_cache(maxsize=16)
def _time(now: datetime) -> bytes:
    """The same for all that is sent at once."""
    return now.astimezone(UTC).isoformat().encode()


def _at(record: "ConsumerRecord[bytes, bytes]") -> Position:
    return Position(record.topic, record.partition, record.offset)


def _key(topic: Topic, key: bytes | None) -> tuple[str, ...]:
    try:
        return topic.split(key or b"")
    except (ValueError, UnicodeDecodeError):
        raise Rejected(f"the key is not {'/'.join(topic.key)}", "key") from None


def _number(headers: Mapping[str, bytes | None], name: str) -> int:
    text = headers.get(name)
    if text is None:
        return 0
    if not text.isdigit() or len(text) > len(str(LARGEST)) or int(text) > LARGEST:
        raise Rejected("not a number of 63 bits", name)
    return int(text)

"""Messages between the services and Kafka's records: keys, CloudEvents headers, JSON values.

A received message is exactly one of `ValueMessage`, `TombstoneMessage` and `InvalidMessage`, so that
a handler cannot take one for another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, TypeAlias, TypeVar

from aiokafka import ConsumerRecord
from pydantic import BaseModel, ValidationError

from .clock import MAX_VERSION
from .errors import InvalidMessageError
from .events import Event
from .keys import K, MessageKey, RecordKey
from .message_parts import invalid_message_error
from .record_batches import UNREADABLE_NAME
from .records import AnyRecord, parse_key, read_record
from .topics import RECORDS, Topic

V = TypeVar("V")
Headers: TypeAlias = list[tuple[str, bytes]]
KafkaRecord: TypeAlias = "ConsumerRecord[bytes, bytes]"

ENVELOPE_HEADERS = (
    "ce_specversion",
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_time",
    "ce_version",
    "ce_epoch",
    "ce_sequence",
    "ce_resent",
    "content-type",
)
"""The headers of our own messages. They hold ids, times and numbers, never text that people wrote."""
RESENT = ("ce_resent", b"true")


# -- sending --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to send.

    Attributes:
        value: None sends a tombstone.
        version: a monotonic version of the thing; a message that has none carries the time of sending.
        epoch, sequence: set only on `matches`.
        resent: it repeats an earlier message, which the topic may have lost.
    """

    topic: Topic[Any, Any]
    key: MessageKey
    value: Event | None
    version: int
    epoch: int | None = None
    sequence: int | None = None
    resent: bool = False

    def encode(self, source: str, now: datetime) -> tuple[bytes, bytes | None, Headers]:
        """Kafka's key, value and headers."""
        key = self.topic.encode_key(self.key)
        ce_type = self.value.ce_type if self.value else self.topic.tombstone_type
        ce_id = f"{key.decode()}@{self.version}"
        if self.epoch is not None:
            ce_id = f"{ce_id}/{self.epoch}.{self.sequence}"
        headers: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", ce_id.encode()),
            ("ce_type", ce_type.encode()),
            ("ce_source", source.encode()),
            ("ce_time", _encode_time(now)),
            ("ce_version", str(self.version).encode()),
            ("content-type", b"application/json"),
        ]
        if self.epoch is not None:
            headers += [
                ("ce_epoch", str(self.epoch).encode()),
                ("ce_sequence", str(self.sequence).encode()),
            ]
        if self.resent:
            headers.append(RESENT)
        return key, None if self.value is None else self.value.model_dump_json().encode(), headers


@lru_cache(maxsize=16)
def _encode_time(now: datetime) -> bytes:
    """Cached: all messages of one call to `send` have the same time."""
    return now.astimezone(UTC).isoformat().encode()


# -- receiving ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessagePosition:
    """Partition and offset of a message."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Envelope(Generic[K]):
    """What every readable message has.

    Attributes:
        version: of an upstream record: when it was published.
        epoch, sequence: 0 except on `matches`.
        record: Kafka's record with the original bytes.
    """

    topic: Topic[K, Any]
    position: MessagePosition
    key: K
    version: int
    epoch: int
    sequence: int
    record: KafkaRecord

    @property
    def is_resent(self) -> bool:
        """True when it repeats an earlier message, which the topic may have lost."""
        return RESENT in self.record.headers


@dataclass(frozen=True, slots=True)
class ValueMessage(_Envelope[K], Generic[K, V]):
    """A message with a valid value."""

    value: V


@dataclass(frozen=True, slots=True)
class TombstoneMessage(_Envelope[K]):
    """A message without a value: the thing of this key is gone."""


@dataclass(frozen=True, slots=True)
class InvalidMessage(Generic[K]):
    """A message that cannot be read. It becomes a dead letter.

    Attributes:
        key: None when the key itself is invalid, or the tenant may not appear in the topic.
        version, epoch, sequence: 0 when the headers cannot be read.
        error: what is wrong.
    """

    topic: Topic[K, Any]
    position: MessagePosition
    key: K | None
    version: int
    epoch: int
    sequence: int
    record: KafkaRecord
    error: InvalidMessageError


ValidMessage: TypeAlias = ValueMessage[K, V] | TombstoneMessage[K]
ReceivedMessage: TypeAlias = ValueMessage[K, V] | TombstoneMessage[K] | InvalidMessage[K]
MessageDecoder: TypeAlias = Callable[[KafkaRecord], ReceivedMessage[K, V]]
"""Decodes one Kafka record and never raises.

A consumer may pass a decoder of its own with a narrower value type than the topic's model.
"""


def message_decoder(topic: Topic[K, V]) -> MessageDecoder[K, V]:
    """The decoder of a topic that our services write."""
    return lambda record: decode(topic, record)


def record_decoder(tenants: Sequence[str]) -> MessageDecoder[RecordKey, AnyRecord]:
    """The decoder of a topic of record events.

    Args:
        tenants: the tenants that may appear in this topic; `*` means all.
    """
    return lambda record: decode_record(tenants, record)


def decode(topic: Topic[K, V], record: KafkaRecord) -> ReceivedMessage[K, V]:
    """Decodes a message of our own by its envelope; an invalid one becomes an InvalidMessage."""
    position = MessagePosition(record.topic, record.partition, record.offset)
    key: K | None = None
    version = epoch = sequence = 0
    try:
        key = topic.decode_key(record.key)
        headers = _read_headers(record)
        version, epoch, sequence = (
            _read_number(headers, name) for name in ("ce_version", "ce_epoch", "ce_sequence")
        )
        value = None if record.value is None else topic.decode_value(headers.get("ce_type"), record.value)
        if value is not None:
            _check_key(key, value, topic.key_fields_of(value))
        if headers.get("ce_version") is None:
            raise InvalidMessageError("the header is missing", "ce_version")
        if value is None:
            return TombstoneMessage(topic, position, key, version, epoch, sequence, record)
        return ValueMessage(topic, position, key, version, epoch, sequence, record, value)
    except ValidationError as invalid:
        error = invalid_message_error(invalid)
    except InvalidMessageError as invalid:
        error = invalid
    return InvalidMessage(topic, position, key, version, epoch, sequence, record, error)


def decode_record(tenants: Sequence[str], record: KafkaRecord) -> ReceivedMessage[RecordKey, AnyRecord]:
    """Decodes a message of an upstream system; an invalid one becomes an InvalidMessage."""
    position = MessagePosition(record.topic, record.partition, record.offset)
    version = min(max(0, record.timestamp * 1000), MAX_VERSION)
    key: RecordKey | None = None
    try:
        parsed = parse_key(record.key)
        if "*" not in tenants and parsed.tenant not in tenants:
            # The message gets no key: the writer of this topic must not replace a record of another tenant.
            raise InvalidMessageError("this tenant may not appear in this topic", "key")
        key = parsed
        _read_headers(record)
        if record.value is None:
            return TombstoneMessage(RECORDS, position, key, version, 0, 0, record)
        value = read_record(record.value)
        _check_key(key, value, RECORD_KEY_FIELDS)
        return ValueMessage(RECORDS, position, key, version, 0, 0, record, value)
    except InvalidMessageError as error:
        return InvalidMessage(RECORDS, position, key, version, 0, 0, record, error)


RECORD_KEY_FIELDS = {"tenant": "tenant", "type": "type", "id": "id"}


def _check_key(key: MessageKey, value: object, key_fields: Mapping[str, str]) -> None:
    """Compares the parts of the key with the fields of the value that repeat them."""
    for part, path in key_fields.items():
        found = value
        for name in path.split("."):
            found = getattr(found, name) if isinstance(found, BaseModel) else None
        if found is not None and found != getattr(key, part):
            raise InvalidMessageError("key and body do not agree", path)


def _read_headers(record: KafkaRecord) -> Mapping[str, bytes | None]:
    """Name -> value; the last of two headers with one name counts."""
    headers = dict(record.headers)
    if UNREADABLE_NAME in headers:
        raise InvalidMessageError("the name of a header is not UTF-8", "headers")
    return headers


def _read_number(headers: Mapping[str, bytes | None], name: str) -> int:
    text = headers.get(name)
    if text is None:
        return 0
    if not text.isdigit() or len(text) > len(str(MAX_VERSION)) or int(text) > MAX_VERSION:
        raise InvalidMessageError(f"not a number up to {MAX_VERSION}", name)
    return int(text)

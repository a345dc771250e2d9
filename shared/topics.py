"""All topics: key, messages, the one writer, readers, retention.

`python -m shared.provision create` creates them. A service refuses to start on a topic whose settings
would lose data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from .clock import to_milliseconds
from .errors import InvalidMessageError
from .events import (
    Activity,
    ActivityMatched,
    ActivityTracked,
    ActivityUntracked,
    ContentAnswered,
    ContentUpdated,
    Event,
    FetchContent,
    FollowItems,
    ItemNotified,
    LifecycleNotified,
    MailboxChanged,
)
from .keys import ItemKey, K, MailboxKey, RecordKey, TrackedActivityKey, join_key, split_key
from .records import AnyRecord

V = TypeVar("V")

MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's default for a topic (`max.message.bytes`); a record with its headers must fit."""
MAX_ACTIVITY_BYTES = 320 * 1024
"""Of an activity's JSON, so that a message on `matches` has place for its matches."""
MAX_MATCHES_BYTES = 512 * 1024
"""Of a value on `matches`: half of what the topic accepts with headers."""
MAX_DEAD_LETTER_BYTES = 2 * MAX_MESSAGE_BYTES
"""The largest original message plus the headers that describe the error."""

TOMBSTONE_RETENTION = timedelta(days=14)
"""A reader that was away for a shorter time misses no deletion of a compacted topic."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a topic keeps its messages.

    Attributes:
        time: age at which messages are deleted; None for a compacted topic, which keeps the last message
            of each key.
        compacted_within: a compacted topic removes replaced and deleted messages from its log after
            about this time.
    """

    time: timedelta | None = None
    compacted_within: timedelta = timedelta(days=7)

    @property
    def compacted(self) -> bool:
        return self.time is None

    def configs(self) -> dict[str, str]:
        """The topic's settings in Kafka."""
        if self.time is None:
            return {
                "cleanup.policy": "compact",
                "delete.retention.ms": _as_config(TOMBSTONE_RETENTION),
                "segment.ms": _as_config(min(self.compacted_within, timedelta(days=1))),
                "max.compaction.lag.ms": _as_config(self.compacted_within),
            }
        return {
            "cleanup.policy": "delete",
            "retention.ms": _as_config(self.time),
            "retention.bytes": "-1",
            "segment.ms": _as_config(self.time / 24),
        }


def _as_config(time: timedelta) -> str:
    return str(to_milliseconds(time))


@dataclass(frozen=True, slots=True)
class Topic(Generic[K, V]):
    """A topic with its key type, its value types and exactly one writer.

    Attributes:
        key_type: a message's key is the parts of this named tuple, joined by `/`.
        value_types: the events on the topic; empty for `records`, whose messages have no envelope.
        max_value_bytes: a longer value is invalid; compressed, Kafka accepts any. None: of any length.
        copied_to_dead_letters: False: a dead letter of this topic has the key and our own headers, but not
            the value.
    """

    name: str
    key_type: type[K]
    value_types: tuple[type[V], ...]
    writer: str
    readers: tuple[str, ...]
    retention: Retention
    max_value_bytes: int | None = MAX_MESSAGE_BYTES
    copied_to_dead_letters: bool = True
    _type_by_name: dict[str, type[Any]] = field(init=False, compare=False, hash=False, repr=False)

    def __post_init__(self) -> None:
        events: tuple[type[Any], ...] = self.value_types
        object.__setattr__(self, "_type_by_name", {event.ce_type: event for event in events})

    @property
    def dead_letters(self) -> str:
        """Name of the topic that holds the messages which a reader of this one could not process."""
        return f"{self.name}-dead-letters"

    @property
    def dead_letter_retention(self) -> Retention:
        """14 days, but never longer than the topic's own retention."""
        return Retention(min(timedelta(days=14), self.retention.time or timedelta.max))

    @property
    def type_names(self) -> frozenset[str]:
        """The CloudEvents types on the topic."""
        return frozenset({*self._type_by_name, self.tombstone_type})

    @property
    def tombstone_type(self) -> str:
        """The CloudEvents type of a tombstone."""
        return f"{next(iter(self._type_by_name))}.gone"

    def encode_key(self, key: K) -> bytes:
        """The message key; raises ValueError for a key that `decode_key` would not restore."""
        if not isinstance(key, self.key_type) or not all(key) or any("/" in part for part in key[:-1]):
            raise ValueError(f"a key of {self.name} is {'/'.join(self.key_type._fields)}")
        return join_key(key).encode()

    def decode_key(self, key: bytes | None) -> K:
        """The key of a message; raises InvalidMessageError."""
        try:
            return split_key(self.key_type, (key or b"").decode())
        except ValueError:  # also bytes that are not UTF-8
            raise InvalidMessageError(f"the key is not {'/'.join(self.key_type._fields)}", "key") from None

    def decode_value(self, ce_type: bytes | None, value: bytes) -> V:
        """The value of a message; raises InvalidMessageError or pydantic's ValidationError."""
        if self.max_value_bytes and len(value) > self.max_value_bytes:
            raise InvalidMessageError(f"the value is longer than {self.max_value_bytes} bytes")
        event = self._type_by_name.get((ce_type or b"").decode(errors="replace"))
        if event is None:
            raise InvalidMessageError("this topic has no such message", "ce_type")
        decoded: V = event.model_validate_json(value)
        return decoded

    def key_fields_of(self, value: V) -> Mapping[str, str]:
        """Part of the key -> path of the field in `value` that repeats it."""
        return value.key_fields if isinstance(value, Event) else {}


MAIL_INGEST, MATCHER, TRACKING = "mail-ingest", "matcher", "tracking"
UPSTREAM, ANYONE = "upstream systems", "anyone"
DAY = timedelta(days=1)
PRIVATE_RETENTION = Retention(compacted_within=DAY)

GRAPH_NOTIFICATIONS: Topic[MailboxKey, ItemNotified | LifecycleNotified] = Topic(
    "graph-notifications",
    MailboxKey,
    (ItemNotified, LifecycleNotified),
    MAIL_INGEST,
    (MAIL_INGEST,),
    Retention(7 * DAY),
)
MAILBOXES: Topic[MailboxKey, MailboxChanged] = Topic(
    "mailboxes", MailboxKey, (MailboxChanged,), MAIL_INGEST, (TRACKING, MAIL_INGEST), Retention()
)
ACTIVITIES: Topic[ItemKey, Activity] = Topic(
    "activities",
    ItemKey,
    (Activity,),
    MAIL_INGEST,
    (MATCHER, MAIL_INGEST),
    PRIVATE_RETENTION,
    max_value_bytes=MAX_ACTIVITY_BYTES,
)
RECORDS: Topic[RecordKey, AnyRecord] = Topic(
    "records", RecordKey, (), UPSTREAM, (MATCHER, TRACKING), Retention(), max_value_bytes=None
)
MATCHES: Topic[ItemKey, ActivityMatched] = Topic(
    "matches",
    ItemKey,
    (ActivityMatched,),
    MATCHER,
    (TRACKING, MATCHER),
    PRIVATE_RETENTION,
    max_value_bytes=MAX_MATCHES_BYTES,
)
CONTENT_REQUESTS: Topic[MailboxKey, FetchContent | FollowItems] = Topic(
    "content-requests", MailboxKey, (FetchContent, FollowItems), TRACKING, (MAIL_INGEST,), Retention(DAY)
)
CONTENT: Topic[MailboxKey, ContentAnswered | ContentUpdated] = Topic(
    "content",
    MailboxKey,
    (ContentAnswered, ContentUpdated),
    MAIL_INGEST,
    (TRACKING,),
    Retention(DAY),
    copied_to_dead_letters=False,
)
TRACKED_ACTIVITIES: Topic[TrackedActivityKey, ActivityTracked | ActivityUntracked] = Topic(
    "tracked-activities",
    TrackedActivityKey,
    (ActivityTracked, ActivityUntracked),
    TRACKING,
    (ANYONE, TRACKING),
    Retention(),
)

TOPICS: tuple[Topic[Any, Any], ...] = (
    GRAPH_NOTIFICATIONS,
    MAILBOXES,
    ACTIVITIES,
    RECORDS,
    MATCHES,
    CONTENT_REQUESTS,
    CONTENT,
    TRACKED_ACTIVITIES,
)

"""Every topic: its key, its messages, its one writer, its readers, how long it is kept.

`python -m shared.provision create` makes them so; a service refuses to start on a topic that is
kept in a way that would lose data.
"""

from dataclasses import dataclass, field
from datetime import timedelta

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
    ItemHinted,
    LifecycleNotified,
    MailboxChanged,
)

MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's own default for a topic (`max.message.bytes`); one record with its headers must fit."""
MAX_DEAD_LETTER_BYTES = 2 * MAX_MESSAGE_BYTES
"""The original at its largest, and the headers that say why."""

TOMBSTONES_KEPT = timedelta(days=14)
"""Whoever was away for less than this knows all of a table by reading on."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How long a topic keeps its messages."""

    time: timedelta | None = None
    """Messages go after this; None: compacted, the last message of each key stays."""
    gone_within: timedelta = timedelta(days=7)
    """Compacted: what was replaced or deleted is out of the log after about this long."""

    @property
    def compacted(self) -> bool:
        return self.time is None

    def configs(self) -> dict[str, str]:
        """The topic settings that make it so."""
        if self.time is None:
            return {
                "cleanup.policy": "compact",
                "delete.retention.ms": _ms(TOMBSTONES_KEPT),
                "segment.ms": _ms(min(self.gone_within, timedelta(days=1))),
                "max.compaction.lag.ms": _ms(self.gone_within),
            }
        return {
            "cleanup.policy": "delete",
            "retention.ms": _ms(self.time),
            "retention.bytes": "-1",
            "segment.ms": _ms(self.time / 24),
        }


def _ms(time: timedelta) -> str:
    return str(time // timedelta(milliseconds=1))


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, with exactly one writer."""

    name: str
    key: tuple[str, ...]
    """What the key's parts are; they are joined by `/`, and only the last may hold one."""
    messages: tuple[type[Event], ...]
    """Empty: `records`, whose messages are not ours and have no envelope."""
    writer: str
    readers: tuple[str, ...]
    kept: Kept
    copied_to_dead_letters: bool = True
    """False: a dead letter of this topic holds no bytes, only where it was and why."""
    model_of: dict[str, type[Event]] = field(init=False, compare=False, hash=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "model_of", {model.ce_type: model for model in self.messages})

    @property
    def dead_letters(self) -> str:
        """Name of the topic for what a reader of this one refused."""
        return f"{self.name}-dead-letters"

    @property
    def dead_letters_kept(self) -> Kept:
        """14 days, and never longer than the topic keeps it itself."""
        return Kept(min(timedelta(days=14), self.kept.time or timedelta.max))

    def join(self, *parts: str) -> bytes:
        """The message key of these parts; raises ValueError where `split` would not give them back."""
        if len(parts) != len(self.key) or not all(parts) or any("/" in part for part in parts[:-1]):
            raise ValueError(f"a key of {self.name} is {'/'.join(self.key)}")
        return "/".join(parts).encode()

    def split(self, key: bytes) -> tuple[str, ...]:
        """The parts of a message key; raises ValueError where it is none of this topic."""
        parts = tuple(key.decode().split("/", len(self.key) - 1))
        if len(parts) != len(self.key) or not all(parts):
            raise ValueError(f"the key is not {'/'.join(self.key)}")
        return parts


MAIL_INGEST, MATCHER, TRACKING, UPSTREAM, ANYONE = (
    "mail-ingest",
    "matcher",
    "tracking",
    "upstream systems",
    "anyone",
)
DAY = timedelta(days=1)
PRIVATE_TABLE = Kept(gone_within=DAY)

GRAPH_NOTIFICATIONS = Topic(
    "graph-notifications",
    ("tenant", "mailbox"),
    (ItemHinted, LifecycleNotified),
    MAIL_INGEST,
    (MAIL_INGEST,),
    Kept(7 * DAY),
)
MAILBOXES = Topic("mailboxes", ("tenant", "mailbox"), (MailboxChanged,), MAIL_INGEST, (TRACKING,), Kept())
ACTIVITIES = Topic(
    "activities", ("tenant", "mailbox", "item"), (Activity,), MAIL_INGEST, (MATCHER,), PRIVATE_TABLE
)
RECORDS = Topic("records", ("tenant", "type", "id"), (), UPSTREAM, (MATCHER, TRACKING), Kept())
MATCHES = Topic(
    "matches", ("tenant", "mailbox", "item"), (ActivityMatched,), MATCHER, (TRACKING, MATCHER), PRIVATE_TABLE
)
CONTENT_REQUESTS = Topic(
    "content-requests",
    ("tenant", "mailbox"),
    (FetchContent, FollowItems),
    TRACKING,
    (MAIL_INGEST,),
    Kept(DAY),
)
CONTENT = Topic(
    "content",
    ("tenant", "mailbox"),
    (ContentAnswered, ContentUpdated),
    MAIL_INGEST,
    (TRACKING,),
    Kept(DAY),
    copied_to_dead_letters=False,
)
TRACKED_ACTIVITIES = Topic(
    "tracked-activities",
    ("tenant", "activity"),
    (ActivityTracked, ActivityUntracked),
    TRACKING,
    (ANYONE,),
    Kept(),
)

TOPICS = (
    GRAPH_NOTIFICATIONS,
    MAILBOXES,
    ACTIVITIES,
    RECORDS,
    MATCHES,
    CONTENT_REQUESTS,
    CONTENT,
    TRACKED_ACTIVITIES,
)

"""The log of all that the services published: every message, before any compaction."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from scenarios.chaos.timelines import ItemId
from scenarios.chaos.topic_log import TopicLog
from shared.events import ActivityMatched, ActivityTracked, ActivityUntracked
from shared.messages import InvalidMessage, KafkaRecord, ValueMessage, decode
from shared.topics import ACTIVITIES, MAILBOXES, MATCHES, TRACKED_ACTIVITIES, Topic

READ_TOPICS: tuple[Topic[Any, Any], ...] = (ACTIVITIES, MAILBOXES, MATCHES, TRACKED_ACTIVITIES)

TrackedEvent: TypeAlias = ActivityTracked | ActivityUntracked


@dataclass(frozen=True, slots=True)
class PublishedMatches:
    """A message on `matches`.

    Attributes:
        at: when its producer sent it.
        matched: None: a tombstone.
        counts: False: every reader ignores it, because a greater epoch or sequence was published before it.
    """

    at: datetime
    epoch: int
    sequence: int
    matched: ActivityMatched | None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class PublishedTracked:
    """A message on `tracked-activities`; `counts` and `at` as in `PublishedMatches`.

    Attributes:
        event: None: a tombstone.
    """

    at: datetime
    version: int
    event: TrackedEvent | None
    counts: bool = True


@dataclass
class SystemLog:
    """What was published on `activities`, `mailboxes`, `matches` and `tracked-activities`, in its order.

    Attributes:
        repeated: pairs of (epoch, sequence) under which two different messages were published.
    """

    capture: TopicLog = field(default_factory=TopicLog)
    matches: defaultdict[ItemId, list[PublishedMatches]] = field(default_factory=lambda: defaultdict(list))
    tracked: defaultdict[str, list[PublishedTracked]] = field(default_factory=lambda: defaultdict(list))
    invalid: list[str] = field(default_factory=list)
    repeated: list[tuple[datetime, str]] = field(default_factory=list)
    _epochs: dict[int, int] = field(default_factory=dict)
    _numbers: dict[tuple[int, int, int], tuple[bytes | None, bytes | None]] = field(default_factory=dict)

    def add(self, record: KafkaRecord) -> None:
        """Add a message of any of the topics."""
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        if record.topic.endswith(TRACKED_ACTIVITIES.name):
            self._add_tracked(record, at)
        elif record.topic.endswith(MATCHES.name):
            self._add_matches(record, at)
        else:
            self.capture.add(record)

    def _add_matches(self, record: KafkaRecord, at: datetime) -> None:
        message = decode(MATCHES, record)
        if isinstance(message, InvalidMessage):
            self.invalid.append(f"{message.position}: {message.error.reason}")
            return
        value = message.value if isinstance(message, ValueMessage) else None
        pair = message.epoch, message.sequence
        content = record.key, record.value
        if self._numbers.setdefault((record.partition, *pair), content) != content:
            self.repeated.append((at, f"partition {record.partition}, epoch and sequence {pair}"))
        published = self.matches[message.key.mailbox, message.key.item]
        greatest = self._epochs.get(record.partition, 0)
        last = next(((each.epoch, each.sequence) for each in reversed(published) if each.counts), (0, 0))
        counts = message.epoch >= greatest and pair >= last
        self._epochs[record.partition] = max(greatest, message.epoch)
        published.append(PublishedMatches(at, *pair, value, counts))

    def _add_tracked(self, record: KafkaRecord, at: datetime) -> None:
        message = decode(TRACKED_ACTIVITIES, record)
        if isinstance(message, InvalidMessage):
            self.invalid.append(f"{message.position}: {message.error.reason}")
            return
        event = message.value if isinstance(message, ValueMessage) else None
        published = self.tracked[message.key.activity]
        last = max((each.version for each in published), default=0)
        published.append(PublishedTracked(at, message.version, event, message.version >= last))

"""Reads topics along from their start: every message, before any compaction."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from deploy.local.processes import LocalError
from shared.aiokafka_patches import patch_aiokafka
from shared.connection import time_options
from shared.events import Activity, MailboxChanged
from shared.messages import InvalidMessage, KafkaRecord, ValueMessage, decode
from shared.topics import ACTIVITIES, MAILBOXES, Topic

from .timelines import ItemId

CATCH_UP_TIMEOUT = 60.0
"""Seconds until everything is read that is on the topics."""


@dataclass(frozen=True, slots=True)
class Published:
    """A message on `activities`.

    Attributes:
        at: when its producer sent it.
        version: microseconds since 1970 at which its writer recorded this state.
        activity: None: a tombstone.
    """

    at: datetime
    version: int
    activity: Activity | None


@dataclass(frozen=True, slots=True)
class Reading:
    """A complete reading of a mailbox's window.

    Attributes:
        began: when it began; it shows at least what there was then.
        announced: when it was announced on `mailboxes`, after all that it found was published.
        missed: changes that it found and no notification had named.
    """

    began: datetime
    announced: datetime
    missed: int


class Log(Protocol):
    """Keeps what was published."""

    def add(self, record: KafkaRecord) -> None:
        """Add a message of any of the topics."""


L = TypeVar("L", bound=Log)


@dataclass
class TopicLog:
    """What was published on `activities` and `mailboxes`, in its order."""

    items: defaultdict[ItemId, list[Published]] = field(default_factory=lambda: defaultdict(list))
    readings: defaultdict[str, list[Reading]] = field(default_factory=lambda: defaultdict(list))
    """Mailbox -> its complete readings."""
    statuses: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Mailbox -> the reasons for which it was ever blocked, or without notifications."""
    invalid: list[str] = field(default_factory=list)
    """Messages that cannot be read."""
    count: int = 0

    def add(self, record: KafkaRecord) -> None:
        """Add a message of either topic."""
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        if record.topic.endswith(ACTIVITIES.name):
            self._add_activity(record, at)
        else:
            self._add_state(record, at)

    def count_read(self, mailboxes: Iterable[str], since: datetime, count: int) -> int:
        """Count the mailboxes of which so many complete readings have begun after a time."""
        return sum(
            sum(each.began >= since for each in self.readings[mailbox]) >= count for mailbox in mailboxes
        )

    def _add_activity(self, record: KafkaRecord, at: datetime) -> None:
        self.count += 1
        message = decode(ACTIVITIES, record)
        if isinstance(message, InvalidMessage):
            self.invalid.append(f"{message.position}: {message.error.reason}")
            return
        activity = message.value if isinstance(message, ValueMessage) else None
        key = message.key
        self.items[key.mailbox, key.item].append(Published(at, message.version, activity))

    def _add_state(self, record: KafkaRecord, at: datetime) -> None:
        message = decode(MAILBOXES, record)
        if isinstance(message, InvalidMessage):
            self.invalid.append(f"{message.position}: {message.error.reason}")
            return
        state = message.value if isinstance(message, ValueMessage) else None
        if not isinstance(state, MailboxChanged):
            return
        mailbox = message.key.mailbox
        self.statuses[mailbox] |= {reason for reason in (state.reason, state.no_notifications) if reason}
        known = self.readings[mailbox]
        if state.complete_as_of and (not known or known[-1].began != state.complete_as_of):
            known.append(Reading(state.complete_as_of, at, state.missed_by_notifications or 0))


class TopicReader(Generic[L]):
    """Reads the topics of a system into a log."""

    def __init__(self, consumer: "AIOKafkaConsumer", partitions: list[TopicPartition], log: L) -> None:
        self.log = log
        self._consumer = consumer
        self._partitions = partitions

    async def read(self) -> None:
        """Read until the task is cancelled."""
        while True:
            with contextlib.suppress(KafkaError):  # a fault may have closed Kafka's connections
                for records in (await self._consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        self.log.add(record)

    async def catch_up(self) -> None:
        """Wait until everything is read that is on the topics now."""
        deadline = time.monotonic() + CATCH_UP_TIMEOUT
        ends = await self._consumer.end_offsets(self._partitions)
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            if time.monotonic() > deadline:
                raise LocalError("the topics were not read to their ends")
            await asyncio.sleep(0.05)


@asynccontextmanager
async def reading_topics(
    bootstrap: str, prefix: str, topics: Sequence[Topic[Any, Any]], partitions: int, log: L
) -> AsyncIterator[TopicReader[L]]:
    """Read topics into a log while the context is open."""
    patch_aiokafka()  # a reader that a fault stops for a minute shows nothing
    consumer: Any = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **time_options(),
    )
    assigned = [
        TopicPartition(f"{prefix}{topic.name}", number) for topic in topics for number in range(partitions)
    ]
    await consumer.start()
    try:
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        reader = TopicReader(consumer, assigned, log)
        task = asyncio.create_task(reader.read())
        try:
            yield reader
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    finally:
        await consumer.stop()

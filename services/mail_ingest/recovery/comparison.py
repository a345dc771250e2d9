"""Compares the database with the topics, from where it last agreed with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from services.mail_ingest.store.database import Store
from services.mail_ingest.store.marks import TopicMark
from shared.broker import KafkaClient, TableChunk, TopicConsumer, TopicPartition
from shared.clock import Clock
from shared.events import MailboxChanged
from shared.keys import K, MailboxKey
from shared.messages import InvalidMessage, ValidMessage, ValueMessage
from shared.topics import ACTIVITIES, MAILBOXES, Topic

from .late_messages import MessageState, PublishedStates, is_newer

V = TypeVar("V")


class LossSign(StrEnum):
    """What proves that the database was lost, or is an older copy."""

    DATABASE_EMPTY = "database_empty"  # and the topics are not
    MESSAGE_NEWER = "message_newer"  # than its document
    MESSAGES_GONE = "messages_gone"  # published since the copy, and compacted away since
    COMMIT_AHEAD = "commit_ahead"  # of what the database has recorded of a topic that it reads
    DATABASE_REPLACED = "database_replaced"  # beneath a running service: the marks have become smaller


@dataclass(slots=True)
class Comparison:
    """What a comparison has found.

    Attributes:
        sign: why the database must be recovered; None: it is as new as the topics.
        made_anew: topics that were lost and created again since the database last agreed with them.
        unmarked: topics without a mark of their present id.
        marks: the marks that hold when all is done; those of marked topics as they are stored.
    """

    sign: LossSign | None = None
    made_anew: set[str] = field(default_factory=set)
    unmarked: set[str] = field(default_factory=set)
    marks: dict[str, TopicMark] = field(default_factory=dict)


class StoreComparison:
    """Compares the documents of this service with the topics that it writes and reads.

    Args:
        consumers: those of this service's groups.

    Attributes:
        written: the topics that this service writes, by their full names.
        states: the documents behind each of them.
        names: the full names of these, and of the topics that it reads in a group.
    """

    def __init__(
        self, store: Store, kafka: KafkaClient, consumers: Sequence[TopicConsumer[Any, Any]], clock: Clock
    ) -> None:
        self._store = store
        self._kafka = kafka
        self._consumers = consumers
        self._clock = clock
        self.written = {kafka.full_name(topic): topic for topic in (MAILBOXES, ACTIVITIES)}
        self.states: dict[str, PublishedStates] = dict(
            zip(self.written, (store.mailbox_states, store.item_states), strict=True)
        )
        self.names = [*self.written, *(kafka.full_name(consumer.topic) for consumer in consumers)]

    async def compare(self, known: Mapping[str, TopicMark]) -> Comparison:
        """Compares what the marks do not cover; the first proof ends the comparison of its topic.

        Args:
            known: the marks that the database had when this process used it last; empty at its start.

        Raises:
            RetryableError: Kafka or MongoDB is unavailable.
        """
        ids = await self._kafka.topic_ids(self.names)
        # Before the marks: a replica that is at work advances them before it commits.
        commits = {
            self._kafka.full_name(consumer.topic): await self._commits(consumer)
            for consumer in self._consumers
        }
        marks = await self._store.marks.find_all()
        compared = Comparison()
        for name in self.names:
            mark, topic_id = marks.get(name), ids[name]
            if mark is None or mark.topic_id != topic_id:
                compared.unmarked.add(name)
                if mark is not None:
                    compared.made_anew.add(name)
                mark = TopicMark(topic_id)
            compared.marks[name] = mark
        for name, topic in self.written.items():
            sign = await self._compare_table(name, topic, compared)
            compared.sign = compared.sign or sign
        for name, offsets in commits.items():
            sign = self._compare_commits(name, offsets, compared)  # also joins the marks
            compared.sign = compared.sign or sign
        if not all(_has_kept(marks.get(name), mark) for name, mark in known.items()):
            compared.sign = compared.sign or LossSign.DATABASE_REPLACED
        if compared.sign and await self._store.mailboxes.is_empty():
            compared.sign = LossSign.DATABASE_EMPTY
        return compared

    async def _compare_table(
        self, name: str, topic: Topic[Any, Any], compared: Comparison
    ) -> LossSign | None:
        mark = compared.marks[name]
        partitions = await self._kafka.partitions(topic)
        ends = await self._kafka.end_offsets(partitions)
        if any(mark.offsets.get(tp.partition, 0) > end for tp, end in ends.items()):
            compared.made_anew.add(name)
            compared.unmarked.add(name)
            mark = compared.marks[name] = TopicMark(mark.topic_id)
        start = {tp: mark.offsets.get(tp.partition, 0) for tp in partitions}
        last_seen: dict[TopicPartition, int] = {}
        if any(start[tp] < ends[tp] for tp in partitions):
            async for chunk in self._kafka.read_table(topic, start=start):
                if await self._has_newer(name, chunk):
                    return LossSign.MESSAGE_NEWER
                for message in chunk.messages:
                    position = message.position
                    last_seen[TopicPartition(position.topic, position.partition)] = position.offset
                ends = chunk.positions
        if name in compared.unmarked:
            compared.marks[name] = mark.joined({tp.partition: end for tp, end in ends.items()})
        # The last message of a partition stays, unless it is a tombstone whose time is over.
        lacks_last = (end > start[tp] and last_seen.get(tp, -1) < end - 1 for tp, end in ends.items())
        if mark.offsets and any(lacks_last):
            return LossSign.MESSAGES_GONE
        return None

    async def _has_newer(self, name: str, chunk: TableChunk[Any, Any]) -> bool:
        latest = latest_messages(chunk)
        documents = await self.states[name].find(latest)
        now = self._clock()
        return any(
            is_newer(MessageState.of(message), documents.get(message.key), now)
            for message in (*latest.values(), *latest_statuses(chunk).values())
        )

    async def _commits(self, consumer: TopicConsumer[Any, Any]) -> dict[int, int]:
        partitions = await self._kafka.partitions(consumer.topic)
        committed = await self._kafka.committed_offsets(consumer.group, partitions)
        return {tp.partition: offset for tp, offset in committed.items()}

    def _compare_commits(
        self, name: str, commits: Mapping[int, int], compared: Comparison
    ) -> LossSign | None:
        mark = compared.marks[name]
        if all(offset <= mark.offsets.get(number, 0) for number, offset in commits.items()):
            return None
        compared.marks[name] = mark.joined(commits)
        return None if name in compared.unmarked else LossSign.COMMIT_AHEAD


def latest_messages(chunk: TableChunk[K, V]) -> dict[K, ValidMessage[K, V]]:
    """The message of each key that counts: the one with the greatest version."""
    latest: dict[K, ValidMessage[K, V]] = {}
    for message in chunk.messages:
        if isinstance(message, InvalidMessage):
            continue
        if (before := latest.get(message.key)) is None or message.version >= before.version:
            latest[message.key] = message
    return latest


MailboxMessage: TypeAlias = ValueMessage[MailboxKey, MailboxChanged]


def latest_statuses(chunk: TableChunk[Any, Any]) -> dict[MailboxKey, MailboxMessage]:
    """The message of each mailbox whose status is the latest one, by `since`; empty for items.

    It is not that of the greatest version where an older copy of the database was worked on: what is
    published from that has greater versions, and the statuses of long ago.
    """
    latest: dict[MailboxKey, MailboxMessage] = {}
    for message in chunk.messages:
        if not isinstance(message, ValueMessage) or not isinstance(message.value, MailboxChanged):
            continue
        before = latest.get(message.key)
        if before is None or _status_order(message) >= _status_order(before):
            latest[message.key] = message
    return latest


def _status_order(message: MailboxMessage) -> tuple[datetime, int]:
    return message.value.since, message.version


def _has_kept(stored: TopicMark | None, known: TopicMark) -> bool:
    """Whether the database still has a mark, a greater one, or that of a topic that was made anew since."""
    return stored is not None and (stored.topic_id != known.topic_id or stored.covers(known))

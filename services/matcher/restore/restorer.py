"""Restores the partitions that the group assigns to this replica."""

import contextlib
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

from services.matcher.domain.live_activities import LiveActivities
from services.matcher.domain.matching import Matcher
from services.matcher.metrics import PARTITION_EPOCH, PARTITION_RESTORES_SKIPPED, PARTITIONS_RESTORED
from services.matcher.publishing.partitions import OwnedPartitions, RestoredPartition
from services.matcher.publishing.publisher import MatchPublisher
from services.matcher.records.loader import DirectoryLoader
from shared.broker import KafkaClient, TopicConsumer, TopicPartition
from shared.clock import next_version
from shared.events import Activity
from shared.keys import ItemKey
from shared.messages import InvalidMessage, ReceivedMessage, TombstoneMessage, ValueMessage
from shared.topics import ACTIVITIES, MATCHES

log = logging.getLogger(__name__)


class PartitionRestorer:
    """Restores partitions at each assignment.

    Args:
        consumer: the consumer of `activities`.
        loader: a restore waits until it has caught up.
        read_tables: False restores nothing but the group's commit; only for tests that count deliveries.

    Attributes:
        restoring: number of partitions that are being restored.
    """

    def __init__(
        self,
        kafka: KafkaClient,
        consumer: TopicConsumer[ItemKey, Activity],
        matcher: Matcher,
        loader: DirectoryLoader,
        owned: OwnedPartitions,
        publisher: MatchPublisher,
        *,
        read_tables: bool = True,
    ) -> None:
        self.restoring = 0
        self._kafka = kafka
        self._consumer = consumer
        self._matcher = matcher
        self._loader = loader
        self._owned = owned
        self._publisher = publisher
        self._read_tables = read_tables

    async def restore(self, assigned: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Restores the assigned partitions, publishes the differences, and releases all other partitions.

        A partition that this replica owned before, and in which nobody else has written since, is kept
        without reading its tables.

        Returns:
            The offset of `activities` from which each partition is read on.

        Raises:
            RetryableError: Kafka does not answer, or a partition was assigned to another replica meanwhile.
        """
        numbers = sorted(tp.partition for tp in assigned)
        self.restoring = len(numbers)
        try:
            await self._loader.caught_up.wait()
            by_number = self._owned.by_number
            async with contextlib.AsyncExitStack() as locks:
                for number in sorted({*numbers, *by_number}):
                    await locks.enter_async_context(self._owned.locks[number])
                for lost in by_number.keys() - set(numbers):
                    del by_number[lost]
                    PARTITION_EPOCH.remove(str(lost))
                changed = await self._with_foreign_writes(numbers)
                for kept in set(numbers).difference(changed):
                    by_number[kept].assignment = self._consumer.assigned
                PARTITION_RESTORES_SKIPPED.inc(len(numbers) - len(changed))
                await self.restore_locked(changed)
                for number in numbers:
                    await self._publisher.publish_pending(number)
                next_offsets = {number: by_number[number].next_offset for number in numbers}
                await self._owned.commit(next_offsets)  # reading starts at the result; this is for the lag
            return dict(zip(self._owned.topic_partitions(numbers), next_offsets.values(), strict=True))
        finally:
            self.restoring = 0

    async def restore_locked(self, numbers: Sequence[int]) -> None:
        """Restores these partitions and publishes the differences; the caller holds their locks."""
        if not numbers:
            return
        restored = await (self._read(numbers) if self._read_tables else self._start_at_commit(numbers))
        for number, partition in restored.items():
            self._owned.by_number[number] = partition
            PARTITION_EPOCH.labels(str(number)).set(partition.epoch)
        for number in numbers:
            await self._publisher.publish_pending(number)
            self._owned.by_number[number].complete = True
            PARTITIONS_RESTORED.inc()
        log.info("partitions restored, reading activities", extra={"partitions": list(numbers)})

    async def _with_foreign_writes(self, numbers: Sequence[int]) -> list[int]:
        """The partitions that are new here, or in which another replica may have written."""
        by_number, ends = self._owned.by_number, await self.end_offsets(numbers)
        return [
            number
            for number in numbers
            if number not in by_number or not by_number[number].has_only_own_writes(ends[number])
        ]

    async def _read(self, numbers: Sequence[int]) -> dict[int, RestoredPartition]:
        """Reads both tables of these partitions to their ends; each activity found there becomes pending."""
        assignment = self._consumer.assigned
        activities = {number: LiveActivities(self._matcher) for number in numbers}
        next_offsets: dict[int, int] = {}
        async for activity_chunk in self._kafka.read_table(ACTIVITIES, numbers):
            now = self._kafka.clock()
            for activity_message in activity_chunk.messages:
                live = activities[activity_message.position.partition]
                apply_activity_message(live, activity_message, now)
            next_offsets = {tp.partition: offset for tp, offset in activity_chunk.positions.items()}
            self._owned.beat()

        greatest_epochs = dict.fromkeys(numbers, 0)
        observed_offsets: dict[int, int] = {}
        latest: dict[ItemKey | None, tuple[int, int]] = {}
        """Key -> (epoch, sequence) of what readers hold."""
        async for match_chunk in self._kafka.read_table(MATCHES, numbers):
            for message in match_chunk.messages:
                number = message.position.partition
                # Readers ignore a smaller epoch or sequence, but compaction may keep it: what they hold is
                # uncertain.
                order = message.epoch, message.sequence
                is_ignored = message.epoch < greatest_epochs[number] or order <= latest.get(
                    message.key, (-1, 0)
                )
                certain = not isinstance(message, InvalidMessage) and not is_ignored
                if certain:
                    latest[message.key] = order
                greatest_epochs[number] = max(greatest_epochs[number], message.epoch)
                if message.key:
                    activities[number].observe_published(
                        message.key, message.version, message.record.value, certain=certain
                    )
            observed_offsets = {tp.partition: offset for tp, offset in match_chunk.positions.items()}
            self._owned.beat()

        now = self._kafka.clock()
        return {
            number: RestoredPartition(
                activities[number],
                next_version(now, after=greatest_epochs[number]),
                next_offsets[number],
                observed_offsets[number],
                assignment,
            )
            for number in numbers
        }

    async def _start_at_commit(self, numbers: Sequence[int]) -> dict[int, RestoredPartition]:
        """Treats the tables of these partitions as empty, and starts at the group's commit."""
        assignment = self._consumer.assigned
        ends = await self.end_offsets(numbers)
        partitions = self._owned.topic_partitions(numbers)
        committed = await self._kafka.committed_offsets(self._consumer.group, partitions)
        epoch = next_version(self._kafka.clock())
        return {
            tp.partition: RestoredPartition(
                LiveActivities(self._matcher), epoch, committed[tp], ends[tp.partition], assignment
            )
            for tp in partitions
        }

    async def end_offsets(self, numbers: Sequence[int]) -> dict[int, int]:
        """Partition number -> end of this partition of `matches`; raises RetryableError."""
        partitions = [self._kafka.partition(MATCHES, number) for number in numbers]
        ends = await self._kafka.end_offsets(partitions)
        return {tp.partition: end for tp, end in ends.items()}


def apply_activity_message(
    live: LiveActivities, message: ReceivedMessage[ItemKey, Activity], now: datetime
) -> None:
    """Applies a message of `activities` to the live activities of its partition.

    An activity whose last message is invalid is gone, as after a tombstone. An invalid message without a
    key changes nothing. After a resent message the activity is published again, or its tombstone: what
    readers have of it may be older than the topics.
    """
    match message:
        case ValueMessage() | TombstoneMessage():
            value = message.value if isinstance(message, ValueMessage) else None
            live.apply(message.key, value, message.version, now)
            if message.is_resent:
                live.observe_published(message.key, message.version, None, certain=False)
        case InvalidMessage():
            if message.key:
                live.apply_invalid(message.key, message.version, now)
        case _:
            assert_never(message)

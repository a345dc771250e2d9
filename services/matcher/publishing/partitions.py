"""The partitions of `activities` and `matches` that this replica owns."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta

from services.matcher.domain.live_activities import LiveActivities
from shared.broker import TopicConsumer, TopicPartition
from shared.errors import RetryableError
from shared.events import Activity
from shared.heartbeat import Heartbeat
from shared.keys import ItemKey
from shared.topics import ACTIVITIES

OWNERSHIP_TIMEOUT = timedelta(seconds=5)
"""Timeout of the commit that proves the ownership of a partition; then it raises RetryableError."""


@dataclass(slots=True)
class RestoredPartition:
    """One partition after its restore.

    Attributes:
        activities: the live activities and what `matches` holds for them.
        epoch: of all messages that this replica writes there; `sequence` rises with each message.
        next_offset: offset on `activities` up to which all messages are applied and published.
        observed_offset: offset on `matches` up to which all messages are known.
        assignment: this replica's partitions when it was restored; each rebalance makes another set.
        observed_sequence: `sequence` when `observed_offset` was taken.
        own_writes: number of messages that this replica has written behind `observed_offset`.
        complete: the restore has published all differences.
    """

    activities: LiveActivities
    epoch: int
    next_offset: int
    observed_offset: int
    assignment: AbstractSet[TopicPartition]
    sequence: int = 0
    own_writes: int = 0
    observed_sequence: int = 0
    complete: bool = False

    def has_only_own_writes(self, end_offset: int) -> bool:
        """True when nobody else has written to the partition of `matches` up to its end.

        The messages are counted, because a foreign one may lie between our own.
        """
        return self.complete and end_offset == self.observed_offset + self.own_writes


class OwnedPartitions:
    """The partitions of this replica. A coroutine that uses one holds its lock.

    Args:
        consumer: the consumer of `activities`, whose group assigns the partitions.
        session_timeout: after this time without a heartbeat the group gives a partition to another member.

    Attributes:
        by_number: partition number -> its restored state.
        locks: partition number -> the lock of this partition.
        heartbeat: of the work on partitions.
    """

    def __init__(self, consumer: TopicConsumer[ItemKey, Activity], session_timeout: timedelta) -> None:
        self.by_number: dict[int, RestoredPartition] = {}
        self.locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.heartbeat = Heartbeat()
        self._consumer = consumer
        self._proof_lasts = session_timeout.total_seconds() / 2
        self._proven_until = 0.0

    @property
    def pending_count(self) -> int:
        """Number of activities that are pending or in flight."""
        return sum(partition.activities.pending_count for partition in self.by_number.values())

    @property
    def live_count(self) -> int:
        """Number of live activities."""
        return sum(len(partition.activities) for partition in self.by_number.values())

    def beat(self) -> None:
        """Records progress."""
        self.heartbeat.beat()

    # -- ownership --------------------------------------------------------------------------------

    def topic_partitions(self, numbers: Sequence[int]) -> list[TopicPartition]:
        """These partitions of `activities`."""
        return [self._consumer.cluster.partition(ACTIVITIES, number) for number in numbers]

    def is_assigned(self, number: int) -> bool:
        """True when the last rebalance assigned the partition to this replica."""
        return self.topic_partitions([number])[0] in self._consumer.assigned

    async def ensure_owned(self, number: int, partition: RestoredPartition) -> None:
        """Raises RetryableError unless this replica owns the partition, and has restored it since it does.

        An accepted commit proves it for half a session: the group gives a partition to another member
        only after a whole session without heartbeats. After a longer time without a commit, such as a
        pause of the process, another commit must prove it. A commit can wait for a rebalance and be
        accepted after it, when another replica may have owned the partition in between.
        """
        self._check_assignment(partition)
        if time.monotonic() >= self._proven_until:
            await self.commit({number: partition.next_offset})
            self._check_assignment(partition)

    def _check_assignment(self, partition: RestoredPartition) -> None:
        if partition.assignment is not self._consumer.assigned:
            raise RetryableError("the partition is not restored since the last rebalance")

    async def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commits the offset of `activities` for each partition number.

        Raises:
            RetryableError: the group does not accept it from this replica.
        """
        started = time.monotonic()
        partitions = self.topic_partitions(list(next_offsets))
        offsets = dict(zip(partitions, next_offsets.values(), strict=True))
        await self._consumer.commit_offsets(offsets, OWNERSHIP_TIMEOUT)
        self._proven_until = started + self._proof_lasts


async def gather_all(work: Iterable[Awaitable[None]]) -> None:
    """Runs all of it to the end, and then raises the first error."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if result:
            raise result

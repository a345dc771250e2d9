"""Detects and overrules what other matchers write into this replica's partitions of `matches`.

A matcher that was paused for longer than its session may resume and write old matches into a partition
that another replica owns by now. Readers ignore them by their smaller epoch, but compaction may keep them.
"""

import logging
from datetime import timedelta

from services.matcher.metrics import FOREIGN_WRITES
from services.matcher.publishing.partitions import OwnedPartitions, RestoredPartition
from services.matcher.publishing.publisher import MatchPublisher
from shared.broker import KafkaClient
from shared.errors import RetryableError
from shared.keys import ItemKey
from shared.messages import InvalidMessage
from shared.service import StopSignal
from shared.topics import MATCHES

from .restorer import PartitionRestorer

log = logging.getLogger(__name__)


class ForeignWriteDetector:
    """Compares the ends of the owned partitions of `matches` with this replica's own writes there.

    Args:
        check_every: the interval of the comparison.
    """

    def __init__(
        self,
        kafka: KafkaClient,
        owned: OwnedPartitions,
        publisher: MatchPublisher,
        restorer: PartitionRestorer,
        check_every: timedelta,
    ) -> None:
        self._kafka = kafka
        self._owned = owned
        self._publisher = publisher
        self._restorer = restorer
        self._check_every = check_every

    async def detect_foreign_writes(self, stop_signal: StopSignal) -> None:
        """Checks all owned partitions at each interval, until the stop signal."""
        while not stop_signal:
            await stop_signal.sleep(self._check_every)
            for number in sorted(self._owned.by_number):
                try:
                    await self.check_partition(number)
                except RetryableError as error:
                    log.warning(
                        "check for foreign writes failed, retrying",
                        extra={
                            "partition": number,
                            "error": str(error),
                            "retry_in": self._check_every.total_seconds(),
                        },
                    )

    async def check_partition(self, number: int) -> None:
        """Overrules foreign writes in one partition; raises RetryableError.

        A partition whose restore was interrupted is restored instead.
        """
        async with self._owned.locks[number]:
            partition = self._owned.by_number.get(number)
            if partition is None or not self._owned.is_assigned(number):
                return
            if not partition.complete:
                await self._restorer.restore_locked([number])
                return
            end = (await self._restorer.end_offsets([number]))[number]
            if not partition.has_only_own_writes(end):
                await self._overrule(number, partition, end)
            partition.observed_offset, partition.own_writes = end, 0
            partition.observed_sequence = partition.sequence

    async def _overrule(self, number: int, partition: RestoredPartition, end: int) -> None:
        """Publishes this replica's own state of each key that another one has written.

        A greater epoch means that another replica has restored the partition. In the epoch of this replica
        readers may take what is foreign for the later state. A new restore has a greater epoch than both.
        """
        foreign, greatest_epoch = await self._read_foreign_writes(number, partition, end)
        if foreign:
            log.warning(
                "foreign writes detected, overruling them",
                extra={"partition": number, "keys": len(foreign), "epoch": greatest_epoch},
            )
            FOREIGN_WRITES.inc(len(foreign))
        if greatest_epoch >= partition.epoch:
            await self._owned.ensure_owned(number, partition)
            await self._restorer.restore_locked([number])
            return
        for key, version in foreign.items():
            if key:
                partition.activities.observe_published(key, version, None, certain=False)
        await self._publisher.publish_pending(number)

    async def _read_foreign_writes(
        self, number: int, partition: RestoredPartition, end: int
    ) -> tuple[dict[ItemKey | None, int], int]:
        """(key -> version of the foreign message that is the last one of this key, their greatest epoch).

        Messages with an invalid key have the key None. Readers ignore the epoch of an invalid message.
        """
        foreign: dict[ItemKey | None, int] = {}
        greatest_epoch, own_sequence = 0, partition.observed_sequence
        async for message in self._kafka.read_range(MATCHES, number, partition.observed_offset, end):
            is_invalid = isinstance(message, InvalidMessage)
            in_order = own_sequence < message.sequence <= partition.sequence
            if message.epoch == partition.epoch and in_order and not is_invalid:
                own_sequence = message.sequence
                foreign.pop(message.key, None)  # our own message is the later one
            else:
                foreign[message.key] = message.version
                greatest_epoch = max(greatest_epoch, 0 if is_invalid else message.epoch)
        return foreign, greatest_epoch

"""Where reading starts: at positions in tracking's own database, which hold for the data beside them.

Kafka's commits serve only to show the lag. A database that was restored from a backup is read on from
its own positions.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from shared.broker import Batch, KafkaClient, TopicPartition
from shared.clock import Clock, next_version
from shared.messages import ReceivedMessage

from .store import Store, StoredPosition


class ReadPositions:
    """The positions of one consumer's partitions.

    Attributes:
        known: True once the start offsets of this replica are known.
    """

    def __init__(self, store: Store, kafka: KafkaClient, clock: Clock) -> None:
        self.known = False
        self._store = store
        self._kafka = kafka
        self._clock = clock
        self._positions: dict[TopicPartition, StoredPosition] = {}

    async def start_offsets(self, assigned: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset from which each assigned partition is read; called at every assignment.

        Raises:
            RetryableError: MongoDB or Kafka is unavailable.
        """
        stored = await self._store.read_positions.find_by_partition(map(_name, assigned))
        ends = await self._kafka.end_offsets(assigned)
        self._positions = {tp: self._start_position(stored.get(_name(tp)), ends[tp]) for tp in assigned}
        self.known = True
        return {tp: position.next_offset for tp, position in self._positions.items()}

    def _start_position(self, stored: StoredPosition | None, end: int) -> StoredPosition:
        """The stored position, or offset 0 of a new generation when the topic is new or was created again."""
        if stored is None:
            return StoredPosition(0, 0, next_version(self._clock()))
        if stored.next_offset > end:
            return StoredPosition(0, stored.max_epoch, next_version(self._clock(), stored.generation))
        return stored

    def max_epochs(self) -> dict[TopicPartition, int]:
        """The greatest epoch of each partition, as of the last batch that is stored."""
        return {tp: position.max_epoch for tp, position in self._positions.items()}

    def generation(self, partition: TopicPartition) -> int:
        """The generation of a partition's offsets, see `StoredPosition`."""
        return self._positions[partition].generation

    async def advance(
        self, batch: Batch[Any, Any], max_epochs: dict[TopicPartition, int] | None = None
    ) -> None:
        """Stores that all of a batch is stored.

        The position does not pass a message that becomes a dead letter, because the dead letter is written
        only after this: until the next batch, reading would start with that message again.

        Args:
            batch: the batch.
            max_epochs: the greatest epoch of each partition with this batch; absent: unchanged.
        """
        first_refused: dict[TopicPartition, int] = {}
        for message in (*batch.invalid, *(message for message, _ in batch.refusals)):
            tp, offset = partition_of(message), message.position.offset
            first_refused[tp] = min(offset, first_refused.get(tp, offset))
        advanced: dict[TopicPartition, StoredPosition] = {}
        for message in batch.messages:
            tp, offset = partition_of(message), message.position.offset
            if tp not in advanced:
                known = self._positions[tp]
                advanced[tp] = replace(known, max_epoch=max_epochs[tp]) if max_epochs else known
            if tp not in first_refused or offset < first_refused[tp]:
                advanced[tp] = replace(advanced[tp], next_offset=offset + 1)
        await self._store.read_positions.upsert({_name(tp): at for tp, at in advanced.items()})
        self._positions |= advanced


def partition_of(message: ReceivedMessage[Any, Any]) -> TopicPartition:
    """The partition that a received message is in."""
    return TopicPartition(message.position.topic, message.position.partition)


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"

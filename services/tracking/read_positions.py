"""Where reading starts: at positions in tracking's own database, which hold for the data beside them.

Kafka's commits show the lag, and prove that a database is older than they are (`recovery/`); nothing is read
from them. A database that was restored from a backup is read on from its own positions.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from shared.broker import Batch, KafkaClient, TopicPartition
from shared.clock import Clock, next_version
from shared.errors import RetryableError
from shared.messages import ReceivedMessage
from shared.topics import Topic

from .store import Store, StoredPosition

WaitUntilReadable: TypeAlias = Callable[[Topic[Any, Any]], Awaitable[None]]
"""Returns when the positions in the store may be used."""


class ReadPositions:
    """The positions of one consumer's partitions.

    Args:
        topic: that the consumer reads.
        store: the database.
        kafka: of the topic.
        clock: the server's clock.
        wait_until_readable: returns when the topic may be read.
        on_store_behind: called when the store has lost a position that this replica has stored there.

    Attributes:
        known: True once the start offsets of this replica are known.
    """

    def __init__(
        self,
        topic: Topic[Any, Any],
        store: Store,
        kafka: KafkaClient,
        clock: Clock,
        wait_until_readable: WaitUntilReadable,
        on_store_behind: Callable[[], None],
    ) -> None:
        self.known = False
        self._topic = topic
        self._store = store
        self._kafka = kafka
        self._clock = clock
        self._wait_until_readable = wait_until_readable
        self._on_store_behind = on_store_behind
        self._positions: dict[TopicPartition, StoredPosition] = {}

    async def start_offsets(self, assigned: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset from which each assigned partition is read; called at every assignment.

        Raises:
            RetryableError: MongoDB or Kafka is unavailable.
        """
        self.known = False
        await self._wait_until_readable(self._topic)
        stored = await self._find(assigned)
        ends = await self._kafka.end_offsets(assigned)
        ids = await self._kafka.topic_ids(sorted({tp.topic for tp in assigned}))
        positions = {tp: self._start_position(stored.get(tp), ends[tp], ids[tp.topic]) for tp in assigned}
        changes = {
            name_of(tp): (stored.get(tp), position)
            for tp, position in positions.items()
            if position != stored.get(tp)
        }
        if changes:
            await self._store.read_positions.start(changes)
            if await self._find(assigned) != positions:
                raise RetryableError("another replica has stored where reading starts")
        self._positions, self.known = positions, True
        return {tp: position.next_offset for tp, position in positions.items()}

    async def _find(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, StoredPosition]:
        stored = await self._store.read_positions.find_by_partition(map(name_of, partitions))
        return {tp: stored[name_of(tp)] for tp in partitions if name_of(tp) in stored}

    def _start_position(self, stored: StoredPosition | None, end: int, topic_id: str) -> StoredPosition:
        """The stored position, or offset 0 of a new generation when the topic is new or was made anew."""
        if stored is None:
            return StoredPosition(0, 0, 0, next_version(self._clock()), topic_id)
        if stored.topic_id not in (None, topic_id) or stored.next_offset > end:
            generation = next_version(self._clock(), stored.generation)
            return StoredPosition(0, 0, stored.max_epoch, generation, topic_id)
        return replace(stored, topic_id=topic_id)

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

        Raises:
            RetryableError: the store has other positions than this replica has stored: the partition moved to
                another replica, or the database is another one.
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
            advanced[tp] = replace(advanced[tp], read_to=offset + 1)
            if tp not in first_refused or offset < first_refused[tp]:
                advanced[tp] = replace(advanced[tp], next_offset=offset + 1)
        changes = {name_of(tp): (self._positions[tp], position) for tp, position in advanced.items()}
        if not await self._store.read_positions.advance(changes):
            await self._refuse(list(advanced))
        self._positions |= advanced

    async def _refuse(self, partitions: Sequence[TopicPartition]) -> None:
        stored = await self._find(partitions)
        for tp in partitions:
            at, known = stored.get(tp), self._positions[tp]
            if at is None or (at.generation, at.read_to) < (known.generation, known.read_to):
                self._on_store_behind()
        raise RetryableError("the store has another read position than this replica has stored")


def partition_of(message: ReceivedMessage[Any, Any]) -> TopicPartition:
    """The partition that a received message is in."""
    return TopicPartition(message.position.topic, message.position.partition)


def name_of(partition: TopicPartition) -> str:
    """The id of a partition's position."""
    return f"{partition.topic}/{partition.partition}"

"""Compares the store with Kafka: what proves that the store is lost or older, and which topics are new."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.tracking.domain.recovery import PartitionProgress
from services.tracking.read_positions import name_of
from services.tracking.store import Store, StoredPosition, StoreState
from shared.broker import KafkaClient, TopicConsumer, TopicPartition
from shared.topics import TRACKED_ACTIVITIES


@dataclass(frozen=True, slots=True)
class Evidence:
    """The store and Kafka at one moment.

    Attributes:
        state: what the store knows of itself; None in an empty store.
        is_empty: the store was never used.
        has_published: there are messages on `tracked-activities`.
        progress: of every partition whose topic is the one that the store knows.
        new_topics: names of the topics that were made anew since the store knew them.
        ends: of every partition.
        generation: the greatest of all positions, see `StoredPosition`.
    """

    state: StoreState | None
    is_empty: bool
    has_published: bool
    progress: tuple[PartitionProgress, ...]
    new_topics: frozenset[str]
    ends: Mapping[TopicPartition, int]
    generation: int

    @property
    def since(self) -> datetime | None:
        """When the store was last in use, as far as it knows."""
        return self.state.at if self.state else None


async def collect_evidence(store: Store, kafka: KafkaClient) -> Evidence:
    """The evidence now.

    Raises:
        RetryableError: MongoDB or Kafka is unavailable.
    """
    partitions = {consumer: await kafka.partitions(consumer.topic) for consumer in kafka.consumers}
    every = [tp for each in partitions.values() for tp in each]
    ends = await kafka.end_offsets(every)
    ids = await kafka.topic_ids(sorted({tp.topic for tp in every}))
    committed = await _committed(kafka, partitions)
    # Read after the commits: a replica that is at work stores a position before it commits.
    stored = await store.read_positions.find_by_partition(map(name_of, every))
    state = await store.state.find()
    new_topics = frozenset(
        tp.topic for tp in every if _is_new(stored.get(name_of(tp)), ends[tp], ids[tp.topic])
    )
    return Evidence(
        state,
        state is None and not await store.read_positions.any_stored(),
        any(ends[tp] for tp in every if tp.topic == kafka.full_name(TRACKED_ACTIVITIES)),
        tuple(
            PartitionProgress(position.read_to if position else None, committed[tp])
            for tp in every
            for position in [stored.get(name_of(tp))]
            if tp.topic not in new_topics and (position is None or position.topic_id is not None)
        ),
        new_topics,
        ends,
        max((position.generation for position in stored.values()), default=0),
    )


async def _committed(
    kafka: KafkaClient, partitions: Mapping[TopicConsumer[Any, Any], list[TopicPartition]]
) -> dict[TopicPartition, int]:
    committed: dict[TopicPartition, int] = {}
    for consumer, own in partitions.items():
        committed |= await kafka.committed_offsets(consumer.group, own)
    return committed


def _is_new(stored: StoredPosition | None, end: int, topic_id: str) -> bool:
    """Whether a topic has another id, or is shorter, than when the store last knew it."""
    if stored is None:
        return False
    return stored.topic_id not in (None, topic_id) or stored.next_offset > end


async def accept_commits(store: Store, kafka: KafkaClient, generation: int) -> None:
    """Records that the commits of the consumer groups prove nothing any more, after a recovery.

    Args:
        store: has the positions.
        kafka: has the commits.
        generation: of the positions of partitions that have none.
    """
    for consumer in kafka.consumers:
        partitions = await kafka.partitions(consumer.topic)
        committed = await kafka.committed_offsets(consumer.group, partitions)
        ids = await kafka.topic_ids(kafka.topic_names(consumer.topic))
        await store.read_positions.accept(
            {
                name_of(tp): StoredPosition(0, offset, 0, generation, ids[tp.topic])
                for tp, offset in committed.items()
                if offset
            }
        )

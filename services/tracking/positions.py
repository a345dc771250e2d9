"""Where reading starts: in tracking's own database, so that what is stored and what was read cannot part."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from shared.broker import Batch, StartAt, Subscription
from shared.clock import Clock, stamp
from shared.errors import Transient

from .store import Store

Ends = Callable[[Sequence[TopicPartition]], Awaitable[dict[TopicPartition, int]]]


@dataclass(slots=True)
class Position:
    """What is known of a partition.

    Attributes:
        next: the first offset that is not done.
        epoch: the greatest seen.
        taken: a stamp of when offsets began to count: a topic that was lost and made anew starts again at 0.
    """

    next: int
    epoch: int
    taken: int


class Positions:
    """The positions of one subscription's partitions."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[TopicPartition, Position] = {}
        self.known = False
        """Whether this replica has been told where to start."""

    def start_at(self, subscription: Callable[[], Subscription]) -> StartAt:
        """The answer to Kafka's question at each assignment.

        Args:
            subscription: asked for the ends of partitions, once it reads.
        """

        async def start_at(assigned: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
            stored = await self._store.positions.of(map(_name, assigned))
            try:
                ends = await subscription().consumer.end_offsets(list(assigned))
            except KafkaError as away:
                raise Transient(
                    f"Kafka does not say where its partitions end: {type(away).__name__}"
                ) from away
            self._known = {tp: self._of(stored.get(_name(tp)), ends[tp]) for tp in assigned}
            self.known = True
            return {tp: position.next for tp, position in self._known.items()}

        return start_at

    def _of(self, stored: dict[str, Any] | None, end: int) -> Position:
        if stored is None or stored["next"] > end:
            return Position(
                0, stored["epoch"] if stored else 0, stamp(self._clock(), stored["taken"] if stored else 0)
            )
        return Position(stored["next"], stored["epoch"], stored["taken"])

    def epochs(self) -> dict[TopicPartition, int]:
        """The greatest epoch of each partition, as of the last batch that is done."""
        return {tp: position.epoch for tp, position in self._known.items()}

    def taken(self, tp: TopicPartition) -> int:
        """Since when offsets of this partition count."""
        return self._known[tp].taken

    async def done(self, batch: Batch[Any], epochs: dict[TopicPartition, int] | None = None) -> None:
        """Notes that all of a batch is stored.

        A refused message becomes a dead letter only after this: until the next batch, reading would
        start with it again.
        """
        refused = {message.at for message, _ in batch.rejections} | {
            message.at for message in batch.messages if message.refused
        }
        after: dict[TopicPartition, Position] = {}
        for message in batch.messages:
            tp = TopicPartition(message.at.topic, message.at.partition)
            known = self._known[tp]
            done = after.setdefault(
                tp, Position(known.next, epochs[tp] if epochs else known.epoch, known.taken)
            )
            if not any(at.offset <= message.at.offset for at in refused if (at.topic, at.partition) == tp):
                done.next = message.at.offset + 1
        await self._store.positions.put(
            [
                {"_id": _name(tp), "next": p.next, "epoch": p.epoch, "taken": p.taken}
                for tp, p in after.items()
            ]
        )
        self._known |= after


def _name(tp: TopicPartition) -> str:
    return f"{tp.topic}/{tp.partition}"

"""Kafka with our rules on: one factory, and no subscriber can weaken it.

FastStream and aiokafka lose messages by default. Here every subscriber is a batch one with manual
commits after the work, drained and gated at rebalances (`consumer.py`); every message is decoded by
itself, so that a bad one goes to its dead-letter topic and takes no neighbour with it; every
producer is idempotent with `acks=all` (`producer.py`).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from .bus import Received
from .clock import Clock
from .cluster import Cluster
from .connection import admin_client, bootstrap_servers, broker_security, client_options, kafka_away
from .consumer import Batch, OnBatch, StartAt, Subscription
from .producer import Producer
from .settings import KafkaSettings
from .topics import Topic

__all__ = ["Batch", "Chunk", "Kafka", "OnBatch", "Producer", "StartAt", "Subscription"]

REBALANCE_TIMEOUT = timedelta(seconds=60)
"""Longer than the longest batch, or a waiting member is thrown out and the next one waits."""
HEARTBEAT = timedelta(milliseconds=500)
"""A member hears of a rebalance with its next heartbeat; until then the others wait."""
LEAVE = timedelta(seconds=2)
"""Who stops does not wait longer than this for a Kafka that is away."""
LAST_BATCH = LEAVE / 2
"""`drain` has waited for the batches in flight; what is still there at `stop` is cancelled after this."""

CHUNK = 1000
"""Messages of a table at once: decoding them holds up everything else for some 20 ms."""

log = logging.getLogger(__name__)
faststream_log = logging.getLogger(
    f"{__name__}.faststream"
)  # the one that it names "faststream" writes lines of its own form
faststream_log.setLevel(logging.ERROR)  # below that it says two lines a batch


class Kafka(Cluster):
    """A service's connection to Kafka.

    Args:
        settings, source, clock: see `Cluster`.
        instance: a replica's stable name, for static membership.
    """

    def __init__(
        self, settings: KafkaSettings, source: str, clock: Clock, instance: str | None = None
    ) -> None:
        super().__init__(settings, source, clock)
        self.subscriptions: list[Subscription] = []
        self._instance = instance
        self._clients = contextlib.AsyncExitStack()
        self._broker = KafkaBroker(
            bootstrap_servers(settings),
            security=broker_security(settings),
            consumer_only=True,
            allow_auto_create_topics=False,
            graceful_timeout=LAST_BATCH.total_seconds(),
            ack_policy=AckPolicy.MANUAL,
            apply_types=False,
            logger=faststream_log,
        )

    def subscribe(
        self, topic: Topic, on_batch: OnBatch, *, start_at: StartAt | None = None, max_records: int = 500
    ) -> Subscription:
        """Reads a topic in a group of this service's own, from the first message that it has not done.

        Args:
            topic: `RECORDS` stands for all topics of record events.
            on_batch: does the work; offsets are committed after it returns. `Transient` makes it try
                again, anything else stops the process; what is wrong with one message goes to `Batch.reject`.
            start_at: see `StartAt`; partitions stand still until it has answered.
            max_records: the most that one batch holds; one should take well under a second.
        """
        group = self.name(f"{self.source}.{topic.name}")
        subscription = Subscription(self, topic, group, on_batch, start_at)
        subscription.attach(
            self._broker.subscriber(
                *self.decoders(topic),
                batch=True,
                group_id=group,
                group_instance_id=f"{self._instance}.{topic.name}" if self._instance else None,
                auto_offset_reset="earliest",
                ack_policy=AckPolicy.MANUAL,
                listener=subscription,
                max_records=max_records,
                batch_timeout_ms=20,
                session_timeout_ms=_ms(self.settings.kafka_session_timeout),
                heartbeat_interval_ms=_ms(HEARTBEAT),
                rebalance_timeout_ms=_ms(REBALANCE_TIMEOUT),
                partition_assignment_strategy=(StickyPartitionAssignor,),
                parser=subscription.parse,
                decoder=subscription.undecoded,
            )
        )
        self.subscriptions.append(subscription)
        return subscription

    async def start(self) -> None:
        """Connects; raises Transient where Kafka does not answer, and can then be called again."""
        try:
            await self.producer.start()
            self._admin = await self._clients.enter_async_context(admin_client(self.settings))
            with kafka_away(self.settings):
                await self._broker.start()
            for subscription in self.subscriptions:
                subscription.watch()
        except BaseException:
            await self.stop()
            raise

    async def drain(self) -> None:
        """Reads no more, and waits for the batches in flight."""
        await asyncio.gather(*(subscription.drain() for subscription in self.subscriptions))

    async def stop(self) -> None:
        """Leaves the groups, flushes what is being sent, disconnects; all as far as Kafka answers."""
        self._admin = None
        try:
            async with asyncio.timeout(LEAVE.total_seconds()):
                await self._broker.stop()
                await self.producer.stop()
                await self._clients.aclose()
        except TimeoutError:
            log.warning("Kafka did not let us go in time")

    def silent_for(self, subscription: Subscription) -> float:
        """Seconds for which a subscription has heard nothing although Kafka answers."""
        now = time.time()
        return min(subscription.silent_for(int(now * 1000)), now - self.away_at)

    @contextlib.asynccontextmanager
    async def consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A plain consumer without a group, for reading tables by explicit assignment."""
        consumer = AIOKafkaConsumer(
            **client_options(self.settings), enable_auto_commit=False, auto_offset_reset="earliest"
        )
        with kafka_away(self.settings):
            try:
                await consumer.start()
                yield consumer
            finally:
                await consumer.stop()

    async def read_table(
        self, topic: Topic, partitions: Sequence[int] | None = None, *, follow: bool = False
    ) -> "AsyncIterator[Chunk]":
        """Reads a table from its start.

        Args:
            topic: a compacted topic.
            partitions: all of them when absent.
            follow: go on for ever, with a chunk (perhaps an empty one) at least every 100 ms; otherwise
                it ends where the table ended when the reading began.

        Yields:
            Chunks; the first one with `caught_up` set ends the part that was there at the start.
        """
        decoders = self.decoders(topic)
        async with self.consumer() as consumer:
            assigned = [
                tp
                for name in decoders
                for tp in await self.partitions(name)
                if partitions is None or tp.partition in partitions
            ]
            consumer.assign(assigned)
            await consumer.seek_to_beginning(*assigned)
            ends = await consumer.end_offsets(assigned)
            caught_up = False
            while follow or not caught_up:
                fetched = await consumer.getmany(timeout_ms=100, max_records=CHUNK)
                messages = [
                    decoders[tp.topic](record) for tp, records in fetched.items() for record in records
                ]
                positions = {tp: await consumer.position(tp) for tp in assigned}
                caught_up = caught_up or all(positions[tp] >= ends[tp] for tp in assigned)
                waiting = sum(
                    max(0, max(ends[tp], consumer.highwater(tp) or 0) - positions[tp]) for tp in assigned
                )
                yield Chunk(messages, caught_up, positions, waiting)
                await asyncio.sleep(0)  # what is in memory already comes without a pause


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a table: its messages in order, the position after them, and how many wait behind it."""

    messages: list[Received[Any]]
    caught_up: bool
    positions: dict[TopicPartition, int]
    waiting: int = 0


def _ms(time: timedelta) -> int:
    return time // timedelta(milliseconds=1)

"""The Kafka client of a service, with rules that no consumer can weaken.

What FastStream does here: it owns the consumers and their poll loops, joins the groups, calls the
handler with a batch, and stops gracefully (`graceful_timeout`). A reader who looks for
`@broker.subscriber` finds it in `KafkaClient.consumer` below.

What is bypassed, and why (each was measured on a real Kafka):

* `AckPolicy.ACK_FIRST` (the default) commits before the work, so that a kill loses messages. Here the
  policy is `MANUAL`, and `consumer.py` commits after the work.
* Its parser and decoder fail or drop a whole batch for one bad message. `messages.py` decodes each
  message by itself.
* Its rebalances let two members process one batch. `consumer.py` drains and gates.
* It restarts a poll loop after any error, and repeats the same error for ever; one that returns or is
  cancelled it leaves. Here each end is fatal (`TopicConsumer.watch`).
* Its publisher has one future for each message and no deadline. `producer.py` is an idempotent producer
  with batches.

Handlers never commit, never see Kafka's records, and cannot choose an acknowledgement policy.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from .clock import Clock, to_milliseconds
from .cluster import KafkaCluster
from .connection import admin_client, bootstrap_servers, broker_security, kafka_errors, time_options
from .consumer import Batch, OnBatch, StartOffsets, TopicConsumer
from .errors import RetryableError
from .keys import K
from .leaders import is_outdated
from .messages import MessageDecoder, ReceivedMessage
from .producer import Producer
from .reconnection import give_up_consumer, give_up_producer, is_available, is_out_of_reach
from .settings import KafkaSettings
from .tables import TableChunk, TableTail, has_messages, read_range, read_table, table_consumer
from .topics import Topic

__all__ = [
    "Batch",
    "KafkaClient",
    "OnBatch",
    "Producer",
    "StartOffsets",
    "TableChunk",
    "TableTail",
    "TopicConsumer",
    "TopicPartition",
]

V = TypeVar("V")

REBALANCE_TIMEOUT = timedelta(seconds=60)
"""Longer than the longest batch; otherwise the group removes a member that still drains."""
HEARTBEAT_INTERVAL = timedelta(milliseconds=500)
"""A member learns of a rebalance with its next heartbeat; the other members wait until then."""
STOP_TIMEOUT = timedelta(seconds=2)
"""A service that stops does not wait longer for a Kafka that is away."""
LAST_BATCH_TIMEOUT = STOP_TIMEOUT / 2
"""`drain` has waited for the batches in flight; `stop` cancels the rest after this time."""
BATCH_TIMEOUT_MS = 20
DEFAULT_MAX_RECORDS = 500

log = logging.getLogger(__name__)
# FastStream's default logger writes lines of another format, and below ERROR two lines for each batch.
faststream_log = logging.getLogger(f"{__name__}.faststream")
faststream_log.setLevel(logging.ERROR)


class ConcurrentBroker(KafkaBroker):
    """Starts all subscribers at once: each of them waits until the other members of its group have joined."""

    async def start(self) -> None:
        await self.connect()
        starts = [asyncio.ensure_future(subscriber.start()) for subscriber in self.subscribers]
        try:
            await asyncio.gather(*starts)
        finally:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
        self.running = True


class KafkaClient(KafkaCluster):
    """A service's connection to Kafka.

    Args:
        settings, source, clock: see `KafkaCluster`.
        instance: a replica's stable name, for static group membership.
    """

    def __init__(
        self, settings: KafkaSettings, source: str, clock: Clock, instance: str | None = None
    ) -> None:
        super().__init__(settings, source, clock)
        self.consumers: list[TopicConsumer[Any, Any]] = []
        self.lost_since: float | None = None
        self._instance = instance
        self._clients = contextlib.AsyncExitStack()
        self._broker = ConcurrentBroker(
            bootstrap_servers(settings),
            **time_options(),
            security=broker_security(settings),
            consumer_only=True,
            allow_auto_create_topics=False,
            graceful_timeout=LAST_BATCH_TIMEOUT.total_seconds(),
            ack_policy=AckPolicy.MANUAL,
            apply_types=False,
            logger=faststream_log,
        )

    def consumer(
        self,
        topic: Topic[K, V],
        *,
        max_records: int = DEFAULT_MAX_RECORDS,
        decoder: MessageDecoder[K, V] | None = None,
    ) -> TopicConsumer[K, V]:
        """Creates the consumer of a topic, in a group of this service; `handle` then sets its handler.

        Args:
            topic: `RECORDS` stands for all topics of record events.
            max_records: the most messages in one batch; a batch should take well under a second.
            decoder: replaces the topic's own decoder, for a reader that needs a narrower value type.
        """
        group = self.full_name(f"{self.source}.{topic.name}")
        consumer = TopicConsumer(self, topic, group, decoder)
        consumer.is_static = self._instance is not None
        consumer.attach(
            self._broker.subscriber(
                *self.topic_names(topic),
                batch=True,
                group_id=group,
                group_instance_id=f"{self._instance}.{topic.name}" if self._instance else None,
                auto_offset_reset="earliest",
                ack_policy=AckPolicy.MANUAL,
                listener=consumer,
                max_records=max_records,
                batch_timeout_ms=BATCH_TIMEOUT_MS,
                session_timeout_ms=to_milliseconds(self.settings.kafka_session_timeout),
                heartbeat_interval_ms=to_milliseconds(HEARTBEAT_INTERVAL),
                rebalance_timeout_ms=to_milliseconds(REBALANCE_TIMEOUT),
                partition_assignment_strategy=(StickyPartitionAssignor,),
                parser=consumer.parse,
                decoder=consumer.pass_undecoded,
            )
        )
        self.consumers.append(consumer)
        return consumer

    async def start(self) -> None:
        """Connects. Raises RetryableError when Kafka does not answer, and can then be called again."""
        try:
            await self.producer.start()
            self._admin = await self._clients.enter_async_context(admin_client(self.settings))
            self._offsets = await self._clients.enter_async_context(table_consumer(self))
            with kafka_errors(self.settings):
                await self._broker.start()
            for consumer in self.consumers:
                consumer.watch()
        except BaseException:
            await self.stop()
            raise

    def _used_topics(self) -> list[str]:
        return [name for consumer in self.consumers for name in self.topic_names(consumer.topic)]

    async def check(self) -> None:
        """Connects again where a new client reaches Kafka and those here do not; commits what is overdue.

        What one client learns of the cluster all others use.

        The service calls it every few seconds. An outage, in which a new client reaches no more, changes
        nothing.
        """
        clients = self._clients_in_use()
        is_lost = await asyncio.gather(*map(is_out_of_reach, clients))
        lost = sum(is_lost)
        if clients and not lost and await self.ping():
            self.lost_since = None
            self._update_outdated(clients)
            await asyncio.gather(*(consumer.commit_overdue() for consumer in self.consumers))
        elif not await is_available(self.settings, self._used_topics()):
            self.last_unreachable = time.monotonic()
            self.lost_since = None
        elif lost or not clients:
            self.lost_since = self.lost_since or time.monotonic()
            log.warning("clients reach no Kafka, but a new one does, replacing them", extra={"lost": lost})
            await self._connect_again()

    def _clients_in_use(self) -> list[AIOKafkaClient]:
        """Aiokafka's clients of all kinds; none before `start`, and while connecting again fails."""
        if self._admin is None:
            return []
        connected = [*self.readers, self._admin, *(consumer.client for consumer in self.consumers)]
        clients = [each._client for each in connected if each is not None]  # noqa: SLF001  # no public name
        return [*clients, self.producer.client.client] if self.producer.client else clients

    def _update_outdated(self, clients: list[AIOKafkaClient]) -> None:
        """Makes each client leave a broker or a leader that `ping` has found to be replaced.

        By itself it would wait there until its own metadata is too old, or its request times out.
        """
        if self._offsets is None:
            return
        latest = self._offsets._client  # noqa: SLF001  # no public name
        for client in clients:
            if is_outdated(client, latest):
                client.force_metadata_update()

    async def _connect_again(self) -> None:
        """Replaces every client; those in use are given up, and what they had not delivered fails."""
        for consumer in self.consumers:
            consumer.unwatch()
            if consumer.client:
                await give_up_consumer(consumer.client)
        if self.producer.client:
            await give_up_producer(self.producer.client)
        await self.stop()
        for consumer in self.consumers:
            await consumer.on_partitions_revoked(set())
        self.generation += 1
        with contextlib.suppress(RetryableError):  # the next check tries again
            await self.start()

    async def drain(self) -> None:
        """Stops reading, and waits for the batches in flight."""
        await asyncio.gather(*(consumer.drain() for consumer in self.consumers))

    async def stop(self) -> None:
        """Leaves the groups, flushes the producer and disconnects, as far as Kafka answers."""
        self._admin = self._offsets = None
        for consumer in self.consumers:
            consumer.unwatch()
        try:
            async with asyncio.timeout(STOP_TIMEOUT.total_seconds()):
                await self._broker.stop()
                await self.producer.stop()
                await self._clients.aclose()
        except TimeoutError:
            log.warning("disconnecting from Kafka timed out, stopping anyway")

    def idle_seconds(self, consumer: TopicConsumer[Any, Any]) -> float:
        """Seconds for which a consumer has received nothing although Kafka is available."""
        return self.seconds_available(consumer.idle_seconds(int(time.time() * 1000)))

    def lost_seconds(self) -> float:
        """Seconds for which a new client reaches Kafka, and those of this service do not."""
        return time.monotonic() - self.lost_since if self.lost_since else 0.0

    def seconds_available(self, seconds: float) -> float:
        """The part of the last `seconds` that is after the last outage."""
        if self.last_unreachable is None:
            return seconds
        return min(seconds, time.monotonic() - self.last_unreachable)

    def read_table(
        self,
        topic: Topic[K, V],
        partitions: Sequence[int] | None = None,
        *,
        start: Mapping[TopicPartition, int] | None = None,
        follow: bool = False,
        decoder: MessageDecoder[K, V] | None = None,
    ) -> AsyncIterator[TableChunk[K, V]]:
        """Reads a compacted topic from its start; see `tables.read_table`."""
        return read_table(self, topic, partitions, start=start, follow=follow, decoder=decoder)

    def tail(self, topic: Topic[K, V], start: Mapping[TopicPartition, int]) -> TableTail[K, V]:
        """A reader that goes on in a topic at each call; see `TableTail`."""
        return TableTail(self, topic, start)

    def read_range(
        self, topic: Topic[K, V], partition: int, start: int, end: int
    ) -> AsyncIterator[ReceivedMessage[K, V]]:
        """Reads a part of one partition; see `tables.read_range`."""
        return read_range(self, topic, partition, start, end)

    async def has_messages(self, partition: TopicPartition, start: int, end: int) -> bool:
        """Whether a part of a partition has any message; see `tables.has_messages`."""
        return await has_messages(self, partition, start, end)

"""Reads compacted topics as tables, without a consumer group."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition

from .cluster import KafkaCluster
from .connection import client_options, kafka_errors
from .errors import RetryableError
from .keys import K
from .messages import KafkaRecord, MessageDecoder, ReceivedMessage
from .retry import OutageLog, retry_until_available
from .topics import Topic

V = TypeVar("V")

log = logging.getLogger(__name__)

CHUNK_MESSAGES = 1000
"""Messages that are decoded at once; this blocks the event loop for about 20 ms."""
POLL_TIMEOUT_MS = 100
TAIL_TIMEOUT = timedelta(seconds=5)
"""A tail gives up a Kafka that is away after this time; its caller repeats the call."""


@dataclass(frozen=True, slots=True)
class TableChunk(Generic[K, V]):
    """A part of a table.

    Attributes:
        messages: in the order of their partitions.
        caught_up: all messages that were there when the reading began have been returned.
        positions: the offset after the last message of each partition.
        waiting: messages behind these positions.
    """

    messages: list[ReceivedMessage[K, V]]
    caught_up: bool
    positions: dict[TopicPartition, int]
    waiting: int = 0


@contextlib.asynccontextmanager
async def table_consumer(cluster: KafkaCluster) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, for explicit assignment; raises RetryableError."""
    consumer = AIOKafkaConsumer(
        **client_options(cluster.settings), enable_auto_commit=False, auto_offset_reset="earliest"
    )
    with kafka_errors(cluster.settings):
        try:
            await consumer.start()
            cluster.readers.add(consumer)
            yield consumer
        finally:
            cluster.readers.discard(consumer)
            await consumer.stop()


async def read_table(
    cluster: KafkaCluster,
    topic: Topic[K, V],
    partitions: Sequence[int] | None = None,
    *,
    start: Mapping[TopicPartition, int] | None = None,
    follow: bool = False,
    decoder: MessageDecoder[K, V] | None = None,
) -> AsyncIterator[TableChunk[K, V]]:
    """Reads a compacted topic from its start.

    Args:
        cluster: the connection.
        topic: the table.
        partitions: all when absent.
        start: the offsets from which partitions are read; each from its start when absent.
        follow: goes on for ever, with a chunk (perhaps an empty one) at least every 100 ms; otherwise the
            reading ends where the table ended when it began.
        decoder: replaces the topic's own decoder.

    Yields:
        Chunks. The first one with `caught_up` set ends the part that was there at the start.
    """
    decoders = cluster.decoders(topic, decoder)

    async def find_ends() -> dict[TopicPartition, int]:
        every = await cluster.partitions(topic)
        chosen = [tp for tp in every if partitions is None or tp.partition in partitions]
        return await cluster.end_offsets(chosen)

    # A reader that follows for ever does not end because Kafka is away when it begins.
    ends = await (retry_until_available(find_ends, _outage()) if follow else find_ends())
    offsets = {tp: start.get(tp, 0) if start else 0 for tp in ends}
    async with _TableReader(cluster, offsets) as reader:
        caught_up = False
        while follow or not caught_up:
            fetched = await reader.poll()
            messages = [decoders[tp.topic](record) for tp, records in fetched.items() for record in records]
            positions = reader.positions
            caught_up = caught_up or all(positions[tp] >= end for tp, end in ends.items())
            waiting = sum(max(0, max(end, reader.highwater(tp)) - positions[tp]) for tp, end in ends.items())
            yield TableChunk(messages, caught_up, positions, waiting)
            await asyncio.sleep(0)  # buffered messages come without a pause


async def read_range(
    cluster: KafkaCluster, topic: Topic[K, V], partition: int, start: int, end: int
) -> AsyncIterator[ReceivedMessage[K, V]]:
    """Reads the messages of one partition from offset `start` up to, not including, `end`."""
    tp = cluster.partition(topic, partition)
    decoder = cluster.decoders(topic)[tp.topic]
    async with _TableReader(cluster, {tp: start}) as reader:
        while reader.positions[tp] < end:
            for record in (await reader.poll()).get(tp, []):
                if record.offset < end:
                    yield decoder(record)


async def has_messages(cluster: KafkaCluster, partition: TopicPartition, start: int, end: int) -> bool:
    """Whether there is any message in a partition from offset `start` up to, not including, `end`."""
    async with _TableReader(cluster, {partition: start}) as reader:
        while reader.positions[partition] < end:
            for record in (await reader.poll()).get(partition, []):
                return bool(record.offset < end)
    return False


class TableTail(Generic[K, V]):
    """Reads on in a topic at each call.

    Args:
        cluster: the connection.
        topic: the table.
        start: the first offset of each partition.
    """

    def __init__(
        self, cluster: KafkaCluster, topic: Topic[K, V], start: Mapping[TopicPartition, int]
    ) -> None:
        self._cluster = cluster
        self._decoders: Mapping[str, MessageDecoder[K, V]] = cluster.decoders(topic)
        self._reader = _TableReader(cluster, dict(start))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reader.__aexit__()

    async def read(self) -> AsyncIterator[TableChunk[K, V]]:
        """What has come since the last call, in chunks; the last one has `caught_up` set.

        Raises:
            RetryableError: Kafka does not answer; the next call goes on.
        """
        ends = await self._cluster.end_offsets(list(self._reader.positions))
        caught_up = False
        while not caught_up:
            fetched: dict[TopicPartition, list[KafkaRecord]] = {}
            if not self._is_at(ends):
                fetched = await self._poll()
            caught_up = self._is_at(ends)
            messages = [
                self._decoders[tp.topic](record) for tp, records in fetched.items() for record in records
            ]
            yield TableChunk(messages, caught_up, dict(self._reader.positions))

    def _is_at(self, ends: Mapping[TopicPartition, int]) -> bool:
        return all(self._reader.positions[tp] >= end for tp, end in ends.items())

    async def _poll(self) -> dict[TopicPartition, list[KafkaRecord]]:
        try:
            async with asyncio.timeout(TAIL_TIMEOUT.total_seconds()):
                return await self._reader.poll()
        except TimeoutError:
            self._reader.reconnect()  # what was fetched and not returned is fetched again
            raise RetryableError("Kafka does not return messages") from None


class _TableReader:
    """Reads partitions from given offsets on; its consumer is replaced when the cluster's clients are.

    An offset that Kafka has deleted is followed by the first one that it has.

    Attributes:
        positions: the offset after the last message read from each partition.
    """

    def __init__(self, cluster: KafkaCluster, positions: dict[TopicPartition, int]) -> None:
        self.positions = positions
        self._cluster = cluster
        self._generation = -1
        self._connection = contextlib.AsyncExitStack()
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.aclose()

    async def _connect(self) -> AIOKafkaConsumer:
        await self._connection.aclose()
        generation = self._cluster.generation
        consumer = await self._connection.enter_async_context(table_consumer(self._cluster))
        consumer.assign(list(self.positions))
        for tp, offset in self.positions.items():
            consumer.seek(tp, offset)
        self._consumer, self._generation = consumer, generation
        return consumer

    async def poll(self) -> dict[TopicPartition, list[KafkaRecord]]:
        """The next messages of each partition that has some, within 100 ms."""
        consumer = self._consumer
        if consumer is None or self._generation != self._cluster.generation:
            consumer = await retry_until_available(self._connect, _outage())
        fetched: dict[TopicPartition, list[KafkaRecord]] = await consumer.getmany(
            timeout_ms=POLL_TIMEOUT_MS, max_records=CHUNK_MESSAGES
        )
        with contextlib.suppress(TimeoutError):  # while Kafka is away, what it deleted stays unknown
            async with asyncio.timeout(POLL_TIMEOUT_MS / 1000):
                self.positions |= {tp: await consumer.position(tp) for tp in self.positions}
        return fetched

    def reconnect(self) -> None:
        """The next poll begins at `positions`, with another consumer."""
        self._generation = -1

    def highwater(self, tp: TopicPartition) -> int:
        """The end of a partition as of the last poll."""
        return (self._consumer.highwater(tp) or 0) if self._consumer else 0


def _outage() -> OutageLog:
    return OutageLog(log, "waiting for Kafka to read a table")

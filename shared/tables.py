"""Reads compacted topics as tables, without a consumer group."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition

from .cluster import KafkaCluster
from .connection import client_options, kafka_errors
from .keys import K
from .messages import MessageDecoder, ReceivedMessage
from .topics import Topic

V = TypeVar("V")

CHUNK_MESSAGES = 1000
"""Messages that are decoded at once; this blocks the event loop for about 20 ms."""
POLL_TIMEOUT_MS = 100


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
            yield consumer
        finally:
            await consumer.stop()


async def read_table(
    cluster: KafkaCluster,
    topic: Topic[K, V],
    partitions: Sequence[int] | None = None,
    *,
    follow: bool = False,
    decoder: MessageDecoder[K, V] | None = None,
) -> AsyncIterator[TableChunk[K, V]]:
    """Reads a compacted topic from its start.

    Args:
        cluster: the connection.
        topic: the table.
        partitions: all when absent.
        follow: goes on for ever, with a chunk (perhaps an empty one) at least every 100 ms; otherwise the
            reading ends where the table ended when it began.
        decoder: replaces the topic's own decoder.

    Yields:
        Chunks. The first one with `caught_up` set ends the part that was there at the start.
    """
    decoders = cluster.decoders(topic, decoder)
    async with table_consumer(cluster) as consumer:
        every = await cluster.partitions(topic)
        assigned = [tp for tp in every if partitions is None or tp.partition in partitions]
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        ends = await consumer.end_offsets(assigned)
        caught_up = False
        while follow or not caught_up:
            fetched = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=CHUNK_MESSAGES)
            messages = [decoders[tp.topic](record) for tp, records in fetched.items() for record in records]
            positions = {tp: await consumer.position(tp) for tp in assigned}
            caught_up = caught_up or all(positions[tp] >= ends[tp] for tp in assigned)
            known_ends = {tp: max(ends[tp], consumer.highwater(tp) or 0) for tp in assigned}
            waiting = sum(max(0, known_ends[tp] - positions[tp]) for tp in assigned)
            yield TableChunk(messages, caught_up, positions, waiting)
            await asyncio.sleep(0)  # buffered messages come without a pause


async def read_range(
    cluster: KafkaCluster, topic: Topic[K, V], partition: int, start: int, end: int
) -> AsyncIterator[ReceivedMessage[K, V]]:
    """Reads the messages of one partition from offset `start` up to, not including, `end`."""
    tp = cluster.partition(topic, partition)
    decoder = cluster.decoders(topic)[tp.topic]
    async with table_consumer(cluster) as consumer:
        consumer.assign([tp])
        consumer.seek(tp, start)
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS)).get(tp, []):
                if record.offset < end:
                    yield decoder(record)

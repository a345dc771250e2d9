"""Sends to Kafka: idempotent, `acks=all`, with a deadline, and never a message that a topic refuses."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from .bus import Headers, Outgoing
from .clock import Clock
from .connection import client_options, kafka_away, passes
from .errors import Rejected, Transient
from .settings import KafkaSettings
from .topics import MAX_DEAD_LETTER_BYTES, MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

ENVELOPE_BYTES = 1000
"""What a record needs at most beside key, value and headers: its batch, and what lz4 adds where it finds nothing to compress."""
REQUEST_TIMEOUT = timedelta(seconds=10)
"""A broker that hangs is given up after this; the default of 40 s stalls everybody for that long."""
SEND_DEADLINE = timedelta(seconds=30)
"""An idempotent producer never gives up by itself."""
MANY = 20
"""From so many records on it pays to fill batches ourselves."""
OVERDUE_BYTES = 32 * 1024 * 1024
"""When so much is past its deadline and still under way, nothing more is taken in until it is gone."""

Raw = tuple[str, bytes | None, bytes | None, Headers]
"""A topic's name on this cluster, key, value, headers."""


class Producer:
    """Sends, and says so only when all replicas in sync have it.

    Args:
        settings: where Kafka is, and what topics are called there.
        source: the CloudEvents source of what is sent.
        clock: for `ce_time`.
        fail: called with an error after which only a new process can go on.
    """

    def __init__(
        self, settings: KafkaSettings, source: str, clock: Clock, fail: Callable[[BaseException], None]
    ) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._fail = fail
        self._producer: AIOKafkaProducer | None = None
        self._overdue = 0

    async def start(self) -> None:
        """Connects; raises Transient where Kafka does not answer."""
        producer = AIOKafkaProducer(
            **client_options(self._settings),
            enable_idempotence=True,
            request_timeout_ms=REQUEST_TIMEOUT // timedelta(milliseconds=1),
            max_request_size=MAX_DEAD_LETTER_BYTES,
            compression_type="lz4",
        )
        try:
            with kafka_away(self._settings):
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer

    async def stop(self) -> None:
        """Flushes what is under way."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            with contextlib.suppress(KafkaError):
                await producer.stop()

    async def partitions_for(self, name: str) -> set[int]:
        """The partition numbers of a topic, by its name on this cluster."""
        with kafka_away(self._settings):
            return set(await self._connected().partitions_for(name))

    async def send(self, *messages: Outgoing, deadline: timedelta = SEND_DEADLINE) -> list[RecordMetadata]:
        """Sends messages, in order for each key, and waits until Kafka has them all.

        Raises:
            Rejected: a message is too large for its topic; nothing was sent.
            Transient: Kafka has not confirmed within the deadline; it may still get them.
        """
        now = self._clock()
        encoded = [
            (self._settings.topic_prefix + message.topic.name, *message.encode(self._source, now))
            for message in messages
        ]
        return await self.send_raw(encoded, deadline=deadline)

    async def send_raw(
        self, records: Sequence[Raw], *, limit: int = MAX_MESSAGE_BYTES, deadline: timedelta = SEND_DEADLINE
    ) -> list[RecordMetadata]:
        """Sends (topic, key, value, headers) as `send` does."""
        producer = self._connected()
        total = 0
        for topic, key, value, headers in records:
            # A batch that the broker refuses poisons an idempotent producer: never offer it one.
            if (needs := size(key, value, headers)) > limit:
                raise Rejected(f"the message is larger than {limit} bytes allow on {topic}")
            total += needs
        if not records:
            return []
        if self._overdue > OVERDUE_BYTES:
            raise Transient("Kafka has not confirmed what was sent before")
        # Not cancelled at the deadline: what is under way may be delivered, and order must hold.
        sending = asyncio.create_task(_deliver(producer, records))
        sending.add_done_callback(_heard)
        await asyncio.wait({sending}, timeout=deadline.total_seconds())
        if not sending.done():
            self._overdue += total
            sending.add_done_callback(lambda late: self._caught_up(late, total))
            raise Transient("Kafka has not confirmed in time")
        try:
            return sending.result()
        except KafkaError as error:
            if passes(error):
                raise Transient(f"Kafka did not take it: {type(error).__name__}") from error
            # The sequence of an idempotent producer is broken now; only a new one can go on.
            self._fail(error)
            raise

    def _caught_up(self, late: "asyncio.Task[list[RecordMetadata]]", size: int) -> None:
        self._overdue -= size
        if not late.cancelled() and (error := late.exception()):
            log.warning("a late message was not delivered", extra={"error": type(error).__name__})

    def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise Transient("not connected to Kafka")
        return self._producer


def _heard(sending: "asyncio.Task[list[RecordMetadata]]") -> None:
    """Also where whoever sent was cancelled and hears no answer: else asyncio complains of an error that nobody looked at."""
    if not sending.cancelled():
        sending.exception()


async def _deliver(producer: AIOKafkaProducer, records: Sequence[Raw]) -> list[RecordMetadata]:
    sending = _one_by_one if len(records) < MANY else _in_batches
    under_way: list[asyncio.Future[RecordMetadata]] = []
    try:
        places = await sending(producer, records, under_way)
    except KafkaError:
        await asyncio.gather(*under_way, return_exceptions=True)
        raise
    batches = await asyncio.gather(*under_way)
    return [batches[batch]._replace(offset=batches[batch].offset + behind) for batch, behind in places]


Place = tuple[int, int]
"""Which of the futures tells where a record came to stand, and how many records further on."""


async def _one_by_one(
    producer: AIOKafkaProducer, records: Sequence[Raw], under_way: "list[asyncio.Future[RecordMetadata]]"
) -> list[Place]:
    for topic, key, value, headers in records:
        under_way.append(await producer.send(topic, value=value, key=key, headers=headers))
    return [(number, 0) for number in range(len(records))]


async def _in_batches(
    producer: AIOKafkaProducer, records: Sequence[Raw], under_way: "list[asyncio.Future[RecordMetadata]]"
) -> list[Place]:
    """The same for a third of the CPU: batches are filled here, and there is one future for each."""
    numbers = {
        topic: sorted(await producer.partitions_for(topic)) for topic in {topic for topic, *_ in records}
    }
    filling: dict[TopicPartition, tuple[BatchBuilder, list[int]]] = {}
    places: list[Place] = [(0, 0)] * len(records)

    async def offer(tp: TopicPartition) -> None:
        batch, inside = filling.pop(tp)
        for behind, number in enumerate(inside):
            places[number] = len(under_way), behind
        under_way.append(await producer.send_batch(batch, tp.topic, partition=tp.partition))

    for number, (topic, key, value, headers) in enumerate(records):
        tp = TopicPartition(topic, _partition(key, len(numbers[topic])))
        if (
            tp in filling
            and filling[tp][0].append(timestamp=None, key=key, value=value, headers=headers) is None
        ):
            await offer(tp)
        if tp not in filling:
            filling[tp] = producer.create_batch(), []
            filling[tp][0].append(
                timestamp=None, key=key, value=value, headers=headers
            )  # an empty one takes any
        filling[tp][1].append(number)
    for tp in list(filling):
        await offer(tp)
    return places


@lru_cache(maxsize=100_000)
def _partition(key: bytes | None, count: int) -> int:
    """The default partitioner, remembered: in Python it costs as much as all else that is done for a message."""
    return int(DefaultPartitioner()(key, range(count), ()))


def size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes that a record takes in a topic, generously."""
    return (
        ENVELOPE_BYTES
        + len(key or b"")
        + len(value or b"")
        + sum(len(name.encode()) + len(content or b"") + 10 for name, content in headers)
    )

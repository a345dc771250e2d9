"""The producer: idempotent, `acks=all`, with a deadline, and never a message that a topic refuses."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import TypeAlias

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from .clock import Clock
from .connection import client_options, is_retryable, kafka_errors
from .errors import InvalidMessageError, RetryableError
from .messages import Headers, OutgoingMessage
from .settings import KafkaSettings
from .topics import MAX_DEAD_LETTER_BYTES, MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

RECORD_OVERHEAD_BYTES = 1000
"""Upper bound of what a record needs beside key, value and headers: the batch, and lz4's own overhead."""
SEND_DEADLINE = timedelta(seconds=30)
"""An idempotent producer never gives up by itself."""
BATCH_THRESHOLD = 20
"""Number of records from which batches that we fill ourselves cost less CPU than one `send` each."""
MAX_OVERDUE_BYTES = 32 * 1024 * 1024
"""When so many bytes are past their deadline and still in flight, `send` refuses further messages."""

EncodedMessage: TypeAlias = tuple[str, bytes | None, bytes | None, Headers]
"""Full topic name, key, value, headers."""


class Producer:
    """Sends messages and returns when all in-sync replicas have them.

    Args:
        settings: address of Kafka and the prefix of topic names.
        source: the CloudEvents source of the messages.
        clock: for `ce_time`.
        on_fatal: called with an error after which only a new process can go on.
    """

    def __init__(
        self, settings: KafkaSettings, source: str, clock: Clock, on_fatal: Callable[[BaseException], None]
    ) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._on_fatal = on_fatal
        self._producer: AIOKafkaProducer | None = None
        self._overdue_bytes = 0

    async def start(self) -> None:
        """Connects; raises RetryableError when Kafka does not answer."""
        producer = AIOKafkaProducer(
            **client_options(self._settings),
            enable_idempotence=True,
            max_request_size=MAX_DEAD_LETTER_BYTES,
            compression_type="lz4",
        )
        # aiokafka gives up a batch whose partition has no leader for too long, and has counted it in the
        # producer's sequence: Kafka refuses every later batch. Here only the deadline of `send` gives up.
        producer._message_accumulator._batch_ttl = math.inf  # noqa: SLF001  # it has no option
        try:
            with kafka_errors(self._settings):
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer

    @property
    def client(self) -> AIOKafkaProducer | None:
        """Aiokafka's producer; None when it is not connected."""
        return self._producer

    async def stop(self) -> None:
        """Flushes the messages in flight and disconnects."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            with contextlib.suppress(KafkaError):
                await producer.stop()

    async def partitions_for(self, full_name: str) -> set[int]:
        """The partition numbers of a topic."""
        with kafka_errors(self._settings):
            return set(await self._connected().partitions_for(full_name))

    async def send(
        self, *messages: OutgoingMessage, deadline: timedelta = SEND_DEADLINE
    ) -> list[RecordMetadata]:
        """Sends messages, in order for each key, and waits until Kafka has acknowledged all of them.

        Raises:
            InvalidMessageError: a message is too large for its topic; nothing was sent.
            RetryableError: Kafka has not acknowledged within the deadline; it may still store them.
        """
        now = self._clock()
        prefix = self._settings.topic_prefix
        encoded = [(prefix + each.topic.name, *each.encode(self._source, now)) for each in messages]
        return await self.send_encoded(encoded, deadline=deadline)

    async def send_encoded(
        self,
        messages: Sequence[EncodedMessage],
        *,
        max_bytes: int = MAX_MESSAGE_BYTES,
        deadline: timedelta = SEND_DEADLINE,
    ) -> list[RecordMetadata]:
        """Sends encoded messages as `send` does."""
        producer = self._connected()
        total = 0
        for topic, key, value, headers in messages:
            # A batch that the broker refuses breaks an idempotent producer: never send it one.
            if (needed := message_size(key, value, headers)) > max_bytes:
                raise InvalidMessageError(f"the message is larger than {max_bytes} bytes allow on {topic}")
            total += needed
        if not messages:
            return []
        if self._overdue_bytes > MAX_OVERDUE_BYTES:
            raise RetryableError("Kafka has not acknowledged earlier messages")
        # The task is not cancelled at the deadline: it may still deliver, and the order must hold.
        delivery = asyncio.create_task(_deliver(producer, messages))
        delivery.add_done_callback(_retrieve_error)
        await asyncio.wait({delivery}, timeout=deadline.total_seconds())
        if not delivery.done():
            self._overdue_bytes += total
            delivery.add_done_callback(lambda late: self._on_late_delivery(late, total))
            raise RetryableError("Kafka has not acknowledged in time")
        try:
            return delivery.result()
        except KafkaError as error:
            if is_retryable(error):
                raise RetryableError(f"Kafka did not store the messages: {type(error).__name__}") from error
            # The sequence of the idempotent producer is broken; only a new producer can go on.
            self._on_fatal(error)
            raise

    def _on_late_delivery(self, late: "asyncio.Task[list[RecordMetadata]]", size: int) -> None:
        self._overdue_bytes -= size
        if not late.cancelled() and (error := late.exception()):
            log.warning("late message not delivered", extra={"error": type(error).__name__})

    def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RetryableError("not connected to Kafka")
        return self._producer


def _retrieve_error(delivery: "asyncio.Task[list[RecordMetadata]]") -> None:
    """Retrieves the error of a delivery whose sender was cancelled: asyncio logs unretrieved errors."""
    if not delivery.cancelled():
        delivery.exception()


_Location: TypeAlias = tuple[int, int]
"""Index of the future that returns a record's offset, and the record's distance from that offset."""


async def _deliver(producer: AIOKafkaProducer, messages: Sequence[EncodedMessage]) -> list[RecordMetadata]:
    send = _send_singly if len(messages) < BATCH_THRESHOLD else _send_in_batches
    in_flight: list[asyncio.Future[RecordMetadata]] = []
    try:
        locations = await send(producer, messages, in_flight)
    except KafkaError:
        await asyncio.gather(*in_flight, return_exceptions=True)
        raise
    stored = await asyncio.gather(*in_flight)
    return [stored[batch]._replace(offset=stored[batch].offset + distance) for batch, distance in locations]


async def _send_singly(
    producer: AIOKafkaProducer,
    messages: Sequence[EncodedMessage],
    in_flight: "list[asyncio.Future[RecordMetadata]]",
) -> list[_Location]:
    for topic, key, value, headers in messages:
        in_flight.append(await producer.send(topic, value=value, key=key, headers=headers))
    return [(number, 0) for number in range(len(messages))]


async def _send_in_batches(
    producer: AIOKafkaProducer,
    messages: Sequence[EncodedMessage],
    in_flight: "list[asyncio.Future[RecordMetadata]]",
) -> list[_Location]:
    """Fills batches here, with one future for each batch: a third of the CPU of single sends."""
    topics = {topic for topic, *_ in messages}
    partition_numbers = {topic: sorted(await producer.partitions_for(topic)) for topic in topics}
    open_batches: dict[TopicPartition, tuple[BatchBuilder, list[int]]] = {}
    locations: list[_Location] = [(0, 0)] * len(messages)

    async def send_batch(tp: TopicPartition) -> None:
        batch, numbers = open_batches.pop(tp)
        for distance, number in enumerate(numbers):
            locations[number] = len(in_flight), distance
        in_flight.append(await producer.send_batch(batch, tp.topic, partition=tp.partition))

    for number, (topic, key, value, headers) in enumerate(messages):
        tp = TopicPartition(topic, _partition_of(key, len(partition_numbers[topic])))
        record = {"timestamp": None, "key": key, "value": value, "headers": headers}
        if tp in open_batches and open_batches[tp][0].append(**record) is None:
            await send_batch(tp)
        if tp not in open_batches:
            open_batches[tp] = producer.create_batch(), []
            open_batches[tp][0].append(**record)  # an empty batch accepts any record
        open_batches[tp][1].append(number)
    for tp in list(open_batches):
        await send_batch(tp)
    return locations


@lru_cache(maxsize=100_000)
def _partition_of(key: bytes | None, count: int) -> int:
    """The default partitioner, cached: in pure Python it costs as much as everything else per message."""
    return int(DefaultPartitioner()(key, range(count), ()))


def message_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Upper bound of the bytes that a record needs in a topic."""
    header_bytes = sum(len(name.encode()) + len(content or b"") + 10 for name, content in headers)
    return RECORD_OVERHEAD_BYTES + len(key or b"") + len(value or b"") + header_bytes

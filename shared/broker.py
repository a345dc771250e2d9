"""Kafka with our rules on: one factory, and no subscriber can weaken it.

FastStream and aiokafka lose messages by default. Here every subscriber is a batch one with manual
commits after the work, drained and gated at rebalances; every message is decoded by itself, so that
a bad one goes to its dead-letter topic and takes no neighbour with it; every producer is idempotent
with `acks=all`.
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import RecordMetadata
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from faststream.kafka.message import KafkaAckableMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from .bus import Headers, Outgoing, Position, Received, decode, decode_record
from .clock import Clock
from .errors import Rejected, Transient
from .records import AnyRecord
from .settings import KafkaSettings
from .telemetry import DEAD_LETTERS, LAG_MESSAGES, LAG_SECONDS
from .topics import MAX_MESSAGE_BYTES, RECORDS, Topic

log = logging.getLogger(__name__)
V = TypeVar("V")

ENVELOPE_BYTES = 200
"""What Kafka adds to a record at most, beside key, value and headers."""
DEAD_LETTER_BYTES = 2 * MAX_MESSAGE_BYTES
"""Limit of a dead-letter topic: the original at its largest, and the headers that say why."""
REBALANCE_TIMEOUT = timedelta(seconds=60)
"""Longer than the longest batch, or a waiting member is thrown out and the next one waits."""
HEARTBEAT = timedelta(milliseconds=500)
BACK_OFF = (0.2, 15.0)
"""Seconds before the first retry of a batch, and at most."""
SEND_DEADLINE = timedelta(seconds=30)
"""An idempotent producer never gives up by itself."""
LATE = (CommitFailedError, IllegalGenerationError, IllegalStateError, RebalanceInProgressError, UnknownMemberIdError)
"""What a commit says that came after the partition had moved on: the next owner does the batch again."""


@dataclass(slots=True)
class Batch(Generic[V]):
    """Messages in the order of their partitions; those with `refused` set become dead letters."""

    messages: list[Received[V]]
    rejections: list[tuple[Received[V], Rejected]] = field(default_factory=list)

    @property
    def good(self) -> list[Received[V]]:
        """The messages that could be read."""
        return [message for message in self.messages if message.refused is None]

    def reject(self, message: Received[V], reason: Rejected) -> None:
        """Sends one message to its dead-letter topic; the others of the batch go on."""
        self.rejections.append((message, reason))


Decoder = Callable[["ConsumerRecord[bytes, bytes]"], Received[Any]]
OnBatch = Callable[[Batch[Any]], Awaitable[None]]
StartAt = Callable[[Sequence[TopicPartition]], Awaitable[dict[TopicPartition, int]]]
"""Asked at every assignment: the offsets to start from; a partition left out starts at its commit."""


class Kafka:
    """A service's connection to Kafka.

    Args:
        settings: where it is and how it is secured.
        source: the service's name: CloudEvents `source`, and group ids with it.
        clock: for `ce_time`.
        instance: a replica's stable name, for static membership.
    """

    def __init__(self, settings: KafkaSettings, source: str, clock: Clock, instance: str | None = None) -> None:
        self.settings = settings
        self.source = source
        self.clock = clock
        self._instance = instance
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.producer = Producer(self)
        self.subscriptions: list[Subscription] = []
        self._broker = KafkaBroker(
            settings.kafka_bootstrap_servers.split(","),
            security=_security(settings),
            enable_idempotence=True,
            allow_auto_create_topics=False,
            graceful_timeout=5.0,
            ack_policy=AckPolicy.MANUAL,
            apply_types=False,
            logger=None,
        )

    def name(self, topic: Topic | str) -> str:
        """What a topic or a group is called on this cluster."""
        return self.settings.topic_prefix + (topic.name if isinstance(topic, Topic) else topic)

    def record_topics(self) -> dict[str, Decoder]:
        """The topics of record events, by their names here, each with its decoder."""
        return {self.name(topic): _record_decoder(tenants) for topic, tenants in self.settings.records_topics.items()}

    def decoders(self, topic: Topic) -> dict[str, Decoder]:
        """The names of a topic here, and how its messages are read."""
        if topic is RECORDS:
            return self.record_topics()
        return {self.name(topic): lambda record: decode(topic, record)}

    def subscribe(self, topic: Topic, on_batch: OnBatch, *, start_at: StartAt | None = None, max_records: int = 500) -> "Subscription":
        """Reads a topic in this service's group, from the first message that it has not done.

        Args:
            topic: `RECORDS` stands for all topics of record events.
            on_batch: does the work; offsets are committed after it returns. `Transient` makes it try
                again, anything else stops the process.
            start_at: see `StartAt`; partitions stand still until it has answered.
            max_records: the most that one batch holds; one should take well under a second.
        """
        subscription = Subscription(self, topic, on_batch, start_at)
        decoders = self.decoders(topic)
        subscriber = self._broker.subscriber(
            *decoders,
            batch=True,
            group_id=self.name(self.source),
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
        subscription.attach(subscriber)
        self.subscriptions.append(subscription)
        return subscription

    async def start(self) -> None:
        """Connects; raises Transient where Kafka cannot be reached."""
        try:
            await self.producer.start()
            await self._broker.start()
        except KafkaConnectionError as away:
            await self.producer.stop()
            raise Transient(f"Kafka does not answer at {self.settings.kafka_bootstrap_servers}: {away}") from away

    async def stop(self) -> None:
        """Finishes the batches in flight, commits, leaves."""
        await self._broker.stop()
        await self.producer.stop()

    async def ping(self) -> bool:
        """Does Kafka answer within a second?"""
        return await self._broker.ping(1.0)

    def fail(self, error: BaseException) -> None:
        """The third fate: the process must stop."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def partitions(self, topic: Topic | str) -> list[TopicPartition]:
        """A topic's partitions, in order."""
        name = self.name(topic) if isinstance(topic, Topic) else topic
        return [TopicPartition(name, number) for number in sorted(await self.producer.partitions_for(name))]

    @contextlib.asynccontextmanager
    async def consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A plain consumer without a group, for reading tables by explicit assignment."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers.split(","),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **client_security(self.settings),
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def read_table(self, topic: Topic, partitions: Sequence[int] | None = None, *, follow: bool = False) -> "AsyncIterator[Chunk]":
        """Reads a table from its start.

        Args:
            topic: a compacted topic.
            partitions: all of them when absent.
            follow: go on for ever; otherwise it ends where the table ended when the reading began.

        Yields:
            Chunks; the first one with `caught_up` set ends the part that was there at the start.
        """
        decoders = self.decoders(topic)
        async with self.consumer() as consumer:
            assigned = [tp for name in decoders for tp in await self.partitions(name) if partitions is None or tp.partition in partitions]
            consumer.assign(assigned)
            await consumer.seek_to_beginning(*assigned)
            ends = await consumer.end_offsets(assigned)
            behind = {tp for tp in assigned if ends[tp] > 0}
            while True:
                behind = {tp for tp in behind if await consumer.position(tp) < ends[tp]}
                if not behind and not follow:
                    yield Chunk([], True, dict(ends))
                    return
                fetched = await consumer.getmany(timeout_ms=100, max_records=5000)
                messages = [decoders[tp.topic](record) for tp, records in fetched.items() for record in records]
                behind = {tp for tp in behind if await consumer.position(tp) < ends[tp]}
                yield Chunk(messages, not behind, {tp: await consumer.position(tp) for tp in assigned})


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a table: its messages in order, and the position after them."""

    messages: list[Received[Any]]
    caught_up: bool
    positions: dict[TopicPartition, int]


class Producer:
    """Sends, and says so only when all replicas in sync have it."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connects."""
        settings = self._kafka.settings
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka_bootstrap_servers.split(","),
            enable_idempotence=True,
            request_timeout_ms=10_000,
            max_request_size=DEAD_LETTER_BYTES,
            compression_type="lz4",
            **client_security(settings),
        )
        try:
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
        return set(await self._connected().partitions_for(name))

    async def send(self, *messages: Outgoing, deadline: timedelta = SEND_DEADLINE) -> list[RecordMetadata]:
        """Sends messages, in order for each key, and waits until Kafka has them all.

        Raises:
            Rejected: a message is too large for its topic; nothing was sent.
            Transient: Kafka has not confirmed within the deadline; it may still get them.
        """
        now = self._kafka.clock()
        encoded = [(self._kafka.name(message.topic), *message.encode(self._kafka.source, now)) for message in messages]
        return await self.send_raw(encoded, deadline=deadline)

    async def send_raw(
        self, records: Sequence[tuple[str, bytes | None, bytes | None, Headers]], *, limit: int = MAX_MESSAGE_BYTES, deadline: timedelta = SEND_DEADLINE
    ) -> list[RecordMetadata]:
        """Sends (topic, key, value, headers) as `send` does."""
        producer = self._connected()
        for topic, key, value, headers in records:
            # A batch that the broker refuses poisons an idempotent producer: never offer it one.
            if size(key, value, headers) > limit:
                raise Rejected(f"the message is larger than {limit} bytes allow on {topic}")
        futures: list[asyncio.Future[RecordMetadata]] = []

        async def enqueue() -> None:
            for topic, key, value, headers in records:
                futures.append(await producer.send(topic, value=value, key=key, headers=headers))
            await asyncio.wait(futures)

        if records:
            # Not cancelled at the deadline: what is under way may be delivered, and order must hold.
            task = asyncio.create_task(enqueue())
            _, late = await asyncio.wait({task}, timeout=deadline.total_seconds())
            if late:
                task.add_done_callback(_quiet)
                raise Transient("Kafka has not confirmed in time")
            await task
        try:
            return [future.result() for future in futures]
        except (KafkaTimeoutError, KafkaConnectionError) as away:
            raise Transient(f"Kafka does not answer: {type(away).__name__}") from away
        except KafkaError as error:
            # The sequence of an idempotent producer is broken now; only a new one can go on.
            self._kafka.fail(error)
            raise

    def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise Transient("not connected to Kafka")
        return self._producer


def _quiet(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        log.warning("a late send failed", extra={"error": type(error).__name__})


class Subscription(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One topic read in a group: drain, gate, dead letters, and the three fates."""

    def __init__(self, kafka: Kafka, topic: Topic, on_batch: OnBatch, start_at: StartAt | None) -> None:
        self.topic = topic
        self.paused = False
        self.assigned: frozenset[TopicPartition] = frozenset()
        self._kafka = kafka
        self._on_batch = on_batch
        self._start_at = start_at
        self._decoders = kafka.decoders(topic)
        self._in_flight = asyncio.Lock()
        self._closed = True
        self._failures = 0
        self._seeking: asyncio.Task[None] | None = None
        self._resuming: asyncio.Task[None] | None = None
        self._subscriber: Any = None
        self._doing: dict[TopicPartition, int] = {}
        self._done: dict[TopicPartition, tuple[int, int]] = {}

    def attach(self, subscriber: Any) -> None:
        """Makes FastStream's subscriber call us."""
        self._subscriber = subscriber
        subscriber(self._handle)

    @property
    def consumer(self) -> AIOKafkaConsumer:
        return self._subscriber.consumer

    async def parse(self, records: "tuple[ConsumerRecord[bytes, bytes], ...]") -> Any:
        """FastStream's parser is bypassed: it drops what it cannot read."""
        return KafkaAckableMessage(
            raw_message=records, body=b"", headers={}, batch_headers=[], message_id=str(records[0].offset), consumer=self._subscriber.consumer
        )

    async def undecoded(self, message: Any) -> Any:
        """FastStream decodes nothing: one bad message would cost its whole batch."""
        return message.raw_message

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Waits for the batch in flight, which commits inside the lock."""
        self._closed = True
        for task in (self._seeking, self._resuming):
            if task:
                task.cancel()
        async with self._in_flight:
            self.assigned = frozenset()
            self._done.clear()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Opens the gate; where the start is ours to say, not before it is known."""
        self._closed = False  # before any await: what the gate drops now would be skipped, not fetched again
        self.assigned = frozenset(assigned)
        self.paused = False
        if self._start_at and assigned:
            self.consumer.pause(*assigned)
            self.paused = True
            self._seeking = asyncio.create_task(self._seek(frozenset(assigned)))

    async def _seek(self, assigned: frozenset[TopicPartition]) -> None:
        assert self._start_at
        try:
            while True:
                try:
                    offsets = await self._start_at(sorted(assigned))
                    break
                except Transient as away:
                    log.warning("cannot say yet where to start", extra={"topic": self.topic.name, "why": str(away)})
                    await asyncio.sleep(1)
            for tp, offset in offsets.items():
                self.consumer.seek(tp, offset)
            self.consumer.resume(*assigned)
            self.paused = False
        except Exception as error:
            self._kafka.fail(error)

    async def _handle(self, records: "tuple[ConsumerRecord[bytes, bytes], ...]", message: KafkaMessage | None = None) -> None:
        async with self._in_flight:
            if self._closed:
                return  # fetched before the revocation: left uncommitted, the next owner fetches it again
            first: dict[TopicPartition, int] = {}
            after: dict[TopicPartition, int] = {}
            for record in records:
                tp = TopicPartition(record.topic, record.partition)
                first.setdefault(tp, record.offset)
                after[tp] = record.offset + 1
            self._doing = first
            try:
                await self._work(records)
            except Transient as away:
                self._try_again(first, away)
                return
            except BaseException as error:
                self._closed = True
                self._kafka.fail(error)
                if not isinstance(error, Exception):
                    raise
                return
            self._failures = 0
            try:
                await self.consumer.commit(after)
            except LATE as late:
                log.info("a commit came late", extra={"topic": self.topic.name, "error": type(late).__name__})
            except KafkaError as away:
                # Harmless: the next commit says the same and more, or the messages come again.
                log.warning("a commit failed", extra={"topic": self.topic.name, "error": type(away).__name__})
            for record in records:
                self._done[TopicPartition(record.topic, record.partition)] = record.offset + 1, record.timestamp
            self._doing = {}

    async def _work(self, records: "tuple[ConsumerRecord[bytes, bytes], ...]") -> None:
        batch: Batch[Any] = Batch([self._decoders[record.topic](record) for record in records])
        await self._on_batch(batch)
        refused = [(message, message.refused) for message in batch.messages if message.refused]
        letters = [(self._kafka.name(self.topic.dead_letters), *_dead_letter(message, reason)) for message, reason in [*refused, *batch.rejections]]
        await self._kafka.producer.send_raw(letters, limit=DEAD_LETTER_BYTES)
        for message, reason in [*refused, *batch.rejections]:
            DEAD_LETTERS.labels(self.topic.name).inc()
            log.warning("a message was refused", extra={**_where(message.at), "field": reason.field, "why": reason.reason})

    def _try_again(self, first: dict[TopicPartition, int], away: Transient) -> None:
        """Back to the batch's start; polling goes on with the partitions paused."""
        pause = min(BACK_OFF[0] * 2**self._failures, BACK_OFF[1]) * random.uniform(0.5, 1)  # noqa: S311  # jitter, no secret
        self._failures += 1
        log.warning("will try again", extra={"topic": self.topic.name, "why": str(away), "seconds": round(pause, 2)})
        assigned = sorted(self.assigned)
        self.consumer.pause(*assigned)
        self.paused = True
        for tp, offset in first.items():
            self.consumer.seek(tp, offset)
        self._resuming = asyncio.create_task(self._resume(assigned, pause))

    async def _resume(self, assigned: Sequence[TopicPartition], after: float) -> None:
        await asyncio.sleep(after)
        self.consumer.resume(*assigned)
        self.paused = False

    async def lag(self) -> dict[TopicPartition, int]:
        """Messages that wait in each partition of this replica, the batch in hand included."""
        if not self.assigned:
            return {}
        waiting = {}
        for tp, end in (await self.consumer.end_offsets(sorted(self.assigned))).items():
            if tp in self._doing:
                next_offset = self._doing[tp]
            elif tp in self._done:
                next_offset = self._done[tp][0]
            else:
                next_offset = await self.consumer.position(tp)
            waiting[tp] = max(0, end - next_offset)
        return waiting

    async def measure(self) -> None:
        """Brings the lag's gauges up to date."""
        now_ms = int(self._kafka.clock().timestamp() * 1000)
        for tp, waiting in (await self.lag()).items():
            labels = self._kafka.source, self.topic.name, str(tp.partition)
            LAG_MESSAGES.labels(*labels).set(waiting)
            last = self._done.get(tp, (0, now_ms))[1]
            LAG_SECONDS.labels(*labels).set(max(0.0, (now_ms - last) / 1000) if waiting else 0.0)

    def silent_for(self, now_ms: int) -> float:
        """Seconds since the last poll that reached Kafka; 0 where nothing is assigned."""
        consumer = self._subscriber.consumer
        if not consumer or not self.assigned:
            return 0.0
        polls = [consumer.last_poll_timestamp(tp) for tp in self.assigned]
        known = [poll for poll in polls if poll]
        return max(0.0, (now_ms - max(known)) / 1000) if known else 0.0


def _dead_letter(message: Received[Any], reason: Rejected) -> tuple[bytes | None, bytes | None, Headers]:
    """The original bytes, with headers that hold position, error class and field path, never a value."""
    raw = message.raw
    headers: Headers = [(key, value) for key, value in raw.headers if key.startswith("ce_") and value is not None and len(value) < 1000]
    headers += [
        ("dead_letter_topic", message.at.topic.encode()),
        ("dead_letter_partition", str(message.at.partition).encode()),
        ("dead_letter_offset", str(message.at.offset).encode()),
        ("dead_letter_error", reason.reason.encode()[:500]),
        ("dead_letter_field", reason.field.encode()[:500]),
    ]
    return raw.key, raw.value if message.topic.copied_to_dead_letters else None, headers


def _where(at: Position) -> dict[str, Any]:
    return {"topic": at.topic, "partition": at.partition, "offset": at.offset}


def _record_decoder(tenants: Sequence[str]) -> "Callable[[ConsumerRecord[bytes, bytes]], Received[AnyRecord]]":
    return lambda record: decode_record(RECORDS, tenants, record)


def size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes that a record takes in a topic, generously."""
    return ENVELOPE_BYTES + len(key or b"") + len(value or b"") + sum(len(name) + len(content) + 10 for name, content in headers)


def _ms(time: timedelta) -> int:
    return time // timedelta(milliseconds=1)


def _ssl(settings: KafkaSettings) -> ssl.SSLContext | None:
    if "SSL" not in settings.kafka_security_protocol.split("_"):
        return None
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    if settings.kafka_ssl_certfile:
        context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile)
    return context


SASL = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}


def _security(settings: KafkaSettings) -> BaseSecurity:
    context = _ssl(settings)
    if settings.kafka_security_protocol.startswith("SASL") and settings.kafka_sasl_username and settings.kafka_sasl_password:
        kind = SASL[settings.kafka_sasl_mechanism]
        return kind(settings.kafka_sasl_username, settings.kafka_sasl_password.get_secret_value(), ssl_context=context, use_ssl=context is not None)
    return BaseSecurity(ssl_context=context, use_ssl=context is not None)


def client_security(settings: KafkaSettings) -> dict[str, Any]:
    """The same for a plain aiokafka client."""
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol, "ssl_context": _ssl(settings)}
    if settings.kafka_security_protocol.startswith("SASL") and settings.kafka_sasl_username and settings.kafka_sasl_password:
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": settings.kafka_sasl_password.get_secret_value(),
        }
    return options

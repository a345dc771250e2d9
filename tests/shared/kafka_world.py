"""Group members under test, service processes, and an observer of Kafka by plain clients."""

import asyncio
import contextlib
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from shared.broker import Batch, KafkaClient, OnBatch, StartOffsets, TopicConsumer
from shared.clock import system_clock
from shared.lag import ConsumerLag
from shared.messages import ValidMessage
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, MATCHER, Topic
from tests.support import forks
from tests.support.raw_batches import NO_COMPRESSION, RawMessage, send_batch

from .examples import EMAIL

SERVICE = MATCHER


async def eventually(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Waits until a condition is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        await asyncio.sleep(0.01)


async def until_no_lag(consumer: TopicConsumer[Any, Any], seconds: float = 20) -> None:
    """Waits until no message waits."""
    async with asyncio.timeout(seconds):
        while await ConsumerLag(consumer).total():  # noqa: ASYNC110  # Kafka has no event for it
            await asyncio.sleep(0.05)


class Sink:
    """A handler that collects the valid messages.

    Args:
        work: seconds that each batch takes.
    """

    def __init__(self, work: float = 0.0) -> None:
        self.messages: list[ValidMessage[Any, Any]] = []
        self.batches = 0
        self._work = work

    async def __call__(self, batch: Batch[Any, Any]) -> None:
        await asyncio.sleep(self._work)
        self.batches += 1
        self.messages += batch.valid

    @property
    def items(self) -> list[str]:
        """The last part of each message's key."""
        return [message.key[-1] for message in self.messages]

    @property
    def processed(self) -> Counter[tuple[int, int]]:
        """How often each (partition, offset) was processed."""
        positions = (message.position for message in self.messages)
        return Counter((position.partition, position.offset) for position in positions)


@contextlib.asynccontextmanager
async def member(
    settings: KafkaSettings,
    on_batch: OnBatch[Any, Any],
    topic: Topic[Any, Any] = ACTIVITIES,
    instance: str | None = None,
    start_offsets: StartOffsets | None = None,
    max_records: int = 500,
) -> AsyncIterator[TopicConsumer[Any, Any]]:
    """A running group member, as a service has one."""
    kafka = KafkaClient(settings, SERVICE, system_clock, instance)
    consumer = kafka.consumer(topic, max_records=max_records)
    consumer.handle(on_batch, start_offsets)
    await kafka.start()
    try:
        yield consumer
    finally:
        await kafka.drain()
        await kafka.stop()
        if kafka.failed.done():
            kafka.failed.exception()  # retrieved, so that asyncio does not log it


class ServiceProcess:
    """The service of `counting_service.py` as a process."""

    def __init__(self, settings: KafkaSettings, folder: Path, environment: Mapping[str, Any]) -> None:
        self.output, self.log = folder / "output", folder / "log"
        variables: dict[str, Any] = {
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "KAFKA_REPLICATION": 1,
            "KAFKA_SESSION_TIMEOUT": "PT3S",
            "TOPIC_PREFIX": settings.topic_prefix,
            "OUTPUT": self.output,
            **environment,
        }
        folder.mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            self._process = forks.popen(
                "tests.shared.counting_service",
                env={name: str(value) for name, value in variables.items()},
                stderr=log,
            )

    @property
    def processed(self) -> Counter[str]:
        """How often each item was processed."""
        return Counter(self.output.read_text().split()) if self.output.exists() else Counter()

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def has_logged(self, message: str) -> bool:
        """True when its log has this message."""
        return any(line["message"] == message for line in self.log_lines)

    @property
    def url(self) -> str:
        """The address of its HTTP interface."""
        return next(
            f"http://127.0.0.1:{line['port']}" for line in self.log_lines if line["message"] == "listening"
        )

    async def exit_status(self, within: float = 30) -> int:
        """Waits until it ends, and returns the exit status."""
        return await asyncio.to_thread(self._process.wait, within)

    def send(self, number: signal.Signals) -> bool:
        """Sends a signal; False when the process has ended."""
        if self._process.poll() is not None:
            return False
        self._process.send_signal(number)
        return True

    async def stop(self, number: signal.Signals, within: float = 30) -> int:
        """Sends a signal, and returns the exit status."""
        self.send(number)
        return await self.exit_status(within)


@contextlib.asynccontextmanager
async def process(settings: KafkaSettings, folder: Path, **environment: Any) -> AsyncIterator[ServiceProcess]:
    """Runs the service as a process."""
    running = ServiceProcess(settings, folder, environment)
    try:
        yield running
    finally:
        running._process.kill()
        running._process.wait()


class KafkaObserver:
    """Writes and reads topics by plain clients, without the code under test."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
        self._admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)

    async def __aenter__(self) -> Self:
        await self._producer.start()
        await self._admin.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()
        await self._admin.close()

    def full_name(self, topic: Topic[Any, Any] | str) -> str:
        return self._settings.topic_prefix + (topic.name if isinstance(topic, Topic) else topic)

    async def write(
        self,
        topic: Topic[Any, Any] | str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, Any]] | None = None,
        partition: int | None = None,
    ) -> None:
        """Writes one message unchanged."""
        await self._producer.send_and_wait(
            self.full_name(topic), value, key, partition=partition, headers=headers or []
        )

    async def write_batch(
        self, topic: Topic[Any, Any], messages: Sequence[RawMessage], compression: int = NO_COMPRESSION
    ) -> None:
        """Writes messages to partition 0 as one batch."""
        await send_batch(self._producer, self.full_name(topic), messages, compression=compression)

    async def write_activities(self, *items: str, partition: int | None = 0) -> None:
        """Writes valid activities with these item ids."""
        headers = [("ce_type", EMAIL.ce_type.encode()), ("ce_version", b"1")]
        for item in items:
            activity = EMAIL.model_copy(update={"item": item})
            await self.write(
                ACTIVITIES,
                f"contoso/mia/{item}".encode(),
                activity.model_dump_json().encode(),
                headers,
                partition,
            )

    async def read_all(self, topic: Topic[Any, Any] | str) -> "list[ConsumerRecord[bytes, bytes]]":
        """All records that are in a topic now."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            partitions = [
                TopicPartition(self.full_name(topic), number)
                for number in sorted(await self._producer.partitions_for(self.full_name(topic)))
            ]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[ConsumerRecord[bytes, bytes]] = []
            while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def dead_letters(self, topic: Topic[Any, Any] = ACTIVITIES) -> "list[ConsumerRecord[bytes, bytes]]":
        """The dead letters of a topic, in the order of the original positions."""

        def original_position(letter: "ConsumerRecord[bytes, bytes]") -> tuple[bytes, int, int]:
            headers = dict(letter.headers)
            return (
                headers["dead_letter_topic"],
                int(headers["dead_letter_partition"]),
                int(headers["dead_letter_offset"]),
            )

        return sorted(await self.read_all(topic.dead_letters), key=original_position)

    async def committed(self, topic: Topic[Any, Any] = ACTIVITIES) -> dict[int, int]:
        """Partition -> the offset that the group has committed, where it has committed any."""
        found = await self._admin.list_consumer_group_offsets(self.full_name(f"{SERVICE}.{topic.name}"))
        return {tp.partition: offset.offset for tp, offset in found.items() if offset.offset > 0}

"""Members of a group to be tested, and a view of Kafka from outside, by plain clients."""

import asyncio
import contextlib
import json
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.record._crc32c import crc

from shared.broker import Batch, Kafka, OnBatch, Subscription
from shared.bus import Received
from shared.clock import system_clock
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, Topic

from .examples import EMAIL

READER = "matcher"


async def eventually(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Returns once it is so; fails where it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.01)


async def all_done(subscription: Subscription, seconds: float = 20) -> None:
    """Returns once nothing waits."""
    async with asyncio.timeout(seconds):
        while await subscription.backlog():  # noqa: ASYNC110  # Kafka has no event for it
            await asyncio.sleep(0.05)


class Sink:
    """Does nothing with messages but write down that it was done."""

    def __init__(self, work: float = 0.0) -> None:
        self.messages: list[Received[Any]] = []
        self.batches = 0
        self._work = work

    async def __call__(self, batch: Batch[Any]) -> None:
        await asyncio.sleep(self._work)
        self.batches += 1
        self.messages += batch.good

    @property
    def items(self) -> list[str]:
        """The last part of each message's key."""
        return [message.key[-1] for message in self.messages]

    @property
    def done(self) -> Counter[tuple[int, int]]:
        """How often each (partition, offset) was done."""
        return Counter((message.at.partition, message.at.offset) for message in self.messages)


@contextlib.asynccontextmanager
async def member(
    settings: KafkaSettings,
    on_batch: OnBatch,
    topic: Topic = ACTIVITIES,
    instance: str | None = None,
    **options: Any,
) -> AsyncIterator[Subscription]:
    """A member of the group, as a service would be one."""
    kafka = Kafka(settings, READER, system_clock, instance)
    subscription = kafka.subscribe(topic, on_batch, **options)
    await kafka.start()
    try:
        yield subscription
    finally:
        await kafka.drain()
        await kafka.stop()
        if kafka.failed.done():
            kafka.failed.exception()  # the test has seen it, or will


class Process:
    """The little service of `tally.py`, as a process."""

    def __init__(self, settings: KafkaSettings, folder: Path, environment: Mapping[str, Any]) -> None:
        self.book, self.log = folder / "book", folder / "log"
        variables: dict[str, Any] = {
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "KAFKA_REPLICATION": 1,
            "KAFKA_SESSION_TIMEOUT": "PT3S",
            "TOPIC_PREFIX": settings.topic_prefix,
            "BOOK": self.book,
            **environment,
        }
        folder.mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.shared.tally"],
                env={name: str(value) for name, value in variables.items()},
                stderr=log,
            )

    @property
    def done(self) -> Counter[str]:
        """How often each item was done, as the book says."""
        return Counter(self.book.read_text().split()) if self.book.exists() else Counter()

    @property
    def said(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def has_said(self, message: str) -> bool:
        """Whether its log has such a line."""
        return any(line["message"] == message for line in self.said)

    @property
    def url(self) -> str:
        """Where it listens."""
        return next(
            f"http://127.0.0.1:{line['port']}" for line in self.said if line["message"] == "listening"
        )

    async def ended(self, within: float = 30) -> int:
        """Waits until it ends; answers the exit status."""
        return await asyncio.to_thread(self._process.wait, within)

    async def stop(self, number: signal.Signals, within: float = 30) -> int:
        """Sends a signal; answers the exit status."""
        self._process.send_signal(number)
        return await self.ended(within)


@contextlib.asynccontextmanager
async def process(settings: KafkaSettings, folder: Path, **environment: Any) -> AsyncIterator[Process]:
    """Runs one."""
    running = Process(settings, folder, environment)
    try:
        yield running
    finally:
        running._process.kill()
        running._process.wait()


class Bus:
    """Kafka from outside."""

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

    def name(self, topic: Topic | str) -> str:
        return self._settings.topic_prefix + (topic.name if isinstance(topic, Topic) else topic)

    async def put(
        self,
        topic: Topic | str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, Any]] | None = None,
        partition: int | None = None,
    ) -> None:
        """One message, as it is."""
        await self._producer.send_and_wait(
            self.name(topic), value, key, partition=partition, headers=headers or []
        )

    async def put_unreadable(self, topic: Topic) -> None:
        """A message with a header whose name is no UTF-8, which no aiokafka client can read; C clients can write it."""
        batch = self._producer.create_batch()
        batch.append(timestamp=None, key=b"contoso/mia/1", value=b"{}", headers=[("NAME", b"")])
        written = bytes(batch._build()).replace(b"NAME", b"\xff\xff\xff\xff")
        batch._buffer = written[:17] + struct.pack(">I", crc(written[21:])) + written[21:]
        await (await self._producer.send_batch(batch, self.name(topic), partition=0))

    async def put_activities(self, *items: str, partition: int | None = 0) -> None:
        """Activities, good ones, with these item ids."""
        headers = [("ce_type", EMAIL.ce_type.encode()), ("ce_version", b"1")]
        for item in items:
            activity = EMAIL.model_copy(update={"item": item})
            await self.put(
                ACTIVITIES,
                f"contoso/mia/{item}".encode(),
                activity.model_dump_json().encode(),
                headers,
                partition,
            )

    async def all(self, topic: Topic | str) -> "list[ConsumerRecord[bytes, bytes]]":
        """All that stands in a topic now."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            partitions = [
                TopicPartition(self.name(topic), number)
                for number in sorted(await self._producer.partitions_for(self.name(topic)))
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

    async def dead_letters(self, topic: Topic = ACTIVITIES) -> "list[ConsumerRecord[bytes, bytes]]":
        """All that was refused of a topic, in the order in which it stood there."""

        def place(letter: "ConsumerRecord[bytes, bytes]") -> tuple[bytes, int, int]:
            headers = dict(letter.headers)
            return (
                headers["dead_letter_topic"],
                int(headers["dead_letter_partition"]),
                int(headers["dead_letter_offset"]),
            )

        return sorted(await self.all(topic.dead_letters), key=place)

    async def committed(self, topic: Topic = ACTIVITIES) -> dict[int, int]:
        """How far the reader's group has done its work, by partition."""
        found = await self._admin.list_consumer_group_offsets(self.name(f"{READER}.{topic.name}"))
        return {tp.partition: place.offset for tp, place in found.items() if place.offset > 0}

"""The real Kafka around tracking: the other systems as one object; tracking in this or another process."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.tracking.app import create_app
from services.tracking.settings import TrackingSettings
from services.tracking.signin import AuthorityKeys
from services.tracking.store import Store
from shared.broker import KafkaClient, TopicPartition
from shared.clock import system_clock
from shared.errors import RetryableError
from shared.events import (
    Activity,
    ContentAnswered,
    ContentUpdated,
    Event,
    FetchContent,
    MailboxChanged,
    MailboxStatus,
)
from shared.keys import K, MailboxKey, MessageKey, RecordKey, join_key
from shared.messages import Headers, OutgoingMessage, ReceivedMessage, ValueMessage
from shared.service import Service
from shared.settings import variable_name
from shared.tables import table_consumer
from shared.topics import (
    CONTENT,
    CONTENT_REQUESTS,
    MAILBOXES,
    MATCHES,
    RECORDS,
    TRACKED_ACTIVITIES,
    TRACKING,
    Topic,
)
from tests.support import forks
from tests.support.http import read_json, spare_port
from tests.support.topics import create_topics

from .authority import AUDIENCE, URL
from .worlds import ANN, CONTOSO, FABRIKAM, content, matched

ROOT = Path(__file__).parents[2]
PROCESS_ENVIRONMENT = {
    "KAFKA_SESSION_TIMEOUT": "PT3S",
    "AUTHORITY_URL": URL,
    "TRACKING_AUDIENCE": AUDIENCE,
    "TRACKING_TENANTS": json.dumps([CONTOSO, FABRIKAM]),
}


def settings_from(environment: dict[str, str]) -> TrackingSettings:
    """The settings in these environment variables."""
    fields = {variable_name(TrackingSettings, name): name for name in TrackingSettings.model_fields}
    known = {fields[name]: value for name, value in environment.items() if name in fields}
    return TrackingSettings.model_validate(known | {"tenants": [CONTOSO, FABRIKAM], "port": 0})


async def until(
    met: Callable[[], Awaitable[Any]], seconds: float = 20, otherwise: str = "it did not happen"
) -> None:
    """Waits until a condition is true."""
    deadline = time.monotonic() + seconds
    while not await met():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.05)


@dataclass(slots=True)
class Bus:
    """All systems but tracking; and a view of its database, which no other system has."""

    kafka: KafkaClient
    store: Store
    environment: dict[str, str]
    version: int = 0
    answering: list[asyncio.Task[None]] = field(default_factory=list)

    # -- what goes in -----------------------------------------------------------------------------

    async def match(
        self, *messages: tuple[Activity, Sequence[RecordKey]], epoch: int = 1, sequence: int | None = None
    ) -> None:
        """The matcher publishes these matches; no records is a withdrawal."""
        outgoing = []
        for activity, records in messages:
            self.version += 1
            value = matched(activity, *records) if records else None
            number = self.version if sequence is None else sequence
            outgoing.append(OutgoingMessage(MATCHES, activity.key, value, self.version, epoch, number))
        await self.kafka.producer.send(*outgoing)

    async def record(self, key: RecordKey, **fields: Any) -> None:
        """An upstream system publishes a record."""
        body = {"tenant": key.tenant, "type": key.type, "id": key.id} | fields
        await self.raw(RECORDS, key, json.dumps(body).encode())

    async def records(self, key: RecordKey, *changes: dict[str, Any]) -> None:
        """An upstream system publishes these states of a record, one after another."""
        name, encoded = self.kafka.full_name(RECORDS), join_key(key).encode()
        body = {"tenant": key.tenant, "type": key.type, "id": key.id}
        values = [json.dumps(body | change).encode() for change in changes]
        await self.kafka.producer.send_encoded([(name, encoded, value, []) for value in values])

    async def raw(
        self, topic: Topic[Any, Any], key: MessageKey, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """A message with any bytes."""
        name = self.kafka.full_name(topic)
        await self.kafka.producer.send_encoded([(name, join_key(key).encode(), value, headers or [])])

    async def mailbox(
        self, oid: str, status: MailboxStatus = MailboxStatus.ENROLLED, version: int | None = None
    ) -> None:
        """mail-ingest publishes the state of capture of a mailbox."""
        self.version += 1
        value = MailboxChanged(status=status, since=datetime.now(UTC))
        key = MailboxKey(CONTOSO, oid)
        await self.kafka.producer.send(OutgoingMessage(MAILBOXES, key, value, version or self.version))

    async def answer(self, key: MailboxKey, value: ContentAnswered | ContentUpdated) -> None:
        """mail-ingest answers a track request, or sends an update of a followed item."""
        self.version += 1
        await self.kafka.producer.send(OutgoingMessage(CONTENT, key, value, self.version))

    def answer_all_requests(self, activities: dict[str, Activity], unavailable: str | None = None) -> None:
        """mail-ingest answers every message on `content-requests` from now on.

        Args:
            activities: `mailbox/item` -> the activity of the content.
            unavailable: the reason why there is no content.
        """

        async def serve() -> None:
            async for chunk in self.kafka.read_table(CONTENT_REQUESTS, follow=True):
                for message in chunk.messages:
                    assert isinstance(message, ValueMessage)
                    fetch = message.value
                    if not isinstance(fetch, FetchContent):
                        continue
                    answer = ContentAnswered(
                        request=fetch.request,
                        item=fetch.item,
                        content=None
                        if unavailable
                        else content(activities[f"{message.key.mailbox}/{fetch.item}"]),
                        unavailable=unavailable,
                    )
                    await self.answer(message.key, answer)

        self.answering.append(asyncio.create_task(serve()))

    # -- what comes out ---------------------------------------------------------------------------

    async def read_all(self, topic: Topic[K, Any]) -> list[ReceivedMessage[K, Any]]:
        """All messages of a topic, in the order of its partitions."""
        return [message async for chunk in self.kafka.read_table(topic) for message in chunk.messages]

    async def read_values(self, topic: Topic[Any, Any]) -> list[Any]:
        """All values of a topic, tombstones as None."""
        messages = await self.read_all(topic)
        return [message.value if isinstance(message, ValueMessage) else None for message in messages]

    async def read_dead_letters(self, topic: Topic[Any, Any]) -> list[tuple[bytes | None, bytes | None, str]]:
        """Key, value and the wrong field of each dead letter of a topic."""
        name = self.kafka.full_name(topic.dead_letters)
        numbers = sorted(await self.kafka.producer.partitions_for(name))
        partitions = [TopicPartition(name, number) for number in numbers]
        async with table_consumer(self.kafka) as consumer:
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found = []
            while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        wrong_field = dict(record.headers)["dead_letter_field"].decode()
                        found.append((record.key, record.value, wrong_field))
            return found

    async def tracked_states(self) -> dict[str, Event | None]:
        """Activity id -> its last message on `tracked-activities`, as a dashboard holds it."""
        return {
            message.key.activity: message.value if isinstance(message, ValueMessage) else None
            for message in await self.read_all(TRACKED_ACTIVITIES)
            if message.key
        }

    async def suggestions(self, owner: MailboxKey = ANN.mailbox_key) -> dict[str, Any]:
        """Item id -> records of an owner's stored suggestions, None when withdrawn."""
        found = self.store.collection("suggestions").find({"owner": join_key(owner)})
        return {document["_id"].split("/", 2)[2]: document.get("records") async for document in found}

    async def stored(self, collection: str) -> list[dict[str, Any]]:
        """All documents of a collection, in order."""
        found = self.store.collection(collection).find({}, sort=[("_id", 1)])
        return [document async for document in found]

    async def stored_tracked_id(self) -> str:
        """Id of the only tracked activity."""
        [document] = await self.stored("tracked_activities")
        return str(document["_id"].split("/")[1])

    async def until_stored(self, count: int, seconds: float = 60) -> None:
        """Waits until so many suggestions are live."""

        async def reached() -> bool:
            return await self.store.suggestions.count_live() == count

        await until(reached, seconds, f"not {count} suggestions")

    async def positions(self, topic: Topic[Any, Any]) -> list[dict[str, Any]]:
        """The stored read positions of a topic's partitions."""
        prefix = f"{self.kafka.full_name(topic)}/"
        return [each for each in await self.stored("read_positions") if each["_id"].startswith(prefix)]


@contextlib.asynccontextmanager
async def a_bus(environment: dict[str, str]) -> AsyncIterator[Bus]:
    """Topics, a producer, and the database."""
    settings = settings_from(environment)
    await create_topics(settings, TRACKING)
    bus = Bus(KafkaClient(settings, "test", system_clock), Store(settings), environment)
    await bus.store.create_indexes()
    await bus.kafka.start()
    try:
        yield bus
    finally:
        for task in bus.answering:
            task.cancel()
        await asyncio.gather(*bus.answering, return_exceptions=True)
        await bus.kafka.stop()
        await bus.store.close()


WAITING_WORK = (
    "matches lag",
    "records lag",
    "mailboxes lag",
    "content lag",
    "open track requests",
    "publish pending track requests",
    "republications",
    "publish pending tracked activities",
    "publish pending followed mailboxes",
)
"""The keys of `/status` that count waiting work."""


class Tracking:
    """tracking in this process."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def faults(self) -> dict[str, str]:
        """Why it is not ready."""
        checks = tuple(self.service.health.readiness.items())
        return {name: why for name, check in checks if (why := await check())}

    async def until_ready(self) -> None:
        """Waits until it is ready."""

        async def ready() -> bool:
            return not await self.faults()

        await until(ready, 60, "it is not ready")

    async def until_quiet(self, seconds: float = 30, *, except_for: frozenset[str] = frozenset()) -> None:
        """Waits until no work waits, except for these keys of `/status`."""
        names = [name for name in WAITING_WORK if name not in except_for]

        async def quiet() -> bool:
            try:
                return not any([await self.service.health.status[name]() for name in names])
            except RetryableError:
                return False

        await until(quiet, seconds, "work is waiting")


@contextlib.asynccontextmanager
async def a_starting_tracking(
    environment: dict[str, str], keys: AuthorityKeys | None = None
) -> AsyncIterator[Tracking]:
    """tracking in this process, from the beginning of its start; it stops as after SIGTERM."""
    service = await create_app(settings_from(environment), system_clock, keys=keys)
    running = asyncio.create_task(service.run())
    try:
        yield Tracking(service)
    finally:
        service.stop_signal.set()
        await running


@contextlib.asynccontextmanager
async def a_tracking(
    environment: dict[str, str], keys: AuthorityKeys | None = None
) -> AsyncIterator[Tracking]:
    """tracking in this process, ready."""
    async with a_starting_tracking(environment, keys) as tracking:
        await tracking.until_ready()
        yield tracking


async def run_command(environment: dict[str, str], *arguments: str) -> str:
    """Runs a command of tracking, and returns what it prints to stdout."""
    env = os.environ | environment | PROCESS_ENVIRONMENT
    ran = await asyncio.to_thread(forks.run, "services.tracking", *arguments, env=env)
    ran.check_returncode()
    return ran.stdout


class Replica:
    """tracking in a process of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        port = spare_port()
        self._url = f"http://127.0.0.1:{port}"
        own = {"PORT": str(port), "LOG_LEVEL": "WARNING"}
        self._environment = os.environ | environment | PROCESS_ENVIRONMENT | own
        self._process: forks.ForkedProcess | None = None

    async def start(self) -> None:
        """Starts the process and waits until it is ready."""
        self._process = forks.popen("services.tracking", env=self._environment)

        async def ready() -> bool:
            return (await self.get("/health/ready"))[0] == 200

        await until(ready, 60, "it is not ready")

    async def kill(self) -> None:
        """Sends SIGKILL."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def stop(self) -> tuple[int, float]:
        """Sends SIGTERM; returns the exit status and the seconds that the stop took."""
        assert self._process
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self._process.wait, 15)
        return status, time.monotonic() - began

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a route; (0, {}) when there is no answer."""
        return await read_json(self._url + path)

    async def until_quiet(self, seconds: float = 60) -> None:
        """Waits until no work waits."""

        async def quiet() -> bool:
            code, status = await self.get("/status")
            return code == 200 and not any(status[name] for name in WAITING_WORK)

        await until(quiet, seconds, "work is waiting")


@contextlib.asynccontextmanager
async def replicas(environment: dict[str, str], count: int = 1) -> AsyncIterator[list[Replica]]:
    """Started replicas; those that still run at the end are killed."""
    started = [Replica(environment) for _ in range(count)]
    try:
        await asyncio.gather(*(replica.start() for replica in started))
        yield started
    finally:
        for replica in started:
            await replica.kill()

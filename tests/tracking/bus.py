"""The real Kafka around tracking: matcher, mail-ingest and dashboards as one test, and replicas."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from services.tracking.app import create_app
from services.tracking.settings import TrackingSettings
from services.tracking.signin import AuthorityKeys
from services.tracking.store import Store
from shared.broker import Kafka
from shared.bus import Outgoing, Received
from shared.clock import system_clock
from shared.errors import Transient
from shared.events import Activity, ContentAnswered, Event, FetchContent, MailboxChanged, MailboxStatus
from shared.provision import Unsafe, check, create
from shared.records import RecordKey
from shared.service import Service
from shared.topics import CONTENT, CONTENT_REQUESTS, MAILBOXES, MATCHES, RECORDS, TRACKED_ACTIVITIES, Topic

from .authority import AUDIENCE, URL
from .worlds import ANN, CONTOSO, FABRIKAM, content, matched

ROOT = Path(__file__).parents[2]
OWN = {
    "KAFKA_SESSION_TIMEOUT": "PT3S",
    "AUTHORITY_URL": URL,
    "AUDIENCE": AUDIENCE,
    "TENANTS": json.dumps([CONTOSO, FABRIKAM]),
}


def settings_of(environment: dict[str, str]) -> TrackingSettings:
    """The settings that these environment variables are."""
    known = {
        name.lower(): value
        for name, value in environment.items()
        if name.lower() in TrackingSettings.model_fields
    }
    return TrackingSettings.model_validate(known | {"tenants": [CONTOSO, FABRIKAM], "port": 0})


async def until(
    met: Callable[[], Awaitable[Any]], seconds: float = 20, otherwise: str = "it did not happen"
) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + seconds
    while not await met():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.05)


@dataclass(slots=True)
class Bus:
    """Everybody but tracking; and a look into its database, which nobody else has."""

    kafka: Kafka
    store: Store
    environment: dict[str, str]
    version: int = 0
    answering: list[asyncio.Task[None]] = field(default_factory=list)

    # -- what goes in -----------------------------------------------------------------------------

    async def match(
        self, *messages: tuple[Activity, Sequence[RecordKey]], epoch: int = 1, count: int | None = None
    ) -> None:
        """The matcher says these matches; no records is a withdrawal."""
        out = []
        for activity, records in messages:
            self.version += 1
            value = matched(activity, *records) if records else None
            key = activity.tenant, activity.mailbox, activity.item
            out.append(
                Outgoing(MATCHES, key, value, self.version, epoch, self.version if count is None else count)
            )
        await self.kafka.producer.send(*out)

    async def record(self, key: RecordKey, **fields: Any) -> None:
        body = {"tenant": key[0], "type": key[1], "id": key[2]} | fields
        await self.raw_record(key, json.dumps(body).encode())

    async def raw_record(self, key: RecordKey, value: bytes | None) -> None:
        await self.raw(RECORDS, key, value)

    async def raw(self, topic: Topic, key: tuple[str, ...], value: bytes | None) -> None:
        """A message on a topic, whatever is in it."""
        await self.kafka.producer.send_raw([(self.kafka.name(topic), "/".join(key).encode(), value, [])])

    async def mailbox(
        self, oid: str, status: MailboxStatus = MailboxStatus.ENROLLED, version: int | None = None
    ) -> None:
        self.version += 1
        value = MailboxChanged(
            status=status,
            reason=None,
            since=datetime.now(UTC),
            enrolled_at=None,
            complete_as_of=None,
            missed_by_hints=None,
        )
        await self.kafka.producer.send(Outgoing(MAILBOXES, (CONTOSO, oid), value, version or self.version))

    async def answer(self, key: tuple[str, str], value: ContentAnswered) -> None:
        self.version += 1
        await self.kafka.producer.send(Outgoing(CONTENT, key, value, self.version))

    def be_mail_ingest(self, activities: dict[str, Activity], unavailable: str | None = None) -> None:
        """Answers every claim from now on, as many times as it is asked."""

        async def serve() -> None:
            async for chunk in self.kafka.read_table(CONTENT_REQUESTS, follow=True):
                for message in chunk.messages:
                    asked = message.value
                    assert isinstance(asked, FetchContent)
                    tenant, mailbox = message.key
                    found = None if unavailable else content(activities[f"{mailbox}/{asked.item}"])
                    await self.answer(
                        (tenant, mailbox),
                        ContentAnswered(
                            claim=asked.claim, item=asked.item, content=found, unavailable=unavailable
                        ),
                    )

        self.answering.append(asyncio.create_task(serve()))

    # -- what comes out ---------------------------------------------------------------------------

    async def said(self, topic: Topic) -> list[Received[Any]]:
        """All that stands on a topic, in the order of its partitions."""
        return [message async for chunk in self.kafka.read_table(topic) for message in chunk.messages]

    async def announced(self) -> dict[str, Event | None]:
        """What a dashboard holds: the last word on each tracked activity."""
        return {message.key[1]: message.value for message in await self.said(TRACKED_ACTIVITIES)}

    async def suggestions(self, owner: str = f"{ANN.tenant}/{ANN.oid}") -> dict[str, Any]:
        """What is stored of an owner's items: their records, None where withdrawn."""
        found = self.store.collection("suggestions").find({"owner": owner})
        return {document["_id"].split("/", 2)[2]: document.get("records") async for document in found}

    async def stored(self, collection: str) -> list[dict[str, Any]]:
        """A whole collection, in order."""
        return [document async for document in self.store.collection(collection).find({}).sort("_id", 1)]

    async def until_stored(self, count: int, seconds: float = 60) -> None:
        """Until so many suggestions are live."""

        async def there() -> bool:
            return await self.store.suggestions.count() == count

        await until(there, seconds, f"not {count} suggestions")

    async def positions(self, topic: Topic) -> dict[str, Any]:
        """The stored positions of a topic's partitions."""
        return {
            name: document
            async for document in self.store.collection("positions").find({})
            if (name := document["_id"]).startswith(self.kafka.name(topic))
        }


@contextlib.asynccontextmanager
async def a_bus(environment: dict[str, str]) -> AsyncIterator[Bus]:
    """Topics, a producer, and the database."""
    settings = settings_of(environment)
    await create(settings)
    while True:  # a broker knows a topic a moment after the controller has made it
        try:
            await check(settings)
            break
        except Unsafe:
            await asyncio.sleep(0.1)
    bus = Bus(Kafka(settings, "test", system_clock), Store(settings), environment)
    await bus.store.prepare()
    await bus.kafka.start()
    try:
        yield bus
    finally:
        for task in bus.answering:
            task.cancel()
        await asyncio.gather(*bus.answering, return_exceptions=True)
        await bus.kafka.stop()
        bus.store.close()


QUIET = (
    "matches lag",
    "records lag",
    "mailboxes lag",
    "content lag",
    "open claims",
    "unsent claims",
    "unsent tracked",
)
"""What `/status` says of work that waits."""


class Tracking:
    """A tracking in this process."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def until_quiet(self, seconds: float = 30) -> None:
        """Until nothing waits anywhere."""

        async def quiet() -> bool:
            try:
                return not any([await self.service.health.status[name]() for name in QUIET])
            except Transient:
                return False

        await until(quiet, seconds, "something waits")


@contextlib.asynccontextmanager
async def a_tracking(
    environment: dict[str, str], keys: AuthorityKeys | None = None
) -> AsyncIterator[Tracking]:
    """A tracking in this process, ready; it is stopped as by SIGTERM."""
    service = await create_app(settings_of(environment), system_clock, keys=keys)
    running = asyncio.create_task(service.run())

    async def ready() -> bool:
        assert not running.done(), "it stopped at its start"
        return not any([await check() for check in tuple(service.health.ready.values())])

    try:
        await until(ready, 30, "it is not ready")
        yield Tracking(service)
    finally:
        service.stopping.set()
        await running


async def command(environment: dict[str, str], name: str) -> str:
    """Runs one of the commands and answers what it prints."""
    run = [sys.executable, "-m", "services.tracking", name]
    ran = await asyncio.to_thread(
        subprocess.run,
        run,
        cwd=ROOT,
        env=os.environ | environment | OWN,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


class Replica:
    """A tracking in a process of its own."""

    def __init__(self, environment: dict[str, str], authority: str = URL) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._environment = (
            os.environ
            | environment
            | OWN
            | {"AUTHORITY_URL": authority, "PORT": str(self.port), "LOG_LEVEL": "WARNING"}
        )
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts it and waits until it is ready."""
        command = [sys.executable, "-m", "services.tracking"]
        self._process = await asyncio.to_thread(subprocess.Popen, command, cwd=ROOT, env=self._environment)

        async def ready() -> bool:
            return (await self.ask("/health/ready"))[0] == 200

        await until(ready, 60, "it is not ready")

    async def command(self, name: str) -> str:
        """Runs one of its commands and answers what it prints."""
        ran = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.tracking", name],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def stop(self) -> tuple[int, float]:
        """SIGTERM; answers its exit status and how long it took."""
        assert self._process
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self._process.wait, 15)
        return status, time.monotonic() - began

    async def ask(self, path: str) -> tuple[int, Any]:
        """Status and JSON of one of its routes; (0, {}) where it does not answer."""

        def get() -> tuple[int, Any]:
            try:
                with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                    return answer.status, json.load(answer)
            except HTTPError as error:
                with error:
                    return error.code, json.load(error)
            except OSError:
                return 0, {}

        return await asyncio.to_thread(get)

    async def until_quiet(self, seconds: float = 60) -> None:
        """Until nothing waits anywhere."""

        async def quiet() -> bool:
            code, status = await self.ask("/status")
            return code == 200 and not any(status[name] for name in QUIET)

        await until(quiet, seconds, "something waits")


@contextlib.asynccontextmanager
async def replicas(environment: dict[str, str], count: int = 1) -> AsyncIterator[list[Replica]]:
    """So many of them; what is left of them is killed."""
    made = [Replica(environment) for _ in range(count)]
    try:
        await asyncio.gather(*(each.start() for each in made))
        yield made
    finally:
        for each in made:
            await each.kill()

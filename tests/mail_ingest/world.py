"""A whole mail-ingest for a test: real Kafka and MongoDB, a simulator of Graph, a tenant of its own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from aiokafka import AIOKafkaConsumer, TopicPartition
from pymongo import MongoClient
from pymongo.database import Database

from shared.bus import Received, decode
from shared.events import Activity, MailboxChanged
from shared.provision import create
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, CONTENT, GRAPH_NOTIFICATIONS, MAILBOXES, Topic
from simulator.control.client import Simulator, TenantControl
from simulator.server import Running
from simulator.state.tenants import CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET

SERVICE_TOKEN = "a-service-token-for-tests"
STARTS_WITHIN = 30.0


async def eventually(look: Callable[[], Any], seconds: float = 40.0) -> Any:
    """What `look` answers as soon as it is true; it may be a coroutine function."""
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Table:
    """A topic as read from its start."""

    kafka: str
    topic: Topic
    prefix: str

    async def all(self) -> list[Received[Any]]:
        """Every message, in the order of its partition."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            name = self.prefix + self.topic.name
            partitions = [TopicPartition(name, number) for number in range(4)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            messages: list[Received[Any]] = []
            while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    messages += [decode(self.topic, record) for record in records]
            return messages
        finally:
            await consumer.stop()

    async def latest(self) -> dict[tuple[str, ...], Received[Any]]:
        """The last word on each key."""
        return {message.key: message for message in await self.all()}


class Ingest:
    """One replica of mail-ingest, in its own process."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment = {
            **environment,
            "PORT": str(free_port()),
            "WEBHOOK_PORT": str(free_port()),
            "INSTANCE": log.stem,
        }
        self.environment.setdefault("WEBHOOK_URL", f"http://127.0.0.1:{self.environment['WEBHOOK_PORT']}")
        self.url = f"http://127.0.0.1:{self.environment['PORT']}"
        self.webhook = f"http://127.0.0.1:{self.environment['WEBHOOK_PORT']}"
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx2.Client(timeout=10.0, trust_env=False)

    def start(self, **changes: str) -> "Ingest":
        """Runs it, and waits until it is ready."""
        with self.log.open("ab") as log:
            env = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
            command = [sys.executable, "-m", "services.mail_ingest"]
            self._process = subprocess.Popen(
                command, env={**env, **self.environment, **changes}, stderr=log, stdout=log
            )
        deadline = time.monotonic() + STARTS_WITHIN
        while not self._ready():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return self

    def _ready(self) -> bool:
        try:
            return self._http.get(f"{self.url}/health/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def signal(self, number: int) -> None:
        """SIGSTOP, SIGCONT and the like."""
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.signal(signal.SIGKILL)
        assert self._process
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        self.signal(signal.SIGTERM)
        assert self._process
        return self._process.wait(15)

    def end(self) -> None:
        """Whatever its state."""
        if self._process and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
        self._http.close()

    def call(self, method: str, path: str, token: str | None = SERVICE_TOKEN, **body: Any) -> httpx2.Response:
        """The internal port."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._http.request(method, self.url + path, headers=headers, json=body or None)

    def waiting(self) -> dict[str, int]:
        """What is still to be done."""
        status = self._http.get(f"{self.url}/status").json()
        return {
            **status["waiting"],
            "lag": sum(count for name, count in status.items() if name.endswith(" lag")),
        }

    def idle(self) -> bool:
        """Nothing waits."""
        waiting = self.waiting()
        busy = (
            "lag",
            "hints waiting",
            "requests waiting",
            "mailboxes with work",
            "leases held",
            "unsent items",
            "unsent mailboxes",
        )
        return not any(waiting[name] for name in busy)

    def metrics(self) -> str:
        """All of them."""
        return self._http.get(f"{self.url}/metrics").text

    def metric(self, name: str) -> float:
        """A metric, summed over its labels."""
        lines = self.metrics().splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.partition(" ")[0].partition("{")[0] == name
        )


@dataclass
class World:
    """A tenant in a simulator, and a mail-ingest that captures it."""

    tenant: TenantControl
    ingest: Ingest
    kafka: str
    prefix: str
    environment: dict[str, str]
    folder: Path
    replicas: list[Ingest] = field(default_factory=list)

    @property
    def simulator(self) -> Simulator:
        return self.tenant.simulator

    def table(self, topic: Topic) -> Table:
        return Table(self.kafka, topic, self.prefix)

    def user(self, name: str, **about: Any) -> str:
        """A new user; her object id."""
        return str(self.tenant.user(f"{name}@contoso.example", **about)["oid"])

    def state(self, mailbox: str) -> dict[str, Any]:
        """A mailbox, as the internal port tells it."""
        return next(
            each for each in self.ingest.call("GET", "/mailboxes").json() if each["mailbox"] == mailbox
        )

    async def enrol(self, *mailboxes: str) -> None:
        """Enrols mailboxes, and waits until both subscriptions of each are there."""
        for mailbox in mailboxes:
            assert (
                self.ingest.call("POST", "/mailboxes", tenant=self.tenant.id, mailbox=mailbox).status_code
                == 200
            )
        await eventually(lambda: self.subscribed(*mailboxes))
        await eventually(self.ingest.idle)

    def subscribed(self, *mailboxes: str) -> bool:
        there = [each["resource"].lower() for each in self.simulator.subscriptions()]
        return all(
            f"users/{mailbox}/{what}" in there for mailbox in mailboxes for what in ("messages", "events")
        )

    async def activities(self) -> dict[str, Activity]:
        """What is live, by item."""
        return {
            key[2]: message.value
            for key, message in (await self.table(ACTIVITIES).latest()).items()
            if message.value is not None
        }

    async def said(self, item: str) -> list[Received[Activity]]:
        """All that was ever said of an item."""
        return [message for message in await self.table(ACTIVITIES).all() if message.key[2] == item]

    async def subjects(self) -> list[str]:
        """Of what is live."""
        return sorted(activity.subject for activity in (await self.activities()).values())

    async def has(self, *subjects: str) -> bool:
        return await self.subjects() == sorted(subjects)

    async def mailbox_said(self, mailbox: str) -> list[MailboxChanged]:
        """All that was said of a mailbox."""
        return [
            message.value
            for message in await self.table(MAILBOXES).all()
            if message.key[1] == mailbox and message.value
        ]

    async def answers(self) -> list[Any]:
        """All answers to content requests."""
        return [message.value for message in await self.table(CONTENT).all()]

    async def answers_to(self, *claims: str) -> bool:
        """Whether these, and no other claims, were answered."""
        return {answer.claim for answer in await self.answers()} == set(claims)

    async def everything_said(self) -> list[Received[Any]]:
        """Every message about an item, in the order of its partition."""
        return await self.table(ACTIVITIES).all()

    async def hinted(self, item: str) -> bool:
        """Whether an item was hinted at."""
        return any(
            getattr(message.value, "item", "") == item
            for message in await self.table(GRAPH_NOTIFICATIONS).all()
        )

    def notification(self, item: str, **changes: Any) -> dict[str, Any]:
        """As Graph would send it for one of our subscriptions to messages."""
        (subscription, *_) = self.documents("subscriptions", kind="email")
        made = {
            "subscriptionId": subscription["graph_id"],
            "clientState": subscription["client_state"],
            "changeType": "created",
            "resource": f"Users/u/Messages/{item}",
            "resourceData": {"@odata.type": "#Microsoft.Graph.Message", "id": item},
            "tenantId": self.tenant.id,
        }
        return {**made, **changes}

    async def post(self, *posts: list[Any]) -> tuple[list[int], float]:
        """Posts notifications all at once; the statuses, and how long the slowest took."""
        async with httpx2.AsyncClient(trust_env=False, timeout=20.0) as http:
            answers = await asyncio.gather(
                *(
                    http.post(f"{self.ingest.webhook}/graph/notifications", json={"value": post})
                    for post in posts
                )
            )
        return [answer.status_code for answer in answers], max(
            answer.elapsed.total_seconds() for answer in answers
        )

    # -- the database ----------------------------------------------------------------------------

    def collections(self) -> list[str]:
        with self._database() as database:
            return database.list_collection_names()

    def documents(self, collection: str, **which: Any) -> list[dict[str, Any]]:
        with self._database() as database:
            return list(database[collection].find(which))

    def change_documents(self, collection: str, which: dict[str, Any], to: dict[str, Any]) -> None:
        with self._database() as database:
            database[collection].update_many(which, {"$set": to})

    def add_documents(self, collection: str, documents: list[dict[str, Any]]) -> None:
        with self._database() as database:
            database[collection].insert_many(documents)

    def held(self) -> bool:
        """Whether somebody holds a lease."""
        return bool(self.documents("mailboxes", lease={"$ne": None}))

    @contextmanager
    def _database(self) -> Iterator[Database[dict[str, Any]]]:
        with MongoClient[dict[str, Any]](self.environment["MONGODB_URI"], tz_aware=True) as client:
            yield client[self.environment["MONGODB_DATABASE"]]

    def replica(self, **changes: str) -> Ingest:
        """Another one, not started yet; Graph goes on talking to the first."""
        environment = {**self.environment, "WEBHOOK_URL": self.ingest.environment["WEBHOOK_URL"], **changes}
        made = Ingest(environment, self.folder / f"ingest-{len(self.replicas) + 2}.log")
        self.replicas.append(made)
        return made


OWN = {
    "CLIENT_ID": CAPTURE_CLIENT_ID,
    "CLIENT_SECRET": CAPTURE_CLIENT_SECRET,
    "SERVICE_TOKEN": SERVICE_TOKEN,
    "RECONCILE": "off",
    "LEASE": "PT3S",
    "RETRY_BLOCKED": "PT1S",
}


@asynccontextmanager
async def opened(environment: dict[str, str], graph: Running, folder: Path) -> AsyncIterator[World]:
    """A new tenant in a simulator, and a mail-ingest that is ready to capture it."""
    environment = {
        **environment,
        "GRAPH_URL": f"{graph.url}/v1.0",
        "AUTHORITY_URL": graph.url,
        "CA_FILE": str(graph.ca),
    }
    await create(kafka_settings(environment))
    ingest = Ingest(environment, folder / "ingest.log")
    kafka, prefix = environment["KAFKA_BOOTSTRAP_SERVERS"], environment["TOPIC_PREFIX"]
    world = World(graph.client.tenant(str(uuid4())), ingest, kafka, prefix, environment, folder)
    try:
        await asyncio.to_thread(ingest.start)
        yield world
    finally:
        for each in (ingest, *world.replicas):
            each.end()
        graph.client.clear_faults()
        graph.client.forget_subscriptions()


def kafka_settings(environment: dict[str, str]) -> KafkaSettings:
    """Of this environment, and nothing else."""
    names = KafkaSettings.model_fields
    return KafkaSettings(**{name: environment[name.upper()] for name in names if name.upper() in environment})  # type: ignore[arg-type]

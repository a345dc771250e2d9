"""The whole system for a story: real processes on the real Kafka and MongoDB, generated people and records."""

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from pymongo import MongoClient
from pymongo.database import Database
from shared.bus import Received, decode

from deploy.local.stack import LocalStack
from deploy.local.system import TENANT, Process, System
from scenarios.backlog import BACKLOG_KEYS, flatten_status
from scenarios.upstream import Upstream
from shared.topics import MATCHES, TOPICS, Topic
from simulator.control.client import Simulator, TenantControl

SERVICES = ("mail-ingest", "matcher", "tracking")
PATIENCE = 40.0
"""Seconds that anything may take on a busy machine; what takes longer has not happened."""
PARTITIONS = 4

Item = tuple[str, str, str]
"""(tenant, mailbox, item)"""
Pairs = set[tuple[str, str]]
"""(type, id) of records."""


async def until(
    met: Callable[[], Any],
    seconds: float = PATIENCE,
    otherwise: Callable[[], object] = lambda: "it did not happen in time",
) -> Any:
    """What `met` answers as soon as it is true; it may be a coroutine function."""
    deadline = time.monotonic() + seconds
    while True:
        answer = met()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(otherwise())
        await asyncio.sleep(0.02)


class Bus:
    """A reader of every topic, dead letters too, from their starts on.

    Attributes:
        log: what stands there, by the topic's name, each partition in its order.
        keys: every key that was ever written, by the topic's name.
    """

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.log: defaultdict[str, list[ConsumerRecord[bytes, bytes]]] = defaultdict(list)
        self.keys: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
        self._prefix = prefix
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            metadata_max_age_ms=1000,
        )
        names = [f"{prefix}{name}" for topic in TOPICS for name in (topic.name, topic.dead_letters)]
        self._partitions = [TopicPartition(name, number) for name in names for number in range(PARTITIONS)]

    async def follow(self) -> None:
        """Reads, for ever."""
        await self._consumer.start()
        try:
            self._consumer.assign(self._partitions)
            await self._consumer.seek_to_beginning(*self._partitions)
            while True:
                with contextlib.suppress(KafkaError):  # killed; it comes back
                    for tp, records in (await self._consumer.getmany(timeout_ms=50)).items():
                        name = tp.topic.removeprefix(self._prefix)
                        self.log[name] += records
                        self.keys[name].update(
                            tuple((record.key or b"").decode(errors="replace").split("/", 2))
                            for record in records
                        )
        finally:
            await self._consumer.stop()

    async def read_up(self) -> None:
        """Waits until all that stands there now is read."""
        ends = await self._consumer.end_offsets(self._partitions)

        async def read() -> bool:
            return all([await self._consumer.position(tp) >= end for tp, end in ends.items()])

        await until(read)

    def said(self, topic: Topic) -> list[Received[Any]]:
        """Everything that was ever said, as it stands there."""
        return [decode(topic, record) for record in self.log[topic.name]]

    def live(self, topic: Topic) -> dict[tuple[str, ...], Received[Any]]:
        """A compacted topic as a table: the last word on each key, what is gone left out."""
        last = {record.key: record for record in self.log[topic.name]}
        messages: list[Received[Any]] = [
            decode(topic, record) for record in last.values() if record.value is not None
        ]
        return {message.key: message for message in messages}

    def matches(self) -> dict[Item, Pairs]:
        """`matches` as a table: what each item relates to."""
        values = {key: message.value for key, message in self.live(MATCHES).items()}
        return {
            _item(key): {(match.type, match.id) for match in value.matches} if value else set()
            for key, value in values.items()
        }

    def dead_letters(self, topic: Topic) -> list[tuple[bytes | None, bytes | None, dict[str, str]]]:
        """Key, value and headers of each."""
        return [
            (record.key, record.value, {name: value.decode() for name, value in record.headers})
            for record in self.log[topic.dead_letters]
        ]


def _item(key: Sequence[str]) -> Item:
    tenant, mailbox, item = key
    return tenant, mailbox, item


def _pair(record: str) -> tuple[str, str]:
    *_, type_, id_ = record.split("/")
    return type_, id_


@dataclass
class User:
    """Somebody of a tenant, signed in."""

    tenant: TenantControl
    oid: str
    address: str
    http: httpx2.AsyncClient

    @property
    def recipient(self) -> dict[str, str]:
        return {"name": self.address.partition("@")[0], "address": self.address}

    async def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """One request of the API, by its path below `/api/v1`."""
        return await self.http.request(method, path, **more)

    async def timeline(self, type_: str, id_: str, **query: str) -> dict[str, Any]:
        """What she sees on a record."""
        answer = await self.ask("GET", f"/records/{type_}/{id_}/timeline", params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def sees(self, type_: str, id_: str) -> tuple[list[tuple[str, str]], list[str]]:
        """(subject, state) of her suggestions on a record and the subjects of what is tracked there, each in order."""
        timeline = await self.timeline(type_, id_)
        tiles = [(tile["activity"]["subject"], tile["state"]) for tile in timeline["suggestions"]]
        return sorted(tiles), sorted(tile["activity"]["subject"] for tile in timeline["tracked"])

    async def tile(self, type_: str, id_: str, subject: str) -> dict[str, Any]:
        """Her suggestion of that subject, once it is there."""

        async def found() -> dict[str, Any] | None:
            tiles = (await self.timeline(type_, id_))["suggestions"]
            return next((tile for tile in tiles if tile["activity"]["subject"] == subject), None)

        tile: dict[str, Any] = await until(found, otherwise=lambda: f"{subject} was not suggested")
        return tile


def on(type_: str, id_: str, item: str, what: str) -> str:
    """The path of a suggestion's text, track or dismissal."""
    return f"/records/{type_}/{id_}/suggestions/{quote(item, safe='')}/{what}"


@dataclass
class World:
    """A running system, and everybody around it."""

    system: System
    simulator: Simulator
    tenant: TenantControl
    bus: Bus
    upstream: Upstream
    mongodb: MongoClient[dict[str, Any]]
    _opened: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    # -- processes --------------------------------------------------------------------------------

    def replicas(self, name: str) -> list[Process]:
        return self.system.replicas(name)

    async def each(self, do: Callable[[Process], Any], processes: Iterable[Process]) -> list[Any]:
        """Does something with several processes at once, and lets the readers read on meanwhile."""
        return await asyncio.gather(*(asyncio.to_thread(do, process) for process in processes))

    async def start(self, *processes: Process) -> None:
        """Starts several at once, and waits until all are ready."""
        for process in processes:
            process.start(wait=False)
        await self.each(Process.wait_until_ready, processes)

    async def add(self, *names: str) -> None:
        """One more replica of each of these programs."""
        added = [self.system.add(name, wait=False) for name in names]
        await self.each(Process.wait_until_ready, added)

    async def at_rest(self, seconds: float = PATIENCE) -> None:
        """Until two looks at every process show the same counts and nothing that waits."""
        deadline = time.monotonic() + seconds
        before: dict[str, Any] = {}
        while True:
            now = await asyncio.to_thread(self._counts)
            waiting = {name: count for name, count in now.items() if count and _waits(name)}
            if now == before and not waiting:
                return
            assert time.monotonic() < deadline, f"still waiting: {waiting}"
            before = now
            await asyncio.sleep(0.2)

    def _counts(self) -> dict[str, Any]:
        """The counts that every process gives of what is still to be done; one that cannot say is not at rest."""
        processes = [process for name in SERVICES for process in self.replicas(name) if process.running]
        with ThreadPoolExecutor(len(processes)) as pool:
            told = list(pool.map(status, processes))
        counts = {
            f"{process.name}.{key}": value
            for process, each in zip(processes, told, strict=True)
            for key, value in each.items()
        }
        return counts | {"simulator.pending": self.simulator.counters()["notifications"].get("pending", 0)}

    # -- people and mail --------------------------------------------------------------------------

    async def user(
        self, address: str, tenant: TenantControl | None = None, *, enrolled: bool = True, **about: Any
    ) -> User:
        """A user with a mailbox, signed in; where she is enrolled, Graph has both of her subscriptions."""
        tenant = tenant or self.tenant
        made = await asyncio.to_thread(tenant.user, address, **about)
        if enrolled:
            await self.enrol(made["oid"], tenant)
        headers = {"Authorization": f"Bearer {await asyncio.to_thread(tenant.sign_in, address)}"}
        client = httpx2.AsyncClient(
            base_url=f"{self.system['tracking'].url}/api/v1", headers=headers, timeout=30, trust_env=False
        )
        return User(tenant, made["oid"], address, await self._opened.enter_async_context(client))

    async def enrol(self, oid: str, tenant: TenantControl) -> None:
        """Has a mailbox captured from now on: Graph has both of its subscriptions."""
        async with self.ingest() as ingest:
            (await ingest.post("/mailboxes", json={"tenant": tenant.id, "mailbox": oid})).raise_for_status()
        granted = {"owner": f"{tenant.id}/{oid}", "graph_id": {"$ne": None}}
        await until(lambda: self.database("mail_ingest").subscriptions.count_documents(granted) == 2)

    def ingest(self) -> httpx2.AsyncClient:
        """mail-ingest's internal port."""
        headers = {"Authorization": f"Bearer {self.system.service_token}"}
        return httpx2.AsyncClient(
            base_url=self.system["mail-ingest"].url, headers=headers, timeout=30, trust_env=False
        )

    async def send(
        self, sender: str, *to: User, tenant: TenantControl | None = None, **mail: Any
    ) -> list[Item]:
        """A mail from outside to users of ours; answers the items that it is."""
        tenant = tenant or to[0].tenant
        made = await asyncio.to_thread(tenant.send, sender, [user.recipient for user in to], **mail)
        return [(tenant.id, copy["mailbox"], copy["id"]) for copy in made["copies"]]

    async def publish(self, *records: dict[str, Any]) -> None:
        """Upstream publishes records, of the first tenant where they name none."""
        await self.upstream.publish([{"tenant": self.tenant.id, **record} for record in records])

    async def publish_first(self, *records: dict[str, Any]) -> None:
        """The same, until tracking knows them: before that their timelines are not there."""
        await self.publish(*records)
        keys = [
            "/".join((record.get("tenant", self.tenant.id), record["type"], record["id"]))
            for record in records
        ]
        await until(
            lambda: self.database("tracking").records.count_documents({"_id": {"$in": keys}}) == len(keys)
        )

    # -- what came out ----------------------------------------------------------------------------

    def database(self, name: str) -> Database[dict[str, Any]]:
        """A service's own database."""
        return self.mongodb[f"{self.system.prefix}{name}"]

    def suggestions(self) -> dict[Item, Pairs]:
        """What tracking holds: each live suggestion's records."""
        found = self.database("tracking").suggestions.find({"live": True}, {"records": 1})
        return {
            _item(document["_id"].split("/", 2)): {_pair(record) for record in document["records"]}
            for document in found
        }

    def suggested(self) -> set[Item]:
        """What of it is there, without its records."""
        return {
            _item(document["_id"].split("/", 2))
            for document in self.database("tracking").suggestions.find({"live": True}, {"_id": 1})
        }


def status(process: Process) -> dict[str, Any]:
    """What it says of itself, or why it cannot."""
    try:
        return dict(flatten_status(process.status()))
    except httpx2.HTTPError as busy:
        why = busy.response.text if isinstance(busy, httpx2.HTTPStatusError) else type(busy).__name__
        return {f"busy: {why}": time.monotonic()}


def _waits(name: str) -> bool:
    process, _, key = name.partition(".")
    return key.startswith(("busy", "pending")) or any(
        process.startswith(program) and key in keys for program, keys in BACKLOG_KEYS.items()
    )


@contextlib.asynccontextmanager
async def a_world(
    stack: LocalStack,
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    env_of: Mapping[str, Mapping[str, str]] | None = None,
    two_of: Sequence[str] = (),
    tenants: Sequence[str] = (TENANT,),
) -> AsyncIterator[World]:
    """A system of its own, running, with two replicas of some programs; everything is gone afterwards."""
    prefix = f"e2e-{uuid4().hex[:12]}-"
    settings = {"KAFKA_PARTITIONS": str(PARTITIONS), "LOG_LEVEL": "WARNING", **(env or {})}
    known = {name: dict(values) for name, values in (env_of or {}).items()}
    known["tracking"] = {"TENANTS": json.dumps(list(tenants)), **known.get("tracking", {})}
    system = System(stack, folder, prefix=prefix, env=settings, env_of=known, say=lambda _: None)
    async with contextlib.AsyncExitStack() as opened:
        opened.push_async_callback(_clean, stack, prefix)
        opened.push_async_callback(asyncio.to_thread, system.stop)
        await asyncio.to_thread(system.start, "simulator")
        services = [system[name] for name in SERVICES]
        for process in services:
            process.start(wait=False)
        services += [system.add(name, wait=False) for name in two_of]
        simulator = Simulator(system.simulator, system.ca)
        opened.callback(simulator.close)
        simulator.limits(retry_base=0.3)
        bus = Bus(stack.kafka_bootstrap, prefix)
        following = asyncio.create_task(bus.follow())
        opened.push_async_callback(_cancel, following)
        upstream = await opened.enter_async_context(Upstream(stack.kafka_bootstrap, f"{prefix}records"))
        mongodb = opened.enter_context(MongoClient[dict[str, Any]](stack.mongodb_uri))
        world = World(
            system, simulator, simulator.tenant(tenants[0], domain="contoso.example"), bus, upstream, mongodb
        )
        await opened.enter_async_context(world._opened)
        await world.each(Process.wait_until_ready, services)
        yield world


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _clean(stack: LocalStack, prefix: str) -> None:
    with MongoClient[dict[str, Any]](stack.mongodb_uri) as client:
        for name in client.list_database_names():
            if name.startswith(prefix):
                client.drop_database(name)
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic for topic in await admin.list_topics() if topic.startswith(prefix)])
    finally:
        await admin.close()

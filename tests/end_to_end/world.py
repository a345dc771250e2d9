"""A whole system for one test module: our processes, the real Kafka and MongoDB, simulated mailboxes."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2
from aiokafka.admin import AIOKafkaAdminClient
from pymongo import MongoClient
from pymongo.database import Database

from deploy.local.programs import TENANT
from deploy.local.stack import LocalStack
from deploy.local.system import Process, System
from scenarios.administration import Administration
from scenarios.backlog import BACKLOG_KEYS, PENDING_NOTIFICATIONS, flatten_status, is_backlog_key
from scenarios.upstream import Upstream
from shared.keys import ItemKey, split_key
from simulator.control.client import Simulator, TenantControl
from tests.support import forks

from .topics_reader import Pairs, TopicsReader
from .waiting import TIMEOUT, wait_until

SERVICES = ("mail-ingest", "matcher", "tracking")
PLAIN_HTTP: dict[str, Any] = {"timeout": 30, "trust_env": False, "verify": False}
"""Options of clients of our own services: without `verify=False` each client loads the CA certificates, which
takes 40 ms of CPU."""
PARTITIONS = 4
UNAVAILABLE = "unavailable"
"""The key in a status for a process that cannot count its work now."""


def _type_and_id(record: str) -> tuple[str, str]:
    *_, type_, id_ = record.split("/")
    return type_, id_


@dataclass
class User:
    """A signed-in user of a tenant."""

    tenant: TenantControl
    oid: str
    address: str
    http: httpx2.AsyncClient

    @property
    def recipient(self) -> dict[str, str]:
        """Name and address as the simulator takes them."""
        return {"name": self.address.partition("@")[0], "address": self.address}

    async def request(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """One request of the API, by its path below `/api/v1`."""
        return await self.http.request(method, path, **more)

    async def timeline(self, type_: str, id_: str, **query: str) -> dict[str, Any]:
        """The user's timeline of a record."""
        response = await self.request("GET", f"/records/{type_}/{id_}/timeline", params=query)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def tiles(self, type_: str, id_: str) -> tuple[list[tuple[str, str]], list[str]]:
        """A record's suggestions as (subject, state), and subjects of its tracked activities; both sorted."""
        timeline = await self.timeline(type_, id_)
        suggestions = [(tile["activity"]["subject"], tile["state"]) for tile in timeline["suggestions"]]
        return sorted(suggestions), sorted(tile["activity"]["subject"] for tile in timeline["tracked"])

    async def wait_for_suggestion(self, type_: str, id_: str, subject: str) -> dict[str, Any]:
        """Waits until the record has a suggestion with this subject. Returns its tile."""

        async def find() -> dict[str, Any] | None:
            tiles = (await self.timeline(type_, id_))["suggestions"]
            return next((tile for tile in tiles if tile["activity"]["subject"] == subject), None)

        tile: dict[str, Any] = await wait_until(find, failure=lambda: f"{subject} was not suggested")
        return tile


def suggestion_path(type_: str, id_: str, item: str, action: str) -> str:
    """The path of a suggestion's `text`, `track` or `dismissal`."""
    return f"/records/{type_}/{id_}/suggestions/{quote(item, safe='')}/{action}"


@dataclass
class World:
    """A running system, its users and the upstream CRM."""

    system: System
    simulator: Simulator
    tenant: TenantControl
    topics: TopicsReader
    upstream: Upstream
    mongodb: MongoClient[dict[str, Any]]
    opened: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    # -- processes --------------------------------------------------------------------------------

    def replicas(self, name: str) -> list[Process]:
        """All replicas of a program."""
        return self.system.replicas(name)

    async def for_each(self, call: Callable[[Process], Any], processes: Iterable[Process]) -> list[Any]:
        """Calls a function with each of several processes, in parallel threads."""
        return await asyncio.gather(*(asyncio.to_thread(call, process) for process in processes))

    async def start(self, *processes: Process) -> None:
        """Starts several processes in parallel, and waits until all are ready."""
        for process in processes:
            process.start(wait=False)
        await self.for_each(Process.wait_until_ready, processes)

    async def wait_until_idle(self, seconds: float = TIMEOUT) -> None:
        """Waits until two reads of every process have the same counts and no unfinished work."""
        deadline = time.monotonic() + seconds
        before: dict[str, Any] = {}
        while True:
            now = await asyncio.to_thread(self._read_counts)
            unfinished = {
                name: count
                for name, count in now.items()
                if count and (is_backlog_key(name) or UNAVAILABLE in name)
            }
            if now == before and not unfinished:
                return
            assert time.monotonic() < deadline, f"unfinished work: {unfinished}"
            before = now
            await asyncio.sleep(0.2)

    def _read_counts(self) -> dict[str, Any]:
        """The counts of all running processes and of the notifications that wait in the simulator."""
        processes = [process for name in SERVICES for process in self.replicas(name) if process.running]
        with ThreadPoolExecutor(len(processes)) as pool:
            statuses = list(pool.map(read_status, processes))
        counts = {
            f"{process.name}.{key}": value
            for process, status in zip(processes, statuses, strict=True)
            for key, value in status.items()
        }
        pending = self.simulator.counters()["notifications"].get("pending", 0)
        return counts | {PENDING_NOTIFICATIONS: pending}

    # -- people and mail --------------------------------------------------------------------------

    async def add_user(
        self, address: str, tenant: TenantControl | None = None, *, enrolled: bool = True, **properties: Any
    ) -> User:
        """Adds a user with a mailbox, and signs the user in; an enrolled user has both subscriptions."""
        tenant = tenant or self.tenant
        added = await asyncio.to_thread(tenant.user, address, **properties)
        if enrolled:
            await self.enrol(added["oid"], tenant)
        headers = {"Authorization": f"Bearer {await asyncio.to_thread(tenant.sign_in, address)}"}
        client = httpx2.AsyncClient(
            base_url=f"{self.system['tracking'].url}/api/v1", headers=headers, **PLAIN_HTTP
        )
        return User(tenant, added["oid"], address, await self.opened.enter_async_context(client))

    async def enrol(self, oid: str, tenant: TenantControl) -> None:
        """Enrols a mailbox, and waits until Graph has granted both of its subscriptions."""
        with contextlib.closing(Administration(self.system, tenant.id)) as administration:
            await asyncio.to_thread(administration.enrol, oid)
        granted = {"owner": f"{tenant.id}/{oid}", "graph_id": {"$ne": None}}
        subscriptions = self.database("mail_ingest").subscriptions
        await wait_until(lambda: subscriptions.count_documents(granted) == 2)

    def ingest_client(self) -> httpx2.AsyncClient:
        """A client of mail-ingest's internal port."""
        headers = {"Authorization": f"Bearer {self.system.service_token}"}
        return httpx2.AsyncClient(base_url=self.system["mail-ingest"].url, headers=headers, **PLAIN_HTTP)

    async def send_mail(
        self, sender: str, *to: User, tenant: TenantControl | None = None, **mail: Any
    ) -> list[ItemKey]:
        """Sends a mail from outside to users. Returns the item in each mailbox."""
        tenant = tenant or to[0].tenant
        sent = await asyncio.to_thread(tenant.send, sender, [user.recipient for user in to], **mail)
        return [ItemKey(tenant.id, copy["mailbox"], copy["id"]) for copy in sent["copies"]]

    async def publish(self, *records: dict[str, Any]) -> None:
        """Publishes records upstream; a record without a tenant belongs to the first tenant."""
        await self.upstream.publish([{"tenant": self.tenant.id, **record} for record in records])

    async def publish_and_wait(self, *records: dict[str, Any]) -> None:
        """Publishes records upstream, and waits until tracking has them: before that they are not found."""
        await self.publish(*records)
        keys = [
            "/".join((record.get("tenant", self.tenant.id), record["type"], record["id"]))
            for record in records
        ]
        stored = self.database("tracking").records
        await wait_until(lambda: stored.count_documents({"_id": {"$in": keys}}) == len(keys))

    # -- results ----------------------------------------------------------------------------------

    def database(self, name: str) -> Database[dict[str, Any]]:
        """A service's own database."""
        return self.mongodb[f"{self.system.prefix}{name}"]

    def suggestions(self) -> dict[ItemKey, Pairs]:
        """The live suggestions in tracking's database: item -> its records."""
        found = self.database("tracking").suggestions.find({"live": True}, {"records": 1})
        return {
            split_key(ItemKey, document["_id"]): {_type_and_id(record) for record in document["records"]}
            for document in found
        }

    def suggested_items(self) -> set[ItemKey]:
        """The items of the live suggestions; faster than `suggestions`."""
        found = self.database("tracking").suggestions.find({"live": True}, {"_id": 1})
        return {split_key(ItemKey, document["_id"]) for document in found}


def read_status(process: Process) -> dict[str, Any]:
    """The counts of a process; if it has none now, one count that is never equal to the last one.

    Raises:
        AssertionError: the status lacks a count that `wait_until_idle` waits for.
    """
    try:
        status = dict(flatten_status(process.status()))
    except httpx2.HTTPError as error:
        reason = error.response.text if isinstance(error, httpx2.HTTPStatusError) else type(error).__name__
        return {f"{UNAVAILABLE}: {reason}": time.monotonic()}
    missing = [key for key in BACKLOG_KEYS[process.program.name] if key not in status]
    assert not missing, f"the status of {process.name} lacks {missing}"
    return status


@contextlib.asynccontextmanager
async def running_world(
    stack: LocalStack,
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    env_of: Mapping[str, Mapping[str, str]] | None = None,
    two_of: Sequence[str] = (),
    tenants: Sequence[str] = (TENANT,),
) -> AsyncIterator[World]:
    """A running system with its own topics and databases, which are deleted at the end.

    Args:
        stack: Kafka and MongoDB.
        folder: of the processes' logs.
        env: settings of all programs.
        env_of: settings of one program, by its name.
        two_of: the programs that run with two replicas.
        tenants: the tenants that tracking accepts; the first one exists in the simulator.
    """
    prefix = f"e2e-{uuid4().hex[:12]}-"
    settings = {"KAFKA_PARTITIONS": str(PARTITIONS), "LOG_LEVEL": "WARNING", **(env or {})}
    own = {name: dict(values) for name, values in (env_of or {}).items()}
    own["tracking"] = {"TRACKING_TENANTS": json.dumps(list(tenants)), **own.get("tracking", {})}
    system = System(
        stack, folder, prefix=prefix, env=settings, env_of=own, modules=forks, progress=lambda _: None
    )
    async with contextlib.AsyncExitStack() as opened:
        opened.push_async_callback(delete_data, stack, prefix)
        opened.push_async_callback(asyncio.to_thread, system.stop)
        await asyncio.to_thread(system.start, "simulator")
        services = [system[name] for name in SERVICES]
        for process in services:
            process.start(wait=False)
        services += [system.add(name, wait=False) for name in two_of]
        simulator = Simulator(system.simulator, system.ca)
        opened.callback(simulator.close)
        simulator.limits(retry_base=0.3)
        topics = TopicsReader(stack.kafka_bootstrap, prefix, PARTITIONS)
        opened.push_async_callback(_cancel, asyncio.create_task(topics.run()))
        upstream = await opened.enter_async_context(Upstream(stack.kafka_bootstrap, f"{prefix}records"))
        mongodb = opened.enter_context(MongoClient[dict[str, Any]](stack.mongodb_uri))
        tenant = simulator.tenant(tenants[0], domain="contoso.example")
        world = World(system, simulator, tenant, topics, upstream, mongodb)
        await opened.enter_async_context(world.opened)
        await world.for_each(Process.wait_until_ready, services)
        yield world


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def delete_data(stack: LocalStack, prefix: str) -> None:
    """Deletes all topics and databases with a prefix."""
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

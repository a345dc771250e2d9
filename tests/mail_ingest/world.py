"""mail-ingest as a process, on the real Kafka and MongoDB, with a simulator of Graph.

Tests of one module share a process; each test has a tenant of its own, and `World` shows that tenant alone.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import httpx2
from aiokafka import AIOKafkaConsumer, TopicPartition
from pymongo import MongoClient
from pymongo.database import Database

from deploy.local.stack import LocalStack
from shared.events import Activity, MailboxChanged
from shared.messages import ReceivedMessage, ValueMessage, decode
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, CONTENT, GRAPH_NOTIFICATIONS, MAIL_INGEST, MAILBOXES, Topic
from simulator.control.client import Simulator, TenantControl
from simulator.server import Running as RunningSimulator
from simulator.state.tenants import CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET
from tests.mail_ingest.ingest_process import SERVICE_TOKEN, IngestProcess
from tests.support.query_plans import record_scans, recorded_scans
from tests.support.topics import create_topics, delete_topics

Message: TypeAlias = ReceivedMessage[Any, Any]

PARTITIONS = 2
UNKNOWN_MAILBOX = "00000000-0000-0000-0000-00000000000f"

SETTINGS = {
    "KAFKA_SESSION_TIMEOUT": "PT3S",
    "SERVICE_TOKEN": SERVICE_TOKEN,
    "MAIL_INGEST_CLIENT_ID": CAPTURE_CLIENT_ID,
    "MAIL_INGEST_CLIENT_SECRET": CAPTURE_CLIENT_SECRET,
    "MAIL_INGEST_RECONCILE": "off",
    "MAIL_INGEST_LEASE": "PT3S",
    "MAIL_INGEST_RETRY_BLOCKED": "PT1S",
}
RECONCILE_OFTEN = {"MAIL_INGEST_RECONCILE": "on", "MAIL_INGEST_RECONCILE_EVERY": "PT1.5S"}
RECONCILE_ON_DEMAND = {"MAIL_INGEST_RECONCILE": "on", "MAIL_INGEST_RECONCILE_EVERY": "PT1H"}


async def eventually(condition: Callable[[], Any], seconds: float = 40.0) -> Any:
    """The result of `condition` as soon as it is true; it may be a coroutine function."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


def value_of(message: Message) -> Any:
    """The value of a message; None for a tombstone or an invalid message."""
    return message.value if isinstance(message, ValueMessage) else None


@dataclass
class TopicReader:
    """Reads a whole topic."""

    kafka: str
    topic: Topic[Any, Any]
    prefix: str

    async def read_all(self) -> list[Message]:
        """Every message, in the order of its partition."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            name = self.prefix + self.topic.name
            partitions = [TopicPartition(name, number) for number in range(PARTITIONS)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            messages: list[Message] = []
            while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    messages += [decode(self.topic, record) for record in records]
            return messages
        finally:
            await consumer.stop()


@dataclass
class Service:
    """A started mail-ingest with topics and a database of its own."""

    process: IngestProcess
    simulator: RunningSimulator
    environment: dict[str, str]
    folder: Path
    replicas: list[IngestProcess] = field(default_factory=list)

    @contextmanager
    def database(self) -> Iterator[Database[dict[str, Any]]]:
        with MongoClient[dict[str, Any]](self.environment["MONGODB_URI"], tz_aware=True) as client:
            yield client[self.environment["MAIL_INGEST_MONGODB_DATABASE"]]


class World:
    """A tenant in the simulator, and the mail-ingest that captures it."""

    def __init__(self, service: Service) -> None:
        self.ingest = service.process
        self.environment = service.environment
        self.tenant: TenantControl = service.simulator.client.tenant(str(uuid4()))
        self._service = service
        self._metrics_before: dict[str, float] = {}

    @property
    def simulator(self) -> Simulator:
        return self.tenant.simulator

    # -- mailboxes --------------------------------------------------------------------------------

    def add_user(self, name: str, **about: Any) -> str:
        """Adds a user, and returns the object id."""
        return str(self.tenant.user(f"{name}@contoso.example", **about)["oid"])

    def mailboxes(self) -> list[dict[str, Any]]:
        """The tenant's mailboxes, as the internal port lists them."""
        page = self.ingest.call("GET", f"/mailboxes?tenant={self.tenant.id}&limit=500").json()
        listed: list[dict[str, Any]] = page["mailboxes"]
        return listed

    def mailbox(self, mailbox: str) -> dict[str, Any]:
        return next(each for each in self.mailboxes() if each["mailbox"] == mailbox)

    async def enrol(self, *mailboxes: str) -> None:
        """Enrols mailboxes, and waits until both subscriptions of each are created."""
        for mailbox in mailboxes:
            response = self.ingest.call("POST", "/mailboxes", tenant=self.tenant.id, mailbox=mailbox)
            assert response.status_code == 200
        await eventually(lambda: self.is_subscribed(*mailboxes))
        await eventually(self.ingest.is_idle)

    def is_subscribed(self, *mailboxes: str) -> bool:
        resources = [each["resource"].lower() for each in self.subscriptions()]
        return all(
            f"users/{mailbox}/{resource}" in resources
            for mailbox in mailboxes
            for resource in ("messages", "events")
        )

    def subscriptions(self) -> list[dict[str, Any]]:
        """The live subscriptions of Graph for the tenant's mailboxes."""
        ids = {each["graph_id"] for each in self.documents("subscriptions")}
        return [each for each in self.simulator.subscriptions() if each["id"] in ids]

    # -- Kafka ------------------------------------------------------------------------------------

    async def read(self, topic: Topic[Any, Any]) -> list[Message]:
        """The tenant's messages on a topic."""
        reader = TopicReader(
            self.environment["KAFKA_BOOTSTRAP_SERVERS"], topic, self.environment["TOPIC_PREFIX"]
        )
        messages = await reader.read_all()
        return [each for each in messages if each.key is not None and each.key.tenant == self.tenant.id]

    async def activities(self) -> dict[str, Activity]:
        """The live activities, by item."""
        latest = {
            message.key.item: value_of(message) for message in await self.read(ACTIVITIES) if message.key
        }
        return {item: activity for item, activity in latest.items() if activity is not None}

    async def published(self, item: str) -> list[Message]:
        """All messages on `activities` about an item."""
        return [each for each in await self.read(ACTIVITIES) if each.key and each.key.item == item]

    async def subjects(self) -> list[str]:
        """The subjects of the live activities, sorted."""
        return sorted(activity.subject for activity in (await self.activities()).values())

    async def has_subjects(self, *subjects: str) -> bool:
        return await self.subjects() == sorted(subjects)

    async def published_states(self, mailbox: str) -> list[MailboxChanged]:
        """All states of a mailbox that were published."""
        return [
            value_of(message)
            for message in await self.read(MAILBOXES)
            if message.key and message.key.mailbox == mailbox and value_of(message)
        ]

    async def content_answers(self) -> list[Any]:
        """All answers to content requests."""
        return [value_of(message) for message in await self.read(CONTENT)]

    async def has_answers_to(self, *requests: str) -> bool:
        """True when these requests, and no others, were answered."""
        return {answer.request for answer in await self.content_answers()} == set(requests)

    async def notified_items(self) -> list[tuple[Any, str]]:
        """Key and item of each message on `graph-notifications`."""
        return [
            (message.key, getattr(value_of(message), "item", ""))
            for message in await self.read(GRAPH_NOTIFICATIONS)
        ]

    # -- notifications ----------------------------------------------------------------------------

    def notification(self, item: str, **changes: Any) -> dict[str, Any]:
        """A notification as Graph sends it for a subscription of ours to messages."""
        (subscription, *_) = self.documents("subscriptions", kind="email")
        notification = {
            "subscriptionId": subscription["graph_id"],
            "clientState": subscription["client_state"],
            "changeType": "created",
            "resource": f"Users/u/Messages/{item}",
            "resourceData": {"@odata.type": "#Microsoft.Graph.Message", "id": item},
            "tenantId": self.tenant.id,
        }
        return {**notification, **changes}

    async def post(self, *posts: list[Any]) -> tuple[list[int], float]:
        """Posts notifications at the same time.

        Returns:
            The statuses, and the seconds of the slowest response.
        """
        async with httpx2.AsyncClient(trust_env=False, timeout=20.0, verify=False) as http:
            url = f"{self.ingest.webhook_url}/graph/notifications"
            responses = await asyncio.gather(*(http.post(url, json={"value": post}) for post in posts))
        slowest = max(response.elapsed.total_seconds() for response in responses)
        return [response.status_code for response in responses], slowest

    # -- metrics ----------------------------------------------------------------------------------

    def metric(self, name: str) -> float:
        """The increase of a metric since the first call of `remember_metric`."""
        return self.ingest.metric(name) - self._metrics_before.get(name, 0.0)

    def remember_metrics(self, *names: str) -> None:
        """Makes `metric` count from now."""
        self._metrics_before = {name: self.ingest.metric(name) for name in names}

    # -- MongoDB ----------------------------------------------------------------------------------

    def collections(self) -> list[str]:
        with self._service.database() as database:
            return database.list_collection_names()

    def documents(self, collection: str, **query: Any) -> list[dict[str, Any]]:
        """The tenant's documents of a collection."""
        with self._service.database() as database:
            return list(database[collection].find({**self._of_tenant(), **query}))

    def change_documents(self, collection: str, query: dict[str, Any], changes: dict[str, Any]) -> None:
        with self._service.database() as database:
            database[collection].update_many({**self._of_tenant(), **query}, {"$set": changes})

    @contextmanager
    def profiled_operations(self) -> Iterator[list[str]]:
        """The operations of MongoDB in the block that name the tenant, as texts; filled at its end."""
        operations: list[str] = []
        with self._service.database() as database:
            database.command("profile", 2)
            try:
                yield operations
            finally:
                database.command("profile", 0)
                commands = (str(each.get("command")) for each in database["system.profile"].find())
                operations += [command for command in commands if self.tenant.id in command]
                database.drop_collection("system.profile")

    def add_documents(self, collection: str, documents: list[dict[str, Any]]) -> None:
        with self._service.database() as database:
            database[collection].insert_many(documents)

    def copy_database(self) -> dict[str, list[dict[str, Any]]]:
        """All documents of the service's database."""
        with self._service.database() as database:
            return {name: list(database[name].find()) for name in database.list_collection_names()}

    def replace_database(
        self, documents: dict[str, list[dict[str, Any]]], keep: Collection[str] = ()
    ) -> None:
        """Replaces the documents of the service's database; without any it is as if it were lost.

        Args:
            documents: of each collection.
            keep: collections that stay as they are.
        """
        with self._service.database() as database:
            for name in database.list_collection_names():
                if name != "system.profile" and name not in keep:
                    database[name].delete_many({})
                    if copied := documents.get(name):
                        database[name].insert_many(copied)

    def is_held(self) -> bool:
        """True when a worker holds a lease of the tenant's mailboxes."""
        return bool(self.documents("mailboxes", lease={"$ne": None}))

    def _of_tenant(self) -> dict[str, Any]:
        return {"$or": [{"tenant": self.tenant.id}, {"owner": {"$regex": f"^{self.tenant.id}/"}}]}

    # -- processes --------------------------------------------------------------------------------

    def add_replica(self) -> IngestProcess:
        """Adds a replica that is not started yet; Graph still notifies the first one."""
        number = len(self._service.replicas) + 2
        environment = {
            **self.environment,
            "MAIL_INGEST_WEBHOOK_URL": self.ingest.environment["MAIL_INGEST_WEBHOOK_URL"],
        }
        replica = IngestProcess(environment, self._service.folder / f"ingest-{number}.log")
        self._service.replicas.append(replica)
        return replica

    async def close(self) -> None:
        """Removes the tenant's mailboxes, so that the next test finds the service idle."""
        self.simulator.clear_faults()
        self.simulator.limits(latency=0.0)
        for each in self.mailboxes():
            self.ingest.call("DELETE", f"/mailboxes/{self.tenant.id}/{each['mailbox']}")
        await eventually(self.ingest.is_idle, 60)


@asynccontextmanager
async def running_service(
    stack: LocalStack, simulator: RunningSimulator, folder: Path, **settings: str
) -> AsyncIterator[Service]:
    """A mail-ingest with topics and a database of its own."""
    prefix = f"test-{uuid4().hex[:12]}-"
    environment = {
        **stack.environment,
        **SETTINGS,
        "KAFKA_PARTITIONS": str(PARTITIONS),
        "TOPIC_PREFIX": prefix,
        "MAIL_INGEST_MONGODB_DATABASE": f"{prefix}store",
        "MAIL_INGEST_GRAPH_URL": f"{simulator.url}/v1.0",
        "AUTHORITY_URL": simulator.url,
        "AUTHORITY_CA_FILE": str(simulator.ca),
        **settings,
    }
    await create_topics(kafka_settings(environment), MAIL_INGEST)
    service = Service(IngestProcess(environment, folder / "ingest.log"), simulator, environment, folder)
    with service.database() as database:
        record_scans(database, MAIL_INGEST)
    try:
        await asyncio.to_thread(service.process.start)
        yield service
    finally:
        for process in (service.process, *service.replicas):
            process.end()
        simulator.client.clear_faults()
        simulator.client.forget_subscriptions()
        with service.database() as database:
            scans = recorded_scans(database)
            database.client.drop_database(database.name)
        await delete_topics(stack.kafka_bootstrap, prefix)
    assert scans == [], "these operations use no index"


@asynccontextmanager
async def opened_world(service: Service) -> AsyncIterator[World]:
    """A tenant of its own in a running service."""
    world = World(service)
    try:
        yield world
    finally:
        with contextlib.suppress(httpx2.TransportError):  # a test may have ended the process
            await world.close()


def kafka_settings(environment: dict[str, str]) -> KafkaSettings:
    """The settings of Kafka in this environment, and nothing of the test's own environment."""
    names = KafkaSettings.model_fields
    values: dict[str, Any] = {
        name: environment[name.upper()] for name in names if name.upper() in environment
    }
    return KafkaSettings(**values)

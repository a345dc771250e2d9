"""A database and topics of one test, and what mail-ingest and its processes of long ago have put there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from pydantic import SecretStr

from services.mail_ingest.domain.items import CapturedItem
from services.mail_ingest.recovery.comparison import StoreComparison
from services.mail_ingest.recovery.gate import StoreGate
from services.mail_ingest.recovery.guard import StoreGuard
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from shared.broker import KafkaClient, TopicPartition
from shared.clock import next_version, system_clock
from shared.connection import admin_client
from shared.events import Activity, ActivityKind, MailboxStatus
from shared.keys import ItemKey, MailboxKey
from shared.messages import OutgoingMessage
from shared.service import StopSignal
from shared.topics import ACTIVITIES, CONTENT_REQUESTS, GRAPH_NOTIFICATIONS, MAIL_INGEST, MAILBOXES
from tests.mail_ingest.store.stores import update
from tests.support.topics import create_topics, delete_topics

LOOK_EVERY = timedelta(seconds=0.2)
LONG_AGO = timedelta(days=20)
"""Longer than Kafka keeps tombstones."""

ANN, BO = MailboxKey("t", "ann"), MailboxKey("t", "bo")


def now() -> datetime:
    return datetime.now(UTC)


def activity(item: str, owner: MailboxKey = ANN) -> Activity:
    """An e-mail that arrived an hour ago."""
    at = now() - timedelta(hours=1)
    return Activity(
        tenant=owner.tenant,
        mailbox=owner.mailbox,
        item=item,
        kind=ActivityKind.EMAIL,
        identity=item,
        at=at,
        received_at=at,
        visible_from=at,
        visible_until=at + timedelta(days=3),
    )


@dataclass
class Bench:
    """mail-ingest's recovery without the rest of mail-ingest.

    Attributes:
        last_version: of what was published.
    """

    settings: IngestSettings
    store: Store
    kafka: KafkaClient
    last_version: int = 0

    # -- topics -----------------------------------------------------------------------------------

    async def publish(
        self, item: str, *, value: bool = True, version: int = 0, owner: MailboxKey = ANN
    ) -> int:
        """Publishes an activity, or a tombstone, and returns its version."""
        key = ItemKey(owner.tenant, owner.mailbox, item)
        self.last_version = version or next_version(now(), self.last_version)
        message = OutgoingMessage(
            ACTIVITIES, key, activity(item, owner) if value else None, self.last_version
        )
        await self.kafka.producer.send(message)
        return self.last_version

    async def publish_mailbox(self, mailbox: Mailbox, version: int = 0) -> int:
        """Publishes the state of a mailbox, and returns its version."""
        self.last_version = version or next_version(now(), self.last_version)
        await self.kafka.producer.send(
            OutgoingMessage(MAILBOXES, mailbox.key, mailbox.to_event(), self.last_version)
        )
        return self.last_version

    async def make_topics_anew(self) -> None:
        """Deletes all topics, and creates them again."""
        await delete_topics(self.settings.kafka_bootstrap_servers, self.settings.topic_prefix)
        await create_topics(self.settings, MAIL_INGEST)

    async def commit_notifications(self, partition: int, offset: int) -> None:
        """Commits an offset of `graph-notifications`, as after processing what is before it."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers,
            group_id=self.kafka.full_name(f"mail-ingest.{GRAPH_NOTIFICATIONS.name}"),
        )
        tp = TopicPartition(self.kafka.full_name(GRAPH_NOTIFICATIONS), partition)
        await consumer.start()
        consumer.assign([tp])
        await consumer.commit({tp: offset})
        await consumer.stop()

    async def compact_away_all_activities(self) -> None:
        """Deletes the messages; the ends stay. Kafka permits this only where the policy has `delete`."""
        name = self.kafka.full_name(ACTIVITIES)
        both = {"cleanup.policy": "compact,delete"}
        partitions = await self.kafka.partitions(ACTIVITIES)
        ends = await self.kafka.end_offsets(partitions)
        async with admin_client(self.settings) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, both)])
            before_ends = {tp: RecordsToDelete(before_offset=end) for tp, end in ends.items() if end}
            await admin.delete_records(before_ends)

    # -- the database -----------------------------------------------------------------------------

    async def record(self, item: str, version: int, owner: MailboxKey = ANN) -> None:
        """Records an item as published under this version."""
        await self.store.items.record(owner, "writer", [update(item, 0, version)])
        await self.store.items.acknowledge(owner, {item: version})

    async def item(self, item: str, owner: MailboxKey = ANN) -> CapturedItem | None:
        return (await self.store.items.find(owner, [item])).get(item)

    async def mailbox(self, key: MailboxKey) -> Mailbox:
        found = await self.store.mailboxes.find(key)
        assert found is not None
        return found

    # -- the service ------------------------------------------------------------------------------

    def comparison(self) -> StoreComparison:
        """What compares the database with the topics."""
        consumers = [self.kafka.consumer(topic) for topic in (GRAPH_NOTIFICATIONS, CONTENT_REQUESTS)]
        return StoreComparison(self.store, self.kafka, consumers, system_clock)

    def guard(self) -> StoreGuard:
        """A service that has just started."""
        return StoreGuard(self.store, self.kafka, self.comparison(), StoreGate(), system_clock, LOOK_EVERY)

    @asynccontextmanager
    async def started(self) -> AsyncIterator[StoreGuard]:
        """A service whose gate is open."""
        guard, stop = self.guard(), StopSignal()
        running = asyncio.create_task(guard.run(stop))
        try:
            async with asyncio.timeout(60):
                await guard.gate.start_offsets([])
            yield guard
        finally:
            stop.set()
            await running

    async def restart(self) -> dict[str, Any]:
        """What a service does at its start, as it describes it."""
        async with self.started() as guard:
            return await guard.describe()


def enrolled(key: MailboxKey, **fields: Any) -> Mailbox:
    return Mailbox(key.tenant, key.mailbox, MailboxStatus.ENROLLED, now(), **fields)


def removed(key: MailboxKey, since: datetime | None = None) -> Mailbox:
    return Mailbox(key.tenant, key.mailbox, MailboxStatus.REMOVED, since or now())


@asynccontextmanager
async def opened_bench(bootstrap: str, mongodb_uri: str, database: str, prefix: str) -> AsyncIterator[Bench]:
    settings = IngestSettings(
        kafka_bootstrap_servers=bootstrap,
        kafka_replication=1,
        kafka_partitions=2,
        topic_prefix=prefix,
        mongodb_uri=SecretStr(mongodb_uri),
        mongodb_database=database,
    )
    await create_topics(settings, MAIL_INGEST)
    store, kafka = Store(settings), KafkaClient(settings, MAIL_INGEST, system_clock)
    await store.create_indexes()
    await kafka.start()
    try:
        yield Bench(settings, store, kafka)
    finally:
        await kafka.stop()
        await store.close()


async def forget_all(bench: Bench) -> None:
    """Loses the database."""
    for name in ("mailboxes", "items", "marks"):
        await bench.store._database.collection(name).delete_many({})


async def captured(bench: Bench, *items: str) -> int:
    """Enrols a mailbox, captures these items, and starts the service once; returns the last version."""
    await bench.store.mailboxes.enrol({ANN: None}, now())
    await bench.store.mailboxes.acknowledge(ANN, (await bench.mailbox(ANN)).version)
    await bench.publish_mailbox(await bench.mailbox(ANN), (await bench.mailbox(ANN)).version)
    for item in items:
        await bench.record(item, await bench.publish(item))
    await bench.restart()
    return bench.last_version


async def is_read_and_decided(bench: Bench) -> bool:
    """Whether the mark has passed all messages on `activities`."""
    name = bench.kafka.full_name("activities")
    mark = (await bench.store.marks.find_all())[name]
    ends = await bench.kafka.end_offsets([TopicPartition(name, number) for number in range(2)])
    return all(mark.offsets.get(tp.partition, 0) == end for tp, end in ends.items())

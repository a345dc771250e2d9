"""A record with 90,000 tracked activities is renamed, on the real Kafka and the real MongoDB."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from pymongo import MongoClient

from services.tracking.domain.event_settings import EventSettings
from services.tracking.domain.visibility import DefaultReaders
from services.tracking.publishing.event_settings import announce_event_settings
from services.tracking.publishing.republication import PIECE
from shared.broker import TopicPartition
from shared.clock import system_clock
from shared.events import ActivityTracked
from shared.keys import RecordKey, join_key
from shared.messages import ValueMessage
from shared.mongodb import Document
from shared.topics import TRACKED_ACTIVITIES, TRACKING
from tests.support.query_plans import record_scans, recorded_scans

from .bus import Bus, a_bus, replicas, until
from .worlds import ACCOUNT, ANN, CONTOSO, RENEWAL, email, tracked

ACTIVITIES = 90_000
NARROWED = 300
OTHER = RecordKey(CONTOSO, "project", "other")
MAX_WAIT = 10.0
"""Seconds that others wait on a busy machine; on an idle one it is less than one."""
MAX_PIECES = 20
"""Pieces of the renamed record until narrowed readers are stored and published; it has 900."""
REPEATED = 4 * PIECE
"""Activities that a kill, and the leases that it leaves, may have published twice."""


@pytest.fixture
async def bus(environment: dict[str, str]) -> AsyncIterator[Bus]:
    async with a_bus(environment) as bus:
        await bus.record(RENEWAL, name="Fleet renewal", readers=["*"])
        await bus.record(ACCOUNT, name="Fabrikam", readers=["*"])
        settings = EventSettings(DefaultReaders({"*": ("*",)}), publish_subjects=True)
        await announce_event_settings(bus.store, settings, system_clock)  # else the first start publishes all
        yield bus


async def add_published(bus: Bus, record: RecordKey, count: int) -> None:
    """Stores so many activities on a record that Kafka has already."""
    activities = bus.store.collection("tracked_activities")
    model = tracked(email(identity=record.id, at=datetime.now(UTC)), (ANN, record), now=datetime.now(UTC))
    await bus.store.tracked_activities.replace_if_unchanged(model, None)
    await bus.store.tracked_activities.acknowledge([model], datetime.now(UTC))
    document = await activities.find_one({"_id": join_key(model.key)})
    assert document
    for first in range(1, count, 1000):
        copies: list[Document] = [
            document | {"_id": f"{CONTOSO}/{record.id}-{number}", "identity": str(number), "copies": []}
            for number in range(first, min(first + 1000, count))
        ]
        await activities.insert_many(copies)


class Progress:
    """How far the activities of a record are published again."""

    def __init__(self, bus: Bus, record: RecordKey, revision: int) -> None:
        self._activities = bus.store.collection("tracked_activities")
        self._newer = {"regarding.record": join_key(record), "revision": {"$gt": revision}}

    async def count(self) -> int:
        return await self._activities.count(self._newer)

    async def until(self, count: int) -> None:
        async def reached() -> bool:
            return await self.count() >= count

        await until(reached, 1200, f"not {count} activities")


async def messages_sent(bus: Bus) -> int:
    """The number of messages on `tracked-activities`."""
    name = bus.kafka.full_name(TRACKED_ACTIVITIES)
    numbers = await bus.kafka.producer.partitions_for(name)
    ends = await bus.kafka.end_offsets([TopicPartition(name, number) for number in numbers])
    return sum(ends.values())


async def seconds_to_publish(bus: Bus) -> float:
    """How long an activity waits that is tracked now."""
    activity = tracked(email(identity="meanwhile", at=datetime.now(UTC)), (ANN, OTHER), now=datetime.now(UTC))
    began = time.monotonic()
    await bus.store.tracked_activities.replace_if_unchanged(activity, None)

    async def published() -> bool:
        document = await bus.store.collection("tracked_activities").find_one({"_id": join_key(activity.key)})
        return document is not None and "publish_pending" not in document

    await until(published, 600)
    return time.monotonic() - began


async def seconds_to_store(bus: Bus) -> float:
    """How long a message on `records` waits that is published now."""
    began = time.monotonic()
    await bus.record(OTHER, name="Other")

    async def stored() -> bool:
        return await bus.store.records.find_by_key(OTHER) is not None

    await until(stored, 600)
    return time.monotonic() - began


@pytest.mark.full("volumes")
async def test_renaming_a_record_with_90_000_activities_goes_on_after_a_kill_and_holds_up_nobody(
    bus: Bus, mongodb_uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    await add_published(bus, RENEWAL, ACTIVITIES)
    await add_published(bus, ACCOUNT, NARROWED)
    with MongoClient[Document](mongodb_uri) as client:
        database = client[bus.environment["TRACKING_MONGODB_DATABASE"]]
        async with replicas(bus.environment, 2) as [first, second]:
            await first.until_quiet()
            start = await messages_sent(bus)
            renamed = Progress(bus, RENEWAL, await max_revision(bus, RENEWAL))
            narrowed = Progress(bus, ACCOUNT, await max_revision(bus, ACCOUNT))
            record_scans(database, TRACKING)
            began = time.monotonic()
            await bus.record(RENEWAL, name="Renamed", readers=["*"])
            await renamed.until(ACTIVITIES // 10)
            waits = [await seconds_to_publish(bus), await seconds_to_store(bus)]
            before_closing = await renamed.count()
            await bus.record(ACCOUNT, name="Fabrikam", readers=["user:oid-ann"])
            await narrowed.until(NARROWED)
            overtook = await renamed.count() - before_closing
            await first.kill()
            at_the_kill = await renamed.count()
            await second.until_quiet(1200)
            took = time.monotonic() - began
        scans = recorded_scans(database)
    sent = await messages_sent(bus) - start
    with capfd.disabled():
        print(  # noqa: T201
            f"\n{ACTIVITIES} activities in {took:.0f} s, killed at {at_the_kill}, {sent} messages; "
            f"a Track waited {waits[0]:.1f} s, a record {waits[1]:.1f} s, "
            f"{NARROWED} narrowed {overtook} renamed ones"
        )
    assert at_the_kill < ACTIVITIES, "it was to be killed in the middle"
    assert max(waits) < MAX_WAIT
    assert overtook <= MAX_PIECES * PIECE
    assert scans == [], "these operations use no index"
    assert ACTIVITIES + NARROWED + 1 <= sent <= ACTIVITIES + NARROWED + 1 + REPEATED
    assert await names_on_the_topic(bus, RENEWAL) == {"Renamed": ACTIVITIES}


async def max_revision(bus: Bus, record: RecordKey) -> int:
    return await bus.store.tracked_activities.find_max_revision(join_key(record)) or 0


async def names_on_the_topic(bus: Bus, record: RecordKey) -> dict[str | None, int]:
    """Name of a record in the last state of each activity -> the number of activities."""
    last: dict[str, str | None] = {}
    async for chunk in bus.kafka.read_table(TRACKED_ACTIVITIES):
        for message in chunk.messages:
            assert isinstance(message, ValueMessage)
            assert isinstance(message.value, ActivityTracked)
            [entry] = message.value.regarding
            if entry.id == record.id:
                last[message.value.activity] = entry.name
    names = list(last.values())
    return {name: names.count(name) for name in set(names)}

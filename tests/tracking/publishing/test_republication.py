"""Publishing again, piece by piece; the real MongoDB on both drivers, a fake producer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.tracking.domain.event_settings import EventSettings
from services.tracking.domain.tracked_activity import TrackedActivity
from services.tracking.domain.visibility import DefaultReaders
from services.tracking.publishing.relay import OutboxRelay
from services.tracking.publishing.republication import Republisher, request_republication
from services.tracking.publishing.tracked_activities import TrackedActivityPublisher
from services.tracking.store import Store, record_document
from shared.errors import RetryableError
from shared.events import ActivityTracked
from shared.keys import RecordKey, TrackedActivityKey, join_key
from shared.messages import OutgoingMessage
from shared.records import CustomRecord
from shared.topics import RECORDS
from tests.tracking.conftest import SettableClock, valid_message
from tests.tracking.worlds import ACCOUNT, ANN, NOW, RENEWAL, email, tracked

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
ON_RENEWAL, ON_ACCOUNT = join_key(RENEWAL), join_key(ACCOUNT)


class Producer:
    """Keeps what is sent; it can hang, as for a replica that is killed in a piece."""

    def __init__(self) -> None:
        self.sent: list[OutgoingMessage] = []
        self.hangs = False
        self.hanging = asyncio.Event()

    async def send(self, *messages: OutgoingMessage, deadline: timedelta) -> None:  # noqa: ARG002  # as the producer has it
        if self.hangs:
            self.hanging.set()
            await asyncio.Event().wait()
        self.sent += messages

    def published(self) -> list[TrackedActivityKey]:
        """The keys of what was sent since the last call, in order."""
        keys = [cast("TrackedActivityKey", message.key) for message in self.sent]
        self.sent.clear()
        return keys


class Replicas:
    """Replicas of tracking's outbox with one producer."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.producer = Producer()
        kafka = cast("Any", SimpleNamespace(producer=self.producer))
        clock = SettableClock()
        settings = EventSettings(DefaultReaders({"*": ("*",)}), publish_subjects=True)
        self.publisher = TrackedActivityPublisher(store, kafka, settings, clock)
        self.relay = OutboxRelay(store, kafka, self.publisher, clock)
        self.republisher = self.another(2)

    def another(self, piece: int) -> Republisher:
        """One more replica."""
        return Republisher(self.store, self.publisher, piece=piece)

    async def track(self, count: int, record: RecordKey = RENEWAL) -> list[TrackedActivity]:
        """So many published activities on a record."""
        activities = [
            tracked(email(identity=f"{record.id}-{number}"), (ANN, record)) for number in range(count)
        ]
        for activity in activities:
            assert await self.store.tracked_activities.replace_if_unchanged(activity, None)
        await self.relay.publish_pending()
        self.producer.published()
        return activities

    async def add_record(self, key: RecordKey, readers: tuple[str, ...] | None = None) -> None:
        """Stores a record."""
        value = CustomRecord(tenant=key.tenant, type=key.type, id=key.id, readers=readers)
        await self.store.records.upsert_later([record_document(key, valid_message(RECORDS, key, value), 1)])

    async def change(self, record: str, *, closes: bool = False) -> None:
        """A record has another name, or fewer readers."""
        assert await request_republication(self.store, {record: closes}, NOW) == 1

    @contextlib.asynccontextmanager
    async def within_piece(self) -> AsyncIterator[None]:
        """A replica sends a piece, and never comes to its end."""
        self.producer.hangs = True
        sending = asyncio.create_task(self.republisher.publish_pending())
        async with asyncio.timeout(10):
            await self.producer.hanging.wait()
        self.producer.hangs = False
        yield
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    async def kill_within_piece(self) -> None:
        """A replica dies after it has begun a piece; its leases end."""
        async with self.within_piece():
            pass
        ended = {"$set": {"publish_lease.until": LONG_AGO}}
        for name in ("republications", "tracked_activities"):
            leased = {"publish_lease": {"$exists": True}, "_id": {"$gt": ""}}
            await self.store.collection(name).update_many(leased, ended)

    async def finish(self) -> list[int]:
        """Publishes until nothing is left; returns how many activities each piece had."""
        pieces = []
        while await self.republisher.publish_pending():
            pieces.append(len(self.producer.published()))
        assert await self.store.republications.count() == 0
        return pieces


@pytest.fixture
def replicas(store: Store) -> Replicas:
    return Replicas(store)


async def test_activities_of_a_changed_record_are_published_in_pieces(replicas: Replicas) -> None:
    activities = await replicas.track(5)
    await replicas.track(1, ACCOUNT)
    await replicas.change(ON_RENEWAL)
    sent: list[OutgoingMessage] = []
    pieces = []
    while await replicas.republisher.publish_pending():
        pieces.append(len(replicas.producer.sent) - len(sent))
        sent = list(replicas.producer.sent)
    assert pieces == [2, 2, 1, 0]
    assert {message.key for message in sent} == {activity.key for activity in activities}
    former = {activity.key: activity.revision for activity in activities}
    for message in sent:
        assert isinstance(message.value, ActivityTracked)
        assert isinstance(message.key, TrackedActivityKey)
        assert message.version == message.value.revision > former[message.key]
    assert await replicas.store.tracked_activities.count_publish_pending() == 0


async def test_killed_replica_s_work_goes_on_where_it_was(replicas: Replicas) -> None:
    activities = await replicas.track(5)
    await replicas.change(ON_RENEWAL)
    await replicas.republisher.publish_pending()
    first = replicas.producer.published()
    await replicas.kill_within_piece()

    assert await replicas.relay.publish_pending() == 2, "the relay publishes the piece that was begun"
    begun = replicas.producer.published()
    rest = replicas.another(2)
    await rest.publish_pending()
    last = replicas.producer.published()
    assert sorted([*first, *begun, *last]) == sorted(activity.key for activity in activities), "each once"


async def test_what_is_tracked_meanwhile_is_published_at_once(replicas: Replicas) -> None:
    await replicas.track(6)
    await replicas.change(ON_RENEWAL)
    await replicas.republisher.publish_pending()
    replicas.producer.published()
    meanwhile = tracked(email(identity="meanwhile"), (ANN, RENEWAL))
    async with replicas.within_piece():
        assert await replicas.store.tracked_activities.replace_if_unchanged(meanwhile, None)
        assert await replicas.relay.publish_pending() == 1
        assert replicas.producer.published() == [meanwhile.key]


async def test_narrowed_readers_are_published_before_the_rest_of_a_renamed_record(replicas: Replicas) -> None:
    await replicas.track(5)
    closed = await replicas.track(3, ACCOUNT)
    await replicas.change(ON_RENEWAL)
    await replicas.republisher.publish_pending()
    replicas.producer.published()
    await replicas.change(ON_ACCOUNT, closes=True)
    for _ in range(3):
        await replicas.republisher.publish_pending()
    assert sorted(replicas.producer.published()) == sorted(activity.key for activity in closed)
    assert await replicas.finish() == [2, 1, 0]


async def test_small_record_does_not_wait_for_the_end_of_a_large_one(replicas: Replicas) -> None:
    await replicas.track(9)
    await replicas.change(ON_RENEWAL)
    await replicas.republisher.publish_pending()
    [small] = await replicas.track(1, ACCOUNT)
    await replicas.change(ON_ACCOUNT)
    for _ in range(2):
        await replicas.republisher.publish_pending()
    assert small.key in replicas.producer.published()


async def test_change_in_the_middle_is_published_for_every_activity(replicas: Replicas) -> None:
    activities = await replicas.track(4)
    await replicas.change(ON_RENEWAL)
    await replicas.republisher.publish_pending()
    early = replicas.producer.published()
    await replicas.change(ON_RENEWAL)
    await replicas.republisher.publish_pending()
    late = replicas.producer.published()
    assert not set(early) & set(late), "those that have the first change wait for the others"
    await replicas.republisher.publish_pending()
    assert sorted([*late, *replicas.producer.published()]) == sorted(each.key for each in activities)


async def test_activity_of_a_clock_that_is_ahead_is_published_again_too(replicas: Replicas) -> None:
    ahead = tracked(email(), (ANN, RENEWAL), now=NOW + timedelta(minutes=5))
    assert await replicas.store.tracked_activities.replace_if_unchanged(ahead, None)
    await replicas.relay.publish_pending()
    replicas.producer.published()
    await replicas.change(ON_RENEWAL)
    assert await replicas.finish() == [1, 0]


async def test_what_kafka_does_not_take_is_published_later(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replicas.track(3)
    await replicas.change(ON_RENEWAL)

    async def unavailable(*_messages: OutgoingMessage, deadline: timedelta) -> None:  # as the producer has it
        raise RetryableError("Kafka is unavailable")

    with monkeypatch.context() as outage:
        outage.setattr(replicas.producer, "send", unavailable)
        with pytest.raises(RetryableError):
            await replicas.republisher.publish_pending()
    assert await replicas.store.tracked_activities.count_publish_pending() == 2
    assert await replicas.store.republications.count() == 1


async def test_record_without_tracked_activities_is_not_published(store: Store) -> None:
    assert await request_republication(store, {ON_RENEWAL: True}, NOW) == 0
    assert await store.republications.count() == 0


async def test_published_again_with_the_present_readers(replicas: Replicas) -> None:
    await replicas.track(1)
    await replicas.add_record(RENEWAL, readers=("user:oid-ann",))
    await replicas.change(ON_RENEWAL)
    await replicas.republisher.publish_pending()
    [sent] = replicas.producer.sent
    assert isinstance(sent.value, ActivityTracked)
    assert [entry.readers for entry in sent.value.regarding] == [("user:oid-ann",)]

"""What the outbox relay publishes and acknowledges; the real MongoDB on both drivers, a fake producer."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.tracking.domain.event_settings import EventSettings
from services.tracking.domain.track_request import open_request
from services.tracking.domain.tracked_activity import TrackedActivity, remove_regarding
from services.tracking.domain.visibility import DefaultReaders
from services.tracking.publishing.relay import OutboxRelay
from services.tracking.publishing.tracked_activities import TrackedActivityPublisher
from services.tracking.store import Store
from shared.errors import RetryableError
from shared.events import ActivityUntracked
from shared.keys import MailboxKey, TrackedActivityKey
from shared.messages import OutgoingMessage
from shared.topics import CONTENT_REQUESTS
from tests.tracking.conftest import SettableClock
from tests.tracking.worlds import ANN, CONTOSO, NOW, RENEWAL, email, regarding, tracked


class FakeProducer:
    """Keeps the messages that are sent; messages of the refused key fail."""

    def __init__(self, refused: TrackedActivityKey | MailboxKey | None = None) -> None:
        self.sent: list[OutgoingMessage] = []
        self._refused = refused

    async def send(self, *messages: OutgoingMessage, deadline: timedelta) -> None:  # noqa: ARG002  # as the producer has it
        if any(message.key == self._refused for message in messages):
            raise RetryableError("Kafka is unavailable")
        self.sent += messages


def relay(store: Store, producer: FakeProducer, clock: SettableClock | None = None) -> OutboxRelay:
    clock = clock or SettableClock()
    kafka = cast("Any", SimpleNamespace(producer=producer))
    settings = EventSettings(DefaultReaders({"*": ("*",)}), publish_subjects=True)
    publisher = TrackedActivityPublisher(store, kafka, settings, clock)
    return OutboxRelay(store, kafka, publisher, clock)


async def stored(store: Store, item: str = "mail-1") -> TrackedActivity:
    """A tracked activity that is not published yet."""
    activity = tracked(email(item=item, identity=f"<{item}>"), (ANN, RENEWAL))
    assert await store.tracked_activities.replace_if_unchanged(activity, None)
    return activity


async def request_content(store: Store, item: str = "mail-1") -> None:
    """Stores a track request that is not published yet."""
    [entry] = regarding((ANN, RENEWAL))
    request = open_request(f"request for {item}", email(item=item), entry, timedelta(minutes=10))
    assert await store.track_requests.insert(request, email(item=item))


async def test_failed_state_stays_pending_beside_published_ones(store: Store) -> None:
    first, second = await stored(store, "mail-1"), await stored(store, "mail-2")
    producer = FakeProducer(refused=first.key)
    with pytest.raises(RetryableError):
        await relay(store, producer).publish_pending()
    assert [message.key for message in producer.sent] == [second.key]
    assert await store.tracked_activities.count_publish_pending() == 1


async def test_failed_track_request_stays_pending(store: Store) -> None:
    await request_content(store)
    with pytest.raises(RetryableError):
        await relay(store, FakeProducer(refused=ANN.mailbox_key)).publish_pending()
    assert await store.track_requests.count_publish_pending() == 1


async def test_published_track_requests_are_acknowledged(store: Store) -> None:
    await request_content(store, "mail-1")
    await request_content(store, "mail-2")
    producer = FakeProducer()
    assert await relay(store, producer).publish_pending() == 2
    assert [message.topic for message in producer.sent] == [CONTENT_REQUESTS] * 2
    assert await store.track_requests.count_publish_pending() == 0


async def test_request_that_mail_ingest_has_lost_is_published_again_until_its_deadline(store: Store) -> None:
    await request_content(store)
    producer, clock = FakeProducer(), SettableClock()
    outbox = relay(store, producer, clock)
    longest = timedelta()
    last = clock.now
    while clock.now < NOW + timedelta(minutes=11):
        if await outbox.publish_pending():
            longest, last = max(longest, clock.now - last), clock.now
        clock.now += timedelta(seconds=5)
    assert len({message.value for message in producer.sent}) == 1, "the same request each time"
    assert len(producer.sent) == 15
    assert longest == timedelta(seconds=45)
    assert NOW + timedelta(minutes=9) < last < NOW + timedelta(minutes=10)
    assert await store.track_requests.count_open() == 0


async def test_last_untrack_is_published_as_an_event_and_a_tombstone(store: Store) -> None:
    first = await stored(store)
    untracked = remove_regarding(first, RENEWAL, ANN.oid, NOW)
    assert untracked
    assert await store.tracked_activities.replace_if_unchanged(untracked, first)
    producer = FakeProducer()
    assert await relay(store, producer).publish_pending() == 1
    event = ActivityUntracked(tenant=CONTOSO, activity=first.id, revision=untracked.revision)
    assert [message.value for message in producer.sent] == [event, None]

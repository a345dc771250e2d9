"""Which items are followed, when that is published, and by whom; the real MongoDB on both drivers."""

import itertools
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pymongo import MongoClient

from services.tracking.domain.tracked_activity import TrackedActivity, add_regarding, remove_regarding
from services.tracking.domain.tracked_copy import new_copy
from services.tracking.publishing.following import FOLLOW_EVERY, FollowPublisher
from services.tracking.store import Store
from services.tracking.store.id_ranges import ANY
from shared.errors import RetryableError
from shared.events import Activity, FollowItems, Sensitivity
from shared.keys import MailboxKey
from shared.topics import CONTENT_REQUESTS
from tests.tracking.conftest import SettableClock
from tests.tracking.publishing.test_relay import FakeProducer
from tests.tracking.worlds import (
    ACCOUNT,
    ANN,
    BEN,
    DAY,
    HOUR,
    NOW,
    RENEWAL,
    content,
    email,
    meeting,
    regarding,
)

MINUTE = timedelta(minutes=1)


def publisher(store: Store, producer: FakeProducer, clock: SettableClock | None = None) -> FollowPublisher:
    kafka = cast("Any", SimpleNamespace(producer=producer))
    return FollowPublisher(store, kafka, clock or SettableClock())


async def track(store: Store, activity: Activity, version: int = 7) -> TrackedActivity:
    """Stores an activity that its owner has tracked, and requests that it is followed."""
    owner = ANN if activity.mailbox == ANN.oid else BEN
    tracked = add_regarding(None, regarding((owner, RENEWAL)), content(activity), NOW, version=version)
    assert await store.tracked_activities.replace_if_unchanged(tracked, None)
    await store.followed_mailboxes.request(owner.mailbox_key)
    return tracked


def followed(producer: FakeProducer) -> list[tuple[MailboxKey, list[str]]]:
    """Mailbox and items of each message."""
    found = []
    for message in producer.sent:
        assert isinstance(message.value, FollowItems)
        assert isinstance(message.key, MailboxKey)
        found.append((message.key, sorted(each.item for each in message.value.items)))
    return sorted(found)


async def test_tracked_items_of_a_mailbox_are_published_with_version_and_end(store: Store) -> None:
    await track(store, email(identity="a"))
    await track(store, meeting(identity="b", sensitivity=Sensitivity.PRIVATE), version=9)
    await track(store, email(BEN, "of-ben", identity="c"))
    producer = FakeProducer()
    assert await publisher(store, producer).publish_pending() == 2
    assert followed(producer) == [
        (ANN.mailbox_key, ["mail-1", "meeting-1"]),
        (BEN.mailbox_key, ["of-ben"]),
    ]
    assert {message.topic for message in producer.sent} == {CONTENT_REQUESTS}
    values = [each for message in producer.sent for each in cast("Any", message.value).items]
    assert {each.item: (each.version, each.until, each.sensitivity) for each in values} == {
        "mail-1": (7, email().visible_until, "normal"),
        "meeting-1": (9, meeting().visible_until, "private"),
        "of-ben": (7, email().visible_until, "normal"),
    }


async def test_followed_items_are_published_every_hour_until_their_end(store: Store) -> None:
    await track(store, email())
    producer, clock = FakeProducer(), SettableClock()
    loop = publisher(store, producer, clock)
    published = []
    for after in (timedelta(), FOLLOW_EVERY - MINUTE, FOLLOW_EVERY, 2 * FOLLOW_EVERY, 3 * DAY, 4 * DAY):
        clock.now = NOW + after
        published.append(await loop.publish_pending())
    assert published == [1, 0, 1, 1, 1, 0]
    assert len(producer.sent) == 3
    assert await store.followed_mailboxes.count_publish_pending() == 0


async def test_start_publishes_at_once_what_was_not_just_published(store: Store) -> None:
    await track(store, email())
    await publisher(store, FakeProducer()).publish_pending()
    second = FakeProducer()
    assert await publisher(store, second, SettableClock(NOW + MINUTE / 2)).publish_pending() == 0
    assert await publisher(store, second, SettableClock(NOW + 2 * MINUTE)).publish_pending() == 1
    assert followed(second) == [(ANN.mailbox_key, ["mail-1"])]


async def test_one_replica_publishes(store: Store) -> None:
    await track(store, email())
    first = await store.followed_mailboxes.lease_pending("first", 10)
    producer = FakeProducer()
    assert [mailbox.key for mailbox in first] == [ANN.mailbox_key]
    assert await publisher(store, producer).publish_pending() == 0
    await store.followed_mailboxes.acknowledge(first[0], NOW + HOUR)
    assert await store.followed_mailboxes.count_publish_pending() == 0


async def test_what_kafka_has_not_taken_stays_due(store: Store) -> None:
    await track(store, email())
    with pytest.raises(RetryableError):
        await publisher(store, FakeProducer(refused=ANN.mailbox_key)).publish_pending()
    assert await store.followed_mailboxes.count_publish_pending() == 1


async def test_item_that_is_tracked_while_the_others_are_published_is_published_next(store: Store) -> None:
    await track(store, email())
    [leased] = await store.followed_mailboxes.lease_pending("first", 10)
    await track(store, meeting())
    await store.followed_mailboxes.acknowledge(leased, NOW + HOUR)
    await store.followed_mailboxes.delete(leased)
    producer = FakeProducer()
    assert await publisher(store, producer).publish_pending() == 1
    assert followed(producer) == [(ANN.mailbox_key, ["mail-1", "meeting-1"])]


async def test_untracked_item_is_followed_no_more(store: Store) -> None:
    tracked = await track(store, email())
    untracked = remove_regarding(tracked, RENEWAL, ANN.oid, NOW)
    assert untracked
    await store.tracked_activities.replace_if_unchanged(untracked, tracked)
    producer = FakeProducer()
    await publisher(store, producer).publish_pending()
    assert producer.sent == []
    assert [each async for each in store.collection("followed_mailboxes").find(ANY)] == []


async def test_end_of_an_untracked_item_is_published_once(store: Store) -> None:
    await track(store, email())
    await store.followed_mailboxes.request(ANN.mailbox_key, ended=[new_copy(content(meeting()), 1, NOW)])
    producer, clock = FakeProducer(), SettableClock()
    loop = publisher(store, producer, clock)
    for clock.now in (NOW, NOW + FOLLOW_EVERY):
        await loop.publish_pending()
    first, second = (cast("Any", message.value).items for message in producer.sent)
    assert [(each.item, each.until) for each in first] == [
        ("mail-1", email().visible_until),
        ("meeting-1", NOW),
    ]
    assert [each.item for each in second] == ["mail-1"]


async def test_untracked_item_of_another_activity_is_still_followed(store: Store) -> None:
    await track(store, email())
    await store.followed_mailboxes.request(ANN.mailbox_key, ended=[new_copy(content(email()), 1, NOW)])
    producer = FakeProducer()
    await publisher(store, producer).publish_pending()
    [message] = producer.sent
    assert [each.until for each in cast("Any", message.value).items] == [email().visible_until]


async def test_item_of_two_activities_is_published_once_at_the_lower_version(store: Store) -> None:
    await track(store, email(), version=9)
    other = add_regarding(None, regarding((ANN, ACCOUNT)), content(email(), "another text"), NOW, version=8)
    await store.tracked_activities.replace_if_unchanged(other, None)
    producer = FakeProducer()
    await publisher(store, producer).publish_pending()
    [message] = producer.sent
    [item] = cast("Any", message.value).items
    assert item.version == 8


async def test_messages_are_bounded(store: Store) -> None:
    for number in range(5):
        await track(store, email(item=f"mail-{number}", identity=f"<{number}>"))
    producer = FakeProducer()
    kafka = cast("Any", SimpleNamespace(producer=producer))
    await FollowPublisher(store, kafka, SettableClock(), items_per_message=2).publish_pending()
    items = [names for _, names in followed(producer)]
    assert sorted(map(len, items)) == [1, 2, 2]
    assert sorted(itertools.chain(*items)) == [f"mail-{number}" for number in range(5)]


def test_readings_are_served_by_an_index(mongodb_uri: str, mongodb_database: str, store: Store) -> None:
    readings: list[tuple[str, dict[str, Any]]] = [
        ("tracked_activities", {"copies.item": "t/m/i"}),
        ("tracked_activities", {"copies": {"$elemMatch": {"mailbox": "t/m", "until": {"$gt": NOW}}}}),
        ("followed_mailboxes", {"follow_at": {"$lte": NOW}, "publish_pending": {"$exists": False}}),
        ("followed_mailboxes", {"publish_pending": True}),
    ]
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        for collection, query in readings:
            plan = client[mongodb_database].command("explain", {"find": collection, "filter": query})
            assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"])
            assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])

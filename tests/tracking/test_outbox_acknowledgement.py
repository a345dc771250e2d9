"""The outbox of track requests and tracked activities: pending until what is there is acknowledged."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from services.tracking.domain.activity import Tracked, claim, track, untrack
from services.tracking.outbox import Outbox
from shared.bus import Outgoing

from services.tracking.domain.visibility import DefaultReaders
from shared.clock import micros
from shared.errors import Transient
from shared.events import ActivityUntracked
from shared.topics import CONTENT_REQUESTS

from .conftest import World
from .worlds import ACCOUNT, ANN, BEN, CONTOSO, DAY, NOW, RENEWAL, asks, content, email, tracked

SECOND = timedelta(seconds=1)


class Kafka:
    """A producer that keeps what is sent, and refuses what has this key."""

    def __init__(self, refused: tuple[str, ...] | None = None) -> None:
        self.sent: list[Outgoing] = []
        self.refused = refused

    async def send(self, *messages: Outgoing, deadline: timedelta) -> None:  # noqa: ARG002  # as the producer takes it
        if any(message.key == self.refused for message in messages):
            raise Transient("away")
        self.sent += messages


def outbox(world: World, kafka: Kafka) -> Outbox:
    readers = DefaultReaders({"*": ("*",)})
    return Outbox(
        world.store, cast("Any", SimpleNamespace(producer=kafka)), readers, world.time, subjects=True
    )


async def document(world: World, activity: Tracked) -> dict[str, Any]:
    """A tracked activity's document as MongoDB has it."""
    found = await world.store.collection("tracked").find_one({"_id": f"{activity.tenant}/{activity.id}"})
    assert found
    return found


async def stored(world: World, item: str = "mail-1") -> Tracked:
    """A tracked activity that is pending."""
    made = tracked(email(item=item, identity=f"<{item}>"), (ANN, RENEWAL))
    assert await world.store.tracked.put(made, None)
    return made


# -- tracked activities ------------------------------------------------------------------------------


async def test_a_tracked_activity_is_pending_until_it_is_acknowledged(world: World) -> None:
    await stored(world)
    assert await world.store.tracked.unsent() == 1
    taken = await world.store.tracked.take("a", 10)
    assert await world.store.tracked.unsent() == 1

    await world.store.tracked.confirm(taken, NOW)
    assert await world.store.tracked.unsent() == 0


async def test_a_tracked_activity_that_changed_while_it_was_sent_stays_pending(world: World) -> None:
    """The untracked revision was sent; the newer, tracked one must neither count as sent nor expire."""
    first = await stored(world)
    without = untrack(first, RENEWAL, ANN.oid, NOW + SECOND)
    assert without
    assert await world.store.tracked.put(without, first)
    [sent] = await world.store.tracked.take("a", 10)
    again = track(without, asks((ANN, RENEWAL)), content(email(identity="<mail-1>")), NOW + 2 * SECOND)
    assert await world.store.tracked.put(again, without)

    await world.store.tracked.confirm([sent], NOW)

    left = await document(world, again)
    assert (left["revision"], left.get("unsent")) == (again.revision, True)
    assert "delete_at" not in left


async def test_a_tracked_activity_that_an_old_revision_overtook_is_pending_again(world: World) -> None:
    """One replica takes a revision and is paused; another publishes a newer one; then the first resumes."""
    first = await stored(world)
    [old] = await world.store.tracked.take("sleeps", 10)
    newer = track(first, asks((BEN, ACCOUNT)), content(email(identity="<mail-1>")), NOW + SECOND)
    assert await world.store.tracked.put(newer, first)
    await world.store.tracked.confirm(await world.store.tracked.take("another", 10), NOW)
    assert await world.store.tracked.unsent() == 0

    await world.store.tracked.confirm([old], NOW)

    assert await world.store.tracked.unsent() == 1


async def test_an_untracked_activity_is_deleted_when_its_tombstone_is(world: World) -> None:
    first = await stored(world)
    without = untrack(first, RENEWAL, ANN.oid, NOW + SECOND)
    assert without
    assert await world.store.tracked.put(without, first)

    await world.store.tracked.confirm(await world.store.tracked.take("a", 10), NOW)

    assert (await document(world, without))["delete_at"] == NOW + 14 * DAY


async def test_an_announcement_has_a_higher_revision_though_the_clock_was_set_back(world: World) -> None:
    first = await stored(world)
    assert await world.store.tracked.announce_again(["/".join(RENEWAL)], micros(NOW - DAY)) == 1
    assert (await document(world, first))["revision"] == first.revision + 1


# -- who publishes -----------------------------------------------------------------------------------


async def test_what_one_replica_publishes_another_leaves_alone(world: World) -> None:
    await stored(world)
    assert len(await world.store.tracked.take("one", 10)) == 1
    assert await world.store.tracked.take("another", 10) == []


async def test_what_a_dead_replica_had_taken_is_published_by_another(world: World) -> None:
    first = await stored(world)
    await world.store.tracked.take("dead", 10)
    until = (await document(world, first))["saying"]["until"]
    await world.store.collection("tracked").update_many({}, {"$set": {"saying.until": until - DAY}})

    assert [each.id for each in await world.store.tracked.take("another", 10)] == [first.id]


async def test_only_what_kafka_took_is_acknowledged(world: World) -> None:
    first, second = await stored(world, "mail-1"), await stored(world, "mail-2")
    kafka = Kafka(refused=(CONTOSO, first.id))
    with pytest.raises(Transient):
        await outbox(world, kafka).say()
    assert [message.key for message in kafka.sent] == [(CONTOSO, second.id)]
    assert await world.store.tracked.unsent() == 1

    opened = claim("c-1", email(), asks((ANN, RENEWAL))[0], timedelta(minutes=10))
    assert await world.store.claims.put(opened, email())
    with pytest.raises(Transient):
        await outbox(world, Kafka(refused=(CONTOSO, ANN.oid))).say()
    assert await world.store.claims.unsent() == 1


async def test_the_last_untrack_is_published_as_an_event_and_a_tombstone(world: World) -> None:
    first = await stored(world)
    without = untrack(first, RENEWAL, ANN.oid, NOW + SECOND)
    assert without
    assert await world.store.tracked.put(without, first)

    kafka = Kafka()
    await outbox(world, kafka).say()

    event = ActivityUntracked(tenant=CONTOSO, activity=first.id, revision=without.revision)
    assert [message.value for message in kafka.sent] == [event, None]


# -- track requests ----------------------------------------------------------------------------------


async def test_a_track_request_stays_pending_until_it_is_acknowledged_itself(world: World) -> None:
    for number in range(2):
        item = email(item=f"mail-{number}")
        opened = claim(f"c-{number}", item, asks((ANN, RENEWAL))[0], timedelta(minutes=10))
        assert await world.store.claims.put(opened, item)
    assert await world.store.claims.unsent() == 2

    [taken] = await world.store.claims.take("a", 1)
    await world.store.claims.confirm([taken])
    assert await world.store.claims.unsent() == 1

    kafka = Kafka()
    await outbox(world, kafka).say()
    assert [message.topic for message in kafka.sent] == [CONTENT_REQUESTS]
    assert await world.store.claims.unsent() == 0
